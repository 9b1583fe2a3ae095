"""Write a folder of many short synthetic sounds: `python -m exp.common.made_corpus FOLDER --files 2000`.

Files in nine formats, in a tree up to six folders deep, with a few broken, silent and duplicate ones among them. Some
hundred sounds of `boiler.audio.synthesis` are varied in speed, level and length, so that hardly two are the same. PCM
and FLAC are encoded file by file. For the slow codecs a long recording (a track) is encoded once per format, and each
file is a run of its packets in a container of its own.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import av
import numpy as np

from boiler.audio import synthesis

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
import sounds

# (format, sample rate in Hz, channels, percentage of files)
PLAIN = [("wav-s16", 16_000, 1, 22), ("wav-s24", 44_100, 2, 8), ("aiff", 22_050, 1, 6), ("flac", 22_050, 1, 16)]
CODED = [
    ("mp3", 44_100, 2, 20),
    ("mp3", 22_050, 1, 6),
    ("ogg-opus", 48_000, 1, 10),
    ("m4a-aac", 44_100, 2, 8),
    ("webm-opus", 48_000, 1, 4),
]
KINDS = PLAIN + CODED
SHARES = np.array([share for *_, share in KINDS]) / 100
PER_KIND = 12
TRACK_S = 240.0
BROKEN_PER_1000, SILENT_PER_1000, DUPLICATES_PER_1000 = 2, 1, 3


@cache
def _pool() -> list[tuple[str, synthesis.Sound]]:
    rng = np.random.default_rng(7)
    return [(kind, synthesis.synthesize(kind, rng)) for kind in synthesis.KINDS for _ in range(PER_KIND)]


def random_sound(rng: np.random.Generator, rate_hz: int, channels: int) -> synthesis.Sound:
    """A random sound of the pool with its speed and level varied, cut to at most 3 s. Shape: [channels, T]"""
    _, sound = _pool()[rng.integers(len(_pool()))]
    step = synthesis.RATE_HZ / rate_hz * float(np.exp(rng.uniform(-0.4, 0.4)))
    n = min(round(len(sound) / step), round(rng.uniform(0.4, 3.0) * rate_hz))
    cut = np.interp(np.arange(n) * step, np.arange(len(sound)), sound) * rng.uniform(0.3, 1.0)
    gains = rng.uniform(0.6, 1.0, (channels, 1))
    return np.clip(gains * cut + 1e-4 * rng.standard_normal((channels, n)), -1, 1)


def _tracks(folder: Path) -> None:
    """Encode the long recordings that packets are taken from."""
    folder.mkdir(parents=True, exist_ok=True)
    for at, (form, rate_hz, channels, _) in enumerate(CODED):
        path = folder / f"{at}{sounds.FORMATS[form].suffix}"
        if not path.exists():
            rng = np.random.default_rng([1, at])
            parts: list[synthesis.Sound] = []
            while sum(part.shape[1] for part in parts) < TRACK_S * rate_hz:
                parts.append(random_sound(rng, rate_hz, channels))
            sounds.write(path, np.concatenate(parts, axis=1), rate_hz, form)


@cache
def track_packets(path: Path) -> tuple[Any, list[bytes], list[int]]:
    """A track's stream, its packets, and their durations in ticks."""
    container: Any = av.open(str(path))
    packets = [packet for packet in container.demux(container.streams.audio[0]) if packet.size]
    return container.streams.audio[0], [bytes(packet) for packet in packets], [packet.duration for packet in packets]


def remux(track: Path, to: Path, first: int, n: int) -> None:
    """Write `n` packets of a track, from `first` on and wrapping around at its end, to a file of their own."""
    stream, packets, durations = track_packets(track)
    with av.open(str(to), "w") as out:
        written = out.add_stream_from_template(stream)
        time = 0
        for at in range(first, first + n):
            packet = av.Packet(packets[at % len(packets)])
            packet.pts = packet.dts = time
            packet.duration, packet.time_base = durations[at % len(packets)], stream.time_base
            packet.stream = written
            packet.is_keyframe = True
            time += packet.duration
            out.mux(packet)


