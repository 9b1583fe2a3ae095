"""How much of their speed training and embedding keep on a busy machine: one endless loop for each core beside them.

    $ python -m exp.benchmarks.beside --seconds 20

Each variant runs in a process of its own, first alone, then beside the loops: training steps of the default network, and
embedding by the default encoder as `boiler index` does it. On a fair machine what is left is a half, since as many
loops as there are cores ask for the same time. `waiting`: what idle threads of OpenMP do, sleep (passive) or spin.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence

from boiler import arguments

WORK = """
import sys, time
import numpy as np, torch
if {threads}: torch.set_num_threads({threads})
seconds, batch = {seconds}, {batch}
if "{what}" == "training":
    from exp.benchmarks.steps import TrainingStep
    step = TrainingStep(from_scratch=False, batch=batch)
    def run():
        step.run()
        return batch
else:
    from boiler import encoder
    from boiler.encoder.runtime import EncoderRuntime
    made = encoder.create("JoinedGeneral")
    runtime = EncoderRuntime(torch.jit.script(made))
    windows = np.random.default_rng(0).standard_normal((16, made.window_samples)).astype(np.float32)
    context = runtime.parallel_embed()
    embed = context.__enter__()
    def run():
        return len(embed(windows))
run()
began, done = time.monotonic(), 0
while time.monotonic() - began < seconds:
    done += run()
print(done / (time.monotonic() - began))
"""
VARIANTS = {
    "as it is": {},
    "waiting passively": {"OMP_WAIT_POLICY": "passive"},
    "spinning": {"OMP_WAIT_POLICY": "active"},
}


def endless() -> None:
    while True:
        pass


def per_second(what: str, seconds: float, threads: int, batch: int, environment: dict[str, str]) -> float:
    """Sounds a second of one process."""
    source = WORK.format(what=what, seconds=seconds, threads=threads, batch=batch)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    done = subprocess.run(
        [sys.executable, "-c", source], env=kept | environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def run(args: argparse.Namespace) -> int:
    n_cores = len(os.sched_getaffinity(0))
    variants = [(f"{name}, {threads or n_cores} threads", environment, threads)
                for threads in (0, 1) for name, environment in VARIANTS.items()]  # fmt: skip
    for what in args.what:
        alone = {name: per_second(what, args.seconds, threads, args.batch_size, environment)
                 for name, environment, threads in variants}  # fmt: skip
        loops = [multiprocessing.Process(target=endless, daemon=True) for _ in range(n_cores)]
        for loop in loops:
            loop.start()
        try:
            for name, environment, threads in variants:
                beside = per_second(what, args.seconds, threads, args.batch_size, environment)
                row = {"what": what, "variant": name, "alone_per_s": round(alone[name], 1),
                       "beside_per_s": round(beside, 1), "kept": round(beside / alone[name], 2)}  # fmt: skip
                print(json.dumps(row), flush=True)
        finally:
            for loop in loops:
                loop.kill()
                loop.join()
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--seconds", type=float, default=15.0, help="of each run (default: %(default)s)")
        parser.add_argument("--batch_size", type=arguments.at_least_1, default=64, help="sounds a training step")
        parser.add_argument("--what", nargs="+", choices=("training", "embedding"), default=("training", "embedding"))

    return arguments.command(
        argv, prog="python -m exp.benchmarks.beside", description=__doc__, add_arguments=add_arguments, run=run
    )


if __name__ == "__main__":
    sys.exit(main())
