"""What a training step costs, from the general network and from scratch: multiply-adds, and sounds a second.

    $ ATEN_CPU_CAPABILITY=avx2 python -m exp.benchmarks.steps

Both take steps in turns, so that the ratio holds on a busy machine, too. A step is that of `boiler train` without the
augmentation: two views of each sound, the losses, their gradients and the optimizer, in float32.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from boiler import arguments
from boiler.model.device import keep_freed_memory
from boiler.training.settings import TrainSettings
from boiler.training.state import new_network
from boiler.training.trainer import _forward, _parameter_groups, view_frames


class TrainingStep:
    """A network with its optimizer and a batch of random views."""

    def __init__(self, *, from_scratch: bool, batch: int) -> None:
        torch.manual_seed(0)
        self.batch = batch
        self._settings = TrainSettings(Path(), Path(), from_scratch=from_scratch)
        self._network = new_network(self._settings).train()
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._optimizer = torch.optim.AdamW(_parameter_groups(self._network))
        self._views = torch.rand(2 * batch, 1, self._settings.new_mel().n_mels, view_frames(self._network))

    def run(self) -> None:
        """One step."""
        self._optimizer.zero_grad(set_to_none=True)
        _, losses = _forward(self._network, self._views, self._settings, False)
        losses.total.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()

    def multiply_adds(self) -> float:
        """Millions for each sound."""
        counter = FlopCounterMode(display=False)
        with counter:
            self.run()
        return counter.get_total_flops() / 2e6 / self.batch


def run(args: argparse.Namespace) -> int:
    keep_freed_memory(2**31 - 1)
    steps = {
        "from scratch": TrainingStep(from_scratch=True, batch=args.batch_size),
        "general": TrainingStep(from_scratch=False, batch=args.batch_size),
    }
    counted = {name: step.multiply_adds() for name, step in steps.items()}
    spent_s: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(args.steps):
        for name, step in steps.items():
            began = time.perf_counter()
            step.run()
            spent_s[name].append(time.perf_counter() - began)
    print(
        f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}, batches of {args.batch_size}\n"
    )
    print(
        "| network | multiply-adds of a sound (million) | sounds a second, median of the steps |\n| --- | --- | --- |"
    )
    speed = {name: args.batch_size / statistics.median(some) for name, some in spent_s.items()}
    for name in steps:
        print(f"| {name} | {counted[name]:.0f} | {speed[name]:.1f} |")
    print(
        f"\nfrom scratch / general: {counted['from scratch'] / counted['general']:.2f} times the multiply-adds, "
        f"{speed['general'] / speed['from scratch']:.2f} times the time"
    )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--steps", type=arguments.at_least_1, default=8, help="of each (default: %(default)s)")
        parser.add_argument(
            "--batch_size", type=arguments.at_least_1, default=128, help="sounds (default: %(default)s)"
        )

    return arguments.command(
        argv, prog="python -m exp.benchmarks.steps", description=__doc__, add_arguments=add_arguments, run=run
    )


if __name__ == "__main__":
    sys.exit(main())