def _kind(n: int, seed: int) -> int:
    """The index in `KINDS` of file n; 0 for the silent and duplicate files of `write_file`."""
    if 10 <= n % 1000 < 10 + DUPLICATES_PER_1000 or BROKEN_PER_1000 <= n % 1000 < BROKEN_PER_1000 + SILENT_PER_1000:
        return 0
    return int(np.random.default_rng([seed, n, 1]).choice(len(KINDS), p=SHARES))


def place(n: int, seed: int = 0) -> str:
    """The path of file n: one to six folders deep."""
    rng = np.random.default_rng([2, n])
    kind = tuple(synthesis.KINDS)[n % len(synthesis.KINDS)]
    folders = [kind, *(f"{rng.integers(12):02d}" for _ in range(rng.integers(0, 6)))]
    name = f"{n:06d}"
    if n % 500 == 17:
        name = f"caf\u00e9 {n}"
    return "/".join([*folders, name]) + sounds.FORMATS[KINDS[_kind(n, seed)][0]].suffix


def write_file(folder: Path, tracks: Path, n: int, seed: int = 0) -> Path:
    """Write file n below `folder` and return its path. Another seed gives other bytes."""
    remainder = n % 1000
    duplicate = 10 <= remainder < 10 + DUPLICATES_PER_1000  # the same bytes in every thousand files
    rng = np.random.default_rng([seed, 99, remainder] if duplicate else [seed, n])
    kind = _kind(n, seed)
    form, rate_hz, channels, _ = KINDS[kind]
    path = folder / place(n, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    if BROKEN_PER_1000 <= remainder < BROKEN_PER_1000 + SILENT_PER_1000:
        sounds.write(path, np.zeros(int(rng.integers(8_000, 30_000))), 16_000)
    elif remainder < BROKEN_PER_1000:
        path.write_bytes(rng.bytes(int(rng.integers(0, 3_000))) if remainder else b"PK\x03\x04" + rng.bytes(999))
    elif kind < len(PLAIN):
        sounds.write(path, random_sound(rng, rate_hz, channels), rate_hz, form)
    else:
        track = tracks / f"{kind - len(PLAIN)}{path.suffix}"
        _, packets, durations = track_packets(track)
        packet_s = float(durations[len(durations) // 2] * track_packets(track)[0].time_base)
        first = int(rng.integers(len(packets)))
        remux(track, path, first, max(2, round(rng.uniform(0.4, 3.0) / packet_s)))
    return path


def _write_files(folder: Path, tracks: Path, numbers: range) -> None:
    for n in numbers:
        write_file(folder, tracks, n)


def make(folder: Path, files: int, *, first: int = 0, workers: int = 2) -> None:
    """Write the files `first` to `files` - 1 of the folder."""
    tracks = folder.parent / f"{folder.name}-tracks"
    _tracks(tracks)
    with ProcessPoolExecutor(workers) as pool:
        numbers = range(first, files)
        list(
            pool.map(
                partial(_write_files, folder, tracks), (numbers[at : at + 500] for at in range(0, len(numbers), 500))
            )
        )


def alter(folder: Path, files: int, share: float) -> int:
    """Rewrite a fraction `share` of the files, move as many and delete as many; return how many of each."""
    tracks = folder.parent / f"{folder.name}-tracks"
    count = max(1, round(share * files))
    changed, moved, gone = np.split(np.random.default_rng(3).permutation(files)[: 3 * count], 3)
    for n in changed.tolist():
        (folder / place(n)).unlink()
        write_file(folder, tracks, n, seed=4).rename(folder / place(n))  # content may no longer match the suffix
    for n in moved.tolist():
        to = folder / "moved" / place(n)
        to.parent.mkdir(parents=True, exist_ok=True)
        (folder / place(n)).rename(to)
    for n in gone.tolist():
        (folder / place(n)).unlink()
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", type=int, default=2_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first file to write")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    make(args.folder, args.files, first=args.first, workers=args.workers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
