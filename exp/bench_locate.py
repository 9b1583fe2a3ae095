"""Planted sounds found again in mixes of an hour: how many, how exactly, and how long it takes.

    $ python exp/bench_locate.py --sounds 24
    $ python exp/bench_locate.py --folder ~/esc10 --sounds 24 --levels_db 0 -6 -12 --format .mp3

A mix is two layers of sounds, one after the other, each at a level of its own (6 dB about the mean). What is planted
is not in it otherwise, begins at a random time, and has, while it sounds, the mix's mean power plus the level. Each is
then asked for; found means that the best place is within half a second. Without a folder the sounds are made up.
`chance`:
answers besides, all of them wrong. The mix is written in the format asked for, and read from the file each time.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import soxr

from boiler import audio, engine, generation, synthesis
from boiler.api.nearest import BySamples, Nearest
from boiler.audio import SAMPLE_RATE_HZ, Samples
from boiler.generation import Header, rows_of
from boiler.records import Item

HOUR_S = 3_600
MOST_PLANTED_S = 6
CODECS = {".wav": "pcm_s16le", ".mp3": "libmp3lame", ".opus": "libopus", ".flac": "flac"}


def sounds_of(folder: Path | None) -> list[Samples]:
    """At 16 kHz, without what is silent before and after, at an RMS of 1."""
    if folder is None:
        kinds = [(kind, number) for number in range(20) for kind in synthesis.KINDS]
        made = (synthesis.make(kind, np.random.default_rng((5, at))) for at, (kind, _) in enumerate(kinds))
        decoded = [soxr.resample(one, synthesis.RATE_HZ, SAMPLE_RATE_HZ) for one in made]
    else:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in audio.SUFFIXES)
        decoded = [audio.load(path) for path in paths]
    out = []
    for one in decoded:
        loud = np.flatnonzero(np.abs(one) > 1e-3 * np.abs(one).max())
        one = one[loud[0] : loud[-1] + 1]
        out.append(np.asarray(one / np.sqrt(np.mean(one**2)), np.float32))
    return out


def mix_of(sounds: list[Samples], random: np.random.Generator) -> Samples:
    out = np.zeros(HOUR_S * SAMPLE_RATE_HZ, np.float32)
    for _ in range(2):
        at = 0
        while at < len(out):
            one = sounds[random.integers(len(sounds))][: len(out) - at]
            out[at : at + len(one)] += one * np.float32(10 ** (random.uniform(-6, 6) / 20))
            at += len(one)
    return out / np.sqrt(np.mean(out**2))


def write(path: Path, samples: Samples) -> None:
    """Compressed formats at 64 kb/s."""
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
    parser.add_argument("--sounds", type=int, default=24, help="how many are planted, at each level")
    parser.add_argument("--levels_db", type=float, nargs="+", default=[0.0, -6.0])
    parser.add_argument("--format", choices=list(CODECS), default=".wav")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    random = np.random.default_rng(args.seed)
    sounds = sounds_of(args.folder)
    order = random.permutation(len(sounds))
    sought, rest = [sounds[at] for at in order[: args.sounds]], [sounds[at] for at in order[args.sounds :]]
    mix = mix_of(rest, random)
    where = "made-up sounds" if args.folder is None else args.folder.name
    print(
        f"| an hour of {where} as {args.format} | found | median error s | score | chance | s a sound, decoding too |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for level_db in args.levels_db:
        print(line(sought, mix, level_db, args.format, random), flush=True)
    return 0


def line(sought: list[Samples], mix: Samples, level_db: float, suffix: str, random: np.random.Generator) -> str:
    planted, at_s = mix.copy(), []
    slot_s = HOUR_S / len(sought)  # one each, in any order, so that none covers another
    for slot, one in zip(random.permutation(len(sought)), sought, strict=True):
        one = one[: MOST_PLANTED_S * SAMPLE_RATE_HZ]
        first = int((slot * slot_s + random.uniform(0, slot_s - MOST_PLANTED_S)) * SAMPLE_RATE_HZ)
        planted[first : first + len(one)] += one * np.float32(10 ** (level_db / 20))
        at_s.append(first / SAMPLE_RATE_HZ)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "sounds").mkdir()
        write(folder / "sounds" / f"hour{suffix}", planted)
        # Everything is read, so the vector does not matter.
        vectors = engine.unit(np.ones((1, 4)))
        item = Item(0, f"hour{suffix}", duration_s=HOUR_S)
        generation.publish(folder / "model", Header(encoder="none", dim=4), vectors, rows_of(np.zeros(1, int)), [item])
        errors_s, scores, wrong, took = [], [], 0, []
        with Nearest(folder / "model", wav_dir=folder / "sounds") as nearest:
            for one, true_s in zip(sought, at_s, strict=True):
                began = time.process_time()
                asked = BySamples(one[: MOST_PLANTED_S * SAMPLE_RATE_HZ], SAMPLE_RATE_HZ)
                found = nearest.locate(asked, 20, most_s=None)
                took.append(time.process_time() - began)
                errors_s.append(abs(found[0].start_s - true_s) if found else np.inf)
                wrong += sum(abs(place.start_s - true_s) > 0.5 for place in found)
                scores += [found[0].score] if errors_s[-1] < 0.5 else []
    hits = np.array(errors_s) < 0.5
    return (
        f"| planted at {level_db:+g} dB | {hits.sum()} of {len(hits)} | {np.median(errors_s):.4f}"
        f" | {np.median(scores):.2f} | {wrong} | {np.mean(took):.1f} |"
    )


if __name__ == "__main__":
    sys.exit(main())
