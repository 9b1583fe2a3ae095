"""Locate sounds mixed into long recordings: how many are found, how exactly, and how long it takes.

    $ python -m exp.benchmarks.locate --sounds 24
    $ python -m exp.benchmarks.locate --folder ~/esc10 --sounds 24 --levels_db 0 -6 -12 --format .mp3
    $ python -m exp.benchmarks.locate --folder ~/esc10 --recordings 8 --recording_s 900 --most_s 1800 --pt_path vqvae_003.pt

A mix has two layers; in each, sounds follow one another at random levels (up to 6 dB above or below the mean). The
planted sounds do not occur elsewhere in the mix. Each starts at a random time, and its mean power is that of the mix
plus the given level. Then each planted sound is located: it counts as found if the best occurrence is in the right
recording and within half a second. Without a folder the sounds are synthesized. `others`: further occurrences
reported, all of them wrong. The mixes are written in the given format and read from the files for each query.

All recordings are read completely unless `--most_s` limits the seconds: then they are indexed (by JoinedVQVAE of
`--pt_path`, else by MFCCStats), and the index decides which parts are read. `read`: the fraction that was read, which
is also the expected fraction of sounds found if the parts were chosen at random.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import soxr

from boiler import engine
from boiler.audio import stream as stream_module
from boiler.audio import synthesis
from boiler.audio.stream import SAMPLE_RATE_HZ, Samples
from boiler.catalog.items import Item
from boiler.search.nearest import BySamples, Nearest
from boiler.store import generation
from boiler.store.generation import Header, rows_of

MAX_PLANTED_S = 6
CODECS = {".wav": "pcm_s16le", ".mp3": "libmp3lame", ".opus": "libopus", ".flac": "flac"}


def sounds_of(folder: Path | None) -> list[Samples]:
    """Sounds at 16 kHz, without leading and trailing silence, scaled to an RMS of 1."""
    if folder is None:
        kinds = [(kind, number) for number in range(20) for kind in synthesis.KINDS]
        made = (synthesis.synthesize(kind, np.random.default_rng((5, at))) for at, (kind, _) in enumerate(kinds))
        decoded = [soxr.resample(one, synthesis.RATE_HZ, SAMPLE_RATE_HZ) for one in made]
    else:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in stream_module.SUFFIXES)
        decoded = [stream_module.load(path) for path in paths]
    out = []
    for one in decoded:
        loud = np.flatnonzero(np.abs(one) > 1e-3 * np.abs(one).max())
        one = one[loud[0] : loud[-1] + 1]
        out.append(np.asarray(one / np.sqrt(np.mean(one**2)), np.float32))
    return out


def mix_of(sounds: list[Samples], duration_s: int, random: np.random.Generator) -> Samples:
    out = np.zeros(duration_s * SAMPLE_RATE_HZ, np.float32)
    for _ in range(2):
        at = 0
        while at < len(out):
            one = sounds[random.integers(len(sounds))][: len(out) - at]
            out[at : at + len(one)] += one * np.float32(10 ** (random.uniform(-6, 6) / 20))
            at += len(one)
    return out / np.sqrt(np.mean(out**2))


def write(path: Path, samples: Samples) -> None:
    """Write a file in the format of its suffix; MP3 and Opus at 64 kb/s."""
    with av.open(path, "w") as container:
        stream = container.add_stream(CODECS[path.suffix], rate=SAMPLE_RATE_HZ, layout="mono")
        if path.suffix in (".mp3", ".opus"):
            stream.codec_context.bit_rate = 64_000
        form = {".mp3": "s16p", ".opus": "flt"}.get(path.suffix, "s16")
        stream.codec_context.format = form
        size = stream.codec_context.frame_size or 16_384
        for at in range(0, len(samples), size):
            block = np.clip(samples[None, at : at + size] * 0.05, -1, 1)
            block = block.astype(np.float32) if form == "flt" else (block * 32_767).round().astype(np.int16)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format=form, layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--sounds", type=int, default=24, help="how many sounds are planted at each level")
    parser.add_argument("--levels_db", type=float, nargs="+", default=[0.0, -6.0])
    parser.add_argument("--format", choices=list(CODECS), default=".wav")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recordings", type=int, default=1)
    parser.add_argument("--recording_s", type=int, default=3_600)
    parser.add_argument(
        "--most_s", type=float, default=None, help="seconds of sound to read at most (default: everything)"
    )
    parser.add_argument(
        "--pt_path", type=Path, default=None, help="checkpoint of the encoder of the index (default: MFCCStats)"
    )
    args = parser.parse_args(argv)
    random = np.random.default_rng(args.seed)
    sounds = sounds_of(args.folder)
    order = random.permutation(len(sounds))
    targets, rest = [sounds[at] for at in order[: args.sounds]], [sounds[at] for at in order[args.sounds :]]
    mixes = [mix_of(rest, args.recording_s, random) for _ in range(args.recordings)]
    where = "synthesized sounds" if args.folder is None else args.folder.name
    head = f"{args.recordings} x {args.recording_s} s of {where} as {args.format}"
    print(f"| {head} | found | median error s | score | others | read | CPU s per sound |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for level_db in args.levels_db:
        with tempfile.TemporaryDirectory() as folder:
            planted_at = plant(Path(folder) / "sounds", targets, mixes, level_db, args.format, random)
            index(Path(folder), args.recording_s, args.pt_path, needed=args.most_s is not None)
            print(line(Path(folder), targets, planted_at, level_db, args.most_s), flush=True)
    return 0


def plant(
    folder: Path,
    targets: list[Samples],
    mixes: list[Samples],
    level_db: float,
    suffix: str,
    random: np.random.Generator,
) -> list[tuple[str, float]]:
    """Write the mixes with the sounds planted in them; return the file and the start in seconds of each sound."""
    folder.mkdir()
    planted = [mix.copy() for mix in mixes]
    at: list[tuple[str, float]] = []
    slots = -(-len(targets) // len(mixes))  # per recording; at most one sound in each, so that none overlap
    slot_s = len(mixes[0]) / SAMPLE_RATE_HZ / slots
    for slot, one in zip(random.permutation(slots * len(mixes)), targets, strict=False):
        one = one[: MAX_PLANTED_S * SAMPLE_RATE_HZ]
        which, place = divmod(int(slot), slots)
        first = int((place * slot_s + random.uniform(0, slot_s - MAX_PLANTED_S)) * SAMPLE_RATE_HZ)
        planted[which][first : first + len(one)] += one * np.float32(10 ** (level_db / 20))
        at.append((f"{which:02d}{suffix}", first / SAMPLE_RATE_HZ))
    for which, mix in enumerate(planted):
        write(folder / f"{which:02d}{suffix}", mix)
    return at


def index(folder: Path, recording_s: int, pt_path: Path | None, *, needed: bool) -> None:
    """Index `folder`/sounds into `folder`/model; with constant vectors unless `needed`, as they then do not matter."""
    if needed:
        encoder = ["MFCCStats"] if pt_path is None else ["--pt_path", str(pt_path), "JoinedVQVAE"]
        command = [sys.executable, "-m", "boiler.index", "--wav_dir", str(folder / "sounds")]
        subprocess.run([*command, "--model_dir", str(folder / "model"), *encoder], check=True, capture_output=True)
        return
    names = sorted(path.name for path in (folder / "sounds").iterdir())
    items = [Item(n, name, duration_s=recording_s) for n, name in enumerate(names)]
    vectors = engine.normalize(np.ones((len(items), 4)))
    generation.publish(folder / "model", Header(encoder="none", dim=4), vectors, rows_of(np.arange(len(items))), items)


def line(
    folder: Path, targets: list[Samples], planted_at: list[tuple[str, float]], level_db: float, most_s: float | None
) -> str:
    errors_s, scores, others, took, read = [], [], 0, [], []
    with Nearest(folder / "model", wav_dir=folder / "sounds") as nearest:
        for one, (id, true_s) in zip(targets, planted_at, strict=True):
            start = time.process_time()
            query = BySamples(one[: MAX_PLANTED_S * SAMPLE_RATE_HZ], SAMPLE_RATE_HZ)
            located = nearest.locate_result(query, 20, max_read_s=most_s)
            took.append(time.process_time() - start)
            read.append(located.read_s / located.total_s)
            away_s = [abs(place.start_s - true_s) if place.id == id else np.inf for place in located.occurrences]
            errors_s.append(away_s[0] if away_s else np.inf)
            others += sum(error > 0.5 for error in away_s)
            scores += [located.occurrences[0].score] if errors_s[-1] < 0.5 else []
    hits = np.array(errors_s) < 0.5
    return (
        f"| planted at {level_db:+g} dB | {hits.sum()} of {len(hits)} | {np.median(errors_s):.4f}"
        f" | {np.median(scores) if scores else np.nan:.2f} | {others} | {np.mean(read):.2f} | {np.mean(took):.1f} |"
    )


if __name__ == "__main__":
    sys.exit(main())
