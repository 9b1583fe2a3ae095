"""Time and memory of `boiler evaluate` on 50,000 items with random vectors.

    $ python -m exp.benchmarks.evaluate                         50,000 items of 64 numbers, 50 classes, 10,000 groups
    $ python -m exp.benchmarks.evaluate --n_items 10000 --tags  several labels an item

Nothing is decoded: no MFCC baseline (`boiler evaluate` skips it above 5,000 items) and no robustness measures.
"""

from __future__ import annotations

import argparse
import csv
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from boiler.cli import evaluate
from boiler.store import generation
from boiler.store.generation import Header, Item, rows_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n_items", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--n_labels", type=int, default=50)
    parser.add_argument("--tags", action="store_true", help="several labels an item")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    labels = rng.integers(args.n_labels, size=args.n_items)
    vectors = rng.standard_normal((args.n_items, args.dim)).astype(np.float32)
    vectors += 0.6 * rng.standard_normal((args.n_labels, args.dim)).astype(np.float32)[labels]
    groups = rng.integers(max(args.n_items // 5, 1), size=args.n_items)
    folds = groups % 5
    with tempfile.TemporaryDirectory() as folder:
        model_dir, table = Path(folder) / "model", Path(folder) / "labels.csv"
        with table.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["id", "labels" if args.tags else "label", "album", "fold"])
            for n in range(args.n_items):
                names = [labels[n], *rng.integers(args.n_labels, size=3)] if args.tags else [labels[n]]
                writer.writerow([f"{n}.wav", ";".join(f"kind {name}" for name in names), groups[n], folds[n]])
        start = time.monotonic()
        items = (Item(n, f"{n}.wav") for n in range(args.n_items))
        header = Header(encoder="random", dim=args.dim)
        generation.publish(model_dir, header, vectors, rows_of(np.arange(args.n_items)), items)
        print(f"published {args.n_items:,} items in {time.monotonic() - start:.1f} s", flush=True)
        del items, vectors
        before = resource.getrusage(resource.RUSAGE_SELF)
        start = time.monotonic()
        code = evaluate.main([str(model_dir), "--labels", str(table), "--group", "album"])
        wall_s = time.monotonic() - start
        after = resource.getrusage(resource.RUSAGE_SELF)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(
            f"\nexit {code}; {wall_s:.1f} s wall, {cpu_s:.1f} s CPU; peak memory {after.ru_maxrss / 1024:.0f} MB"
            f" (publishing: {before.ru_maxrss / 1024:.0f} MB)"
        )


if __name__ == "__main__":
    main()
