"""Decoding speed by format: `python -m exp.benchmarks.decoding [--wav_dir DIR] [--seconds 30]`.

Prints a table in Markdown. Figures are CPU time on one core, the minimum of several runs; wall-clock time would also
measure other load on the machine. With `--wav_dir` the files of a folder are decoded too, in this process and in the
indexer's worker processes (whose CPU time includes sending the samples).
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from boiler.audio import stream
from boiler.audio.decoder_pool import DecodedSound, Decoders

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
import sounds

RATE_HZ = 48_000
RUNS = 5


def processor_s(work: Callable[[], object]) -> float:
    """CPU seconds of this process, the minimum of several runs."""
    times = []
    for _ in range(RUNS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def music(seconds: float) -> sounds.Sound:
    """A test signal for codecs: chords over noise, in stereo."""
    rng = np.random.default_rng(0)
    chord = sum(sounds.tone(f, seconds, RATE_HZ, 0.1) for f in (220, 277.2, 329.6, 1_318))
    noise = rng.normal(0, 0.03, (2, round(seconds * RATE_HZ)))
    return np.clip(np.stack([chord, 0.7 * chord]) + noise, -1, 1)


def by_format(seconds: float) -> None:
    print(
        f"| format, {seconds:g} s of stereo at {RATE_HZ // 1000} kHz | ms | times real time | 5 s from the middle, ms |"
    )
    print("| --- | ---: | ---: | ---: |")
    sound = music(seconds)
    with tempfile.TemporaryDirectory() as folder:
        for name, form in sounds.FORMATS.items():
            path = sounds.write(Path(folder) / f"x{form.suffix}", sound, RATE_HZ, name)
            whole_s = processor_s(partial(stream.load, path))
            part_s = processor_s(partial(stream.load, path, start_s=seconds / 2, end_s=seconds / 2 + 5))
            print(f"| {name} | {1e3 * whole_s:.0f} | {seconds / whole_s:.0f} | {1e3 * part_s:.1f} |")


def by_folder(folder: Path) -> None:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in stream.SUFFIXES)
    took_s = min(processor_s(lambda: [stream.load(path) for path in paths[:50]]) for _ in range(2)) / min(
        50, len(paths)
    )
    print(
        f"\n{folder.name}: {len(paths)} files; in this process {1e3 * took_s:.1f} ms a file, {1 / took_s:.0f} files/s on a core"
    )
    for workers in (1, 2):
        with Decoders(workers) as decoders:
            list(decoders.windows([(0, paths[0])]))
            parent_s = time.process_time()
            start = time.monotonic()
            done = [
                event for event in decoders.windows(enumerate(paths), ordered=True) if isinstance(event, DecodedSound)
            ]
            wall_s, parent_s = time.monotonic() - start, time.process_time() - parent_s
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        workers_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        seconds = sum(event.probe.duration_s for event in done)
        print(
            f"{workers} worker(s): {len(done)} files, {seconds:.0f} s of sound in {wall_s:.1f} s of wall-clock time "
            f"({len(done) / wall_s:.0f} files/s; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores); CPU "
            f"time per file: workers {1e3 * workers_s / len(done):.1f} ms, this process {1e3 * parent_s / len(done):.1f} ms"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--wav_dir", "--wav-dir", type=Path)
    parser.add_argument("--seconds", type=float, default=30.0)
    args = parser.parse_args()
    by_format(args.seconds)
    if args.wav_dir:
        by_folder(args.wav_dir)
    return 0


if __name__ == "__main__":
    sys.exit(main())
