"""What indexing costs per sound, and whether small runs predict larger ones: `python -m exp.studies.scale`.

    --fit 250 500         two sizes, whose difference is the cost of a sound, the rest that of a run
    --model 23.1 19.9 6738  instead: seconds of a run, ms and bytes of a sound, as docs/scale.md has them
    --check 1000 3000     sizes that are predicted, and then run
    --encoder MFCCStats   any encoder that needs no checkpoint
    --stages              instead of all this: what decoding, embedding and storing a sound cost, each alone
    --publish 10000 200000  instead of all this: publish as many rows of random vectors, to compare with the model's
                          `--row_us 998` of a row and `--item_us 277` of a sound (the map) on one core

Each run indexes synthetic sounds of 10 s (a chord with an envelope and noise, 16 kHz mono WAV, all different) into a new
model directory. Costs are processor seconds of all processes, which a load beside changes less than seconds of the
clock, and bytes of the model directory. Prints tables in Markdown, predicted beside measured, and the cost of 1, 10 and
100 million sounds by the same line.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from boiler import encoder, files
from boiler.arrays import Float32Array
from boiler.audio import stream
from boiler.catalog.catalog import Catalog
from boiler.catalog.embed_queue import PendingFile
from boiler.catalog.items import Item
from boiler.catalog.scan import FoundFile
from boiler.engine import selection
from boiler.engine.exact import Exact
from boiler.store import generation
from boiler.store.generation import Header

RATE_HZ, DURATION_S, DIM = 16_000, 10, 64
ENCODERS, N_STAGE_SOUNDS = ("MFCCStats", "GeneralEncoder", "JoinedGeneral"), 32


class Cost(NamedTuple):
    """Of one run, or of one sound."""

    cpu_s: float
    n_bytes: float


def write_sound(path: Path, seed: int) -> None:
    """A chord, its envelope and noise, all by the seed."""
    random = np.random.default_rng(seed)
    t = np.arange(RATE_HZ * DURATION_S, dtype=np.float32) / RATE_HZ
    tones = sum(np.sin(2 * np.pi * f * t) for f in random.uniform(80, 4_000, 3))
    samples = tones * (0.6 + 0.4 * np.sin(2 * np.pi * random.uniform(0.2, 4) * t)) + random.normal(0, 0.2, len(t))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes((6_000 * samples).astype("<i2").tobytes())


def measured(work: Path, n_sounds: int, encoder: str) -> tuple[Cost, float]:
    """The cost of a first index of `n_sounds`, and its seconds of the clock."""
    folder, model_dir = work / "sounds", work / "model"
    folder.mkdir(exist_ok=True)
    have = len(list(folder.iterdir()))
    for seed in range(have, n_sounds):
        write_sound(folder / f"{seed:07}.wav", seed)
    for path in sorted(folder.iterdir())[n_sounds:]:
        path.unlink()
    shutil.rmtree(model_dir, ignore_errors=True)
    before, began = os.times(), time.monotonic()
    command = [sys.executable, "-m", "boiler.index", "--wav_dir", str(folder), "--model_dir", str(model_dir), encoder]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall_s, after = time.monotonic() - began, os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    n_bytes = sum(path.stat().st_size for path in model_dir.rglob("*") if path.is_file() and not path.is_symlink())
    return Cost(cpu_s, n_bytes), wall_s


def measure_stages() -> None:
    """Print what each stage costs a sound, in ms of one core, in this process."""
    torch.set_num_threads(1)
    print(f"| a sound of {DURATION_S} s, two windows; load {os.getloadavg()[0]:.1f} | ms of a core |\n| --- | ---: |")
    with tempfile.TemporaryDirectory() as top:
        work, samples = Path(top), list[Float32Array]()
        paths = [work / f"{seed}.wav" for seed in range(N_STAGE_SOUNDS)]
        for seed, path in enumerate(paths):
            write_sound(path, seed)
        stream.load(paths[0])
        before = time.process_time()
        for path in paths:
            samples.append(stream.load(path))
            files.sha256_of(path)
        print(f"| decode and hash | {each_ms(before):.2f} |", flush=True)
        for name in ENCODERS:
            created = encoder.create(name)
            half = [sound[at : at + created.window_samples] for sound in samples for at in (0, len(sound) // 2)]
            loops = [np.resize(one, created.window_samples) for one in half]
            batches = [torch.from_numpy(np.stack(loops[at : at + 16])[:, None]) for at in range(0, len(loops), 16)]
            created(batches[0])
            before = time.process_time()
            vectors = torch.cat([created(batch) for batch in batches]).numpy()
            print(f"| embed, `{name}`: {vectors.shape[1]} numbers a row | {each_ms(before):.2f} |", flush=True)
        before = time.process_time()
        with Catalog(work / "catalogue.sqlite") as catalog:
            found = [FoundFile(f"{n}.wav", 1, 1) for n in range(N_STAGE_SOUNDS)]
            catalog.queue.put([PendingFile(n, one, None) for n, one in enumerate(found)])
            with catalog.transaction():
                for n in range(N_STAGE_SOUNDS):
                    c, _ = catalog.queue.begin(n)
                    catalog.queue.add_windows((c, 4.096 * i, 8.192 + i, vectors[2 * n + i]) for i in range(2))
                    catalog.queue.finish(n, c, f"{n:064}", 1, stream.Probe(10.0, RATE_HZ, 1, "wav"))
        print(f"| store | {each_ms(before):.2f} |")


def each_ms(before: float) -> float:
    return 1_000 * (time.process_time() - before) / N_STAGE_SOUNDS


def compare_publishing(sizes: list[int], row_us: float, item_us: float) -> None:
    """Publish indexes of two rows a sound, and print processor seconds beside those of the model."""
    print(f"{DIM} numbers a row, load {os.getloadavg()[0]:.1f}\n")
    print("| rows | CPU s, predicted | measured | off | MB | wall s | 10 nearest, ms of a core | recall |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for n_rows in sizes:
        with tempfile.TemporaryDirectory() as work:
            before, began = time.process_time(), time.monotonic()
            opened = publish_random(Path(work), n_rows)
            cpu_s, wall_s = time.process_time() - before, time.monotonic() - began
            predicted = n_rows * (row_us + item_us / 2) / 1e6
            n_bytes = sum(
                path.stat().st_size for path in Path(work).rglob("*") if not path.is_symlink() and path.is_file()
            )
            name = str(opened.header.engine["name"])
            engine = selection.load_engine(opened.path, opened.header.engine, name, opened.vectors)
            queries = opened.vectors[:: max(1, n_rows // 200)][:200]
            before = time.process_time()
            found = [engine.query(query[None], 10) for query in queries]
            each_ms = 1_000 * (time.process_time() - before) / len(queries)
            true = Exact(opened.vectors).query(np.asarray(queries), 10)
            same = [len({*one.rows[0]} & {*rows}) for one, rows in zip(found, true.rows, strict=True)]
            print(
                f"| {n_rows:,} | {predicted:.0f} | {cpu_s:.0f} | {100 * (cpu_s / predicted - 1):+.0f} % |"
                f" {n_bytes / 1e6:.0f} | {wall_s:.0f} | {each_ms:.2f} ({name}) | {np.mean(same) / 10:.3f} |",
                flush=True,
            )


def publish_random(model_dir: Path, n_rows: int) -> generation.Generation:
    """An index of `n_rows` / 2 items, each of two windows near one another."""
    random = np.random.default_rng(0)
    # Some hundred clusters, as collections have: vectors that are all alone are no one's nearest.
    centres = random.normal(size=(300, DIM)).astype(np.float32)
    sounds = centres[random.integers(300, size=n_rows // 2)] + 0.7 * random.normal(size=(n_rows // 2, DIM))
    vectors = np.repeat(sounds, 2, axis=0) + 0.2 * random.normal(size=(2 * len(sounds), DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    rows = np.zeros(len(vectors), generation.ROW)
    rows["n"] = np.repeat(np.arange(len(sounds)), 2)
    rows["start_s"], rows["end_s"] = np.tile([0.0, 4.096], len(sounds)), np.tile([8.192, 10.0], len(sounds))
    items = (Item(n, f"{n % 100:02}/{n:07}.wav", duration_s=10.0, sha256=f"{n:064x}") for n in range(len(sounds)))
    return generation.publish(model_dir, Header(encoder="random", dim=DIM), vectors, rows, items)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", type=int, nargs=2, default=[250, 500])
    parser.add_argument("--check", type=int, nargs="+", default=[1_000])
    parser.add_argument("--encoder", default="MFCCStats")
    parser.add_argument("--model", type=float, nargs=3, metavar=("RUN_S", "SOUND_MS", "SOUND_BYTES"))
    parser.add_argument("--stages", action="store_true")
    parser.add_argument("--publish", type=int, nargs="+", metavar="ROWS")
    parser.add_argument("--row_us", type=float, default=998)
    parser.add_argument("--item_us", type=float, default=277)
    args = parser.parse_args()
    if args.stages:
        measure_stages()
        return
    if args.publish:
        compare_publishing(args.publish, args.row_us, args.item_us)
        return
    print(f"`{args.encoder}`, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    with tempfile.TemporaryDirectory() as work:
        if args.model:
            run_s, sound_ms, sound_bytes = args.model
            start, each = Cost(run_s, 0.0), Cost(sound_ms / 1_000, sound_bytes)
        else:
            few, many = sorted(args.fit)
            (small, _), (large, _) = (measured(Path(work), n, args.encoder) for n in (few, many))
            each = Cost(*((b - a) / (many - few) for a, b in zip(small, large, strict=True)))
            start = Cost(*(a - few * one for a, one in zip(small, each, strict=True)))
        print(
            f"a run {start.cpu_s:.1f} s, a sound {1_000 * each.cpu_s:.2f} ms of a core and {each.n_bytes:,.0f} bytes\n"
        )
        print("| sounds | CPU s, predicted | measured | off | MB, predicted | measured | off | wall s |")
        print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
        for n in args.check:
            found, wall_s = measured(Path(work), n, args.encoder)
            cells = [f"{n:,}"]
            for a, one, is_now, unit in zip(start, each, found, (1, 1e6), strict=True):
                predicted = a + n * one
                cells += [f"{predicted / unit:.1f}", f"{is_now / unit:.1f}", f"{100 * (is_now / predicted - 1):+.0f} %"]
            print(f"| {' | '.join(cells)} | {wall_s:.0f} |", flush=True)
        print("\n| sounds | core hours | GB |\n| ---: | ---: | ---: |")
        for n in (10**6, 10**7, 10**8):
            print(f"| {n:,} | {n * each.cpu_s / 3_600:,.0f} | {n * each.n_bytes / 1e9:,.0f} |")


if __name__ == "__main__":
    main()
