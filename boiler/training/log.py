"""What a run reports: metrics to TensorBoard; the expected number of steps and warnings to stderr."""

from __future__ import annotations

import sys

from torch import Tensor

from boiler.model.shard import Shard
from boiler.model.vqvae import VQVAE2, VQVAEOutputs
from boiler.progress import format_duration
from boiler.training.budget import TimeBudget
from boiler.training.dataset import SegmentDataset
from boiler.training.losses import Losses
from boiler.training.settings import TrainSettings
from boiler.training.tensorboard import CodebookUsage, RunningMeans, TensorBoardWriter, collapse_warnings

MIN_USEFUL_STEPS = 300
MIN_USEFUL_PASSES = 2
"""With fewer steps, or fewer passes over the folder, an encoder is seldom better than MFCC statistics."""


class StepMetrics:
    """Mean losses and codebook usage over a number of passes.

    shard: of the batches; the metrics are of the whole batches, and `pop` is collective then.
    """

    def __init__(self, network: VQVAE2, shard: Shard | None = None) -> None:
        self._shard = shard or Shard()
        self._means = RunningMeans(self._shard)
        self._usage = {
            "top": CodebookUsage(network.top.n_codes, self._shard),
            "bottom": CodebookUsage(network.bottom.n_codes, self._shard),
        }
        self._n = 0

    def add(self, outputs: VQVAEOutputs, losses: Losses) -> None:
        self._means.add(losses._asdict())
        self._usage["top"].add(outputs.top.codes)
        self._usage["bottom"].add(outputs.bottom.codes)
        self._n += 1

    def pop(self) -> dict[str, float]:
        """The metrics since the last call; empty when there was no pass."""
        if not self._n:
            return {}
        self._n = 0
        return self._means.pop() | self._usage["top"].pop("top") | self._usage["bottom"].pop("bottom")


class TrainLog:
    """The log of one sitting of a run. `warnings`: all that have been printed."""

    def __init__(self, settings: TrainSettings, network: VQVAE2, step: int) -> None:
        self.warnings: list[str] = []
        self._settings = settings
        self._writer = TensorBoardWriter(settings.save_path, step)
        self._n_codes = {"top": network.top.n_codes, "bottom": network.bottom.n_codes}

    def expect(self, n_steps: int, last_step: int, steps_per_pass: int, budget: TimeBudget) -> None:
        """Print how many steps to expect, and a warning if they are too few for the folder.

        n_steps: the estimated total number of steps
        last_step: the number of steps without a time limit
        """
        bound = f" in {format_duration(budget.max_s)}" if n_steps < last_step else ""
        passes = n_steps / steps_per_pass
        print(f"boiler: expecting about {n_steps:,} steps{bound}, {passes:.1f} passes over the folder", file=sys.stderr)
        needed = max(MIN_USEFUL_STEPS, MIN_USEFUL_PASSES * steps_per_pass)
        if n_steps < needed:
            flag = f"--max_minutes {_round_up(budget.max_s / 60 * needed / n_steps)}" if bound else "--epoch"
            network = self._settings.network
            too_few = f"{n_steps:,} steps are too few for this folder: after fewer than {needed:,}, "
            if network and network.trunk == "general":
                self.warn(
                    f"{too_few}the codes and the projection have learned little, and neighbours come from what is"
                    f" fitted before the first step. Train longer ({flag})"
                )
            else:
                self.warn(
                    f"{too_few}an encoder is seldom better than MFCC statistics. Train longer ({flag}), or index"
                    f" without training: boiler index {self._settings.wav_dir}"
                )

    def report_unused(self, dataset: SegmentDataset) -> None:
        """Print which files of the folder are not trained on."""
        n_failures, n_skipped = len(dataset.failures), dataset.n_skipped
        if n_failures:
            print(f"boiler: {n_failures:,} file{'s' * (n_failures != 1)} cannot be used:", file=sys.stderr)
            for failure in dataset.failures:
                print(f"  {failure.id}: {failure.reason}", file=sys.stderr)
        if n_skipped:
            self.warn(
                f"{n_skipped:,} file{'s' * (n_skipped != 1)} left out: there was no time to decode them. Decoded "
                "sounds are kept, so the next run can decode more; or give more --max_minutes"
            )

    def write(self, kind: str, metrics: dict[str, float], step: int) -> None:
        """Write metrics to TensorBoard under the tags `kind/name`."""
        self._writer.scalars(kind, metrics, step)

    def write_reconstructions(self, scaled: Tensor, reconstruction: Tensor, step: int) -> None:
        """Write spectrograms `[B, 1, M, F]` beside their reconstructions to TensorBoard."""
        self._writer.reconstructions(scaled, reconstruction, step)

    def check_codebooks(self, metrics: dict[str, float]) -> None:
        """Warn of each codebook that `metrics` shows collapsing."""
        for warning in collapse_warnings(metrics, self._n_codes):
            self.warn(warning)

    def warn(self, warning: str) -> None:
        self.warnings.append(warning)
        print(f"boiler: WARNING: {warning}", file=sys.stderr, flush=True)

    def close(self) -> None:
        self._writer.close()


def _round_up(minutes: float) -> int:
    """Minutes, rounded up to a whole number that is easy to type: 7, 35, 120."""
    step = 1 if minutes < 10 else 5 if minutes < 60 else 30
    return int(-(-minutes // step) * step)
