"""How fast tag models are trained, beside what the machine can do, and how much memory that takes.

    $ python -m exp.benchmarks.tags speed /tmp/records --threads 2
    $ python -m exp.benchmarks.tags memory /tmp/records

`speed`: the matrix products of a step alone, whole steps from memory, and reading records; of YouTube-8M's 1,152
features and 3,862 tags, 2 x 2 x 1152 x 3862 = 17.8 million operations an example: the log-odds, and the gradient of the
weights. `memory`: the largest resident memory of a training of one epoch, by the number of records. The records are
those of `exp.studies.tags_records make`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from boiler import arguments
from boiler.tagging import trainer
from boiler.tagging.examples import ExampleBatch, TFRecordExamples, find_files, read_batches
from boiler.tagging.network import Linear
from boiler.tagging.settings import TagSettings
from boiler.tagging.tfrecord import YOUTUBE_8M
from boiler.tagging.trainer import Statistics, TagTrainState

DIM, N_TAGS = 1_152, 3_862
FLOP = 4 * DIM * N_TAGS
MEMORY = """
import resource, sys
from boiler import train_tags
code = train_tags.main(sys.argv[1:])
print("MAXRSS", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
sys.exit(code)
"""


def best_of_each(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The least seconds of several runs of each, in turns: other programs only ever add to them."""
    best = dict.fromkeys(works, float("inf"))
    for _ in range(repeats):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            best[name] = min(best[name], time.perf_counter() - began)
    return best


def stepping(batch: ExampleBatch, classes_per_step: int | None) -> Callable[[], object]:
    """A whole step of the training of the linear model with this batch, the optimizer's part included."""
    network = Linear(DIM, N_TAGS)
    statistics = Statistics(len(batch.ids), np.zeros(DIM, np.float32), np.ones(DIM, np.float32), np.ones(N_TAGS, int))
    state = TagTrainState(network, torch.optim.Adam(network.parameters(), lr=1e-4, fused=True), statistics)
    step = trainer._Step(state, TagSettings(classes_per_step=classes_per_step))
    return lambda: step(batch, 0)


def speed(args: argparse.Namespace) -> int:
    torch.set_num_threads(args.threads)
    n = args.batch_size
    source = TFRecordExamples(find_files([str(args.folder / "records-000.tfrecord")]), YOUTUBE_8M, N_TAGS, print)
    began = time.perf_counter()
    batches = list(read_batches(source, n, seed=0))
    reading_s = time.perf_counter() - began
    scaled, slopes, weight = torch.randn(n, DIM), torch.randn(n, N_TAGS), torch.randn(N_TAGS, DIM)
    sampled = args.classes_per_step
    works: dict[str, Callable[[], object]] = {
        "matrix products alone": lambda: (torch.mm(scaled, weight.T), torch.mm(slopes.T, scaled)),
        "step, all tags": stepping(batches[0], None),
        f"step, {sampled} tags or more": stepping(batches[0], sampled),
    }
    best = best_of_each(works, args.repeats)
    n_labels = len(np.unique(batches[0].classes))
    print(f"{args.threads} threads, {n} examples a step, which have {n_labels} different labels")
    for name, seconds in best.items():
        print(f"{name:<26} {n / seconds:>8,.0f} examples/s, {seconds:.3f} s")
    products, dense = (best[name] for name in ("matrix products alone", "step, all tags"))
    print(f"{n * FLOP / products / 1e9:.1f} GFLOP/s; a step with all tags reaches {products / dense:.0%} of that")
    print(f"{'reading records':<26} {sum(len(one.ids) for one in batches) / reading_s:>8,.0f} examples/s")
    return 0


def memory(args: argparse.Namespace) -> int:
    for n_files in (2, 20):
        pattern = str(args.folder / ("records-00[01].tfrecord" if n_files == 2 else "records-*.tfrecord"))
        words = ["--tfrecord", pattern, "--vocabulary", str(args.folder / "vocabulary.csv"), "--epoch", "1"]
        words += ["--classes_per_step", "256", "--batch_size", str(args.batch_size), "--threads", str(args.threads)]
        began = time.monotonic()
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            command = [sys.executable, "-c", MEMORY, *words, "--save_path", folder]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            report = json.loads((Path(folder) / "report.json").read_text())
        print(
            f"{10_000 * n_files:>8,} records: {done.stdout.split()[-1]} MiB, {report['examples_per_s']:,} examples/s in the"
            f" epoch, {time.monotonic() - began:.0f} s in all",
            flush=True,
        )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    actions = {"speed": speed, "memory": memory}

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("action", choices=actions)
        parser.add_argument("folder", type=Path)
        parser.add_argument("--threads", type=arguments.at_least_1, default=2, help="of torch (default: %(default)s)")
        parser.add_argument("--batch_size", type=arguments.at_least_1, default=2_048, help="(default: %(default)s)")
        parser.add_argument("--classes_per_step", type=arguments.at_least_1, default=512, help="(default: %(default)s)")
        parser.add_argument("--repeats", type=arguments.at_least_1, default=12, help="(default: %(default)s)")

    return arguments.command(
        argv,
        prog="python -m exp.benchmarks.tags",
        description=__doc__,
        add_arguments=add_arguments,
        run=lambda args: actions[args.action](args),
    )


if __name__ == "__main__":
    sys.exit(main())
