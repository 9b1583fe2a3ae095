"""Writing the checkpoints of a run, and fitting the encoders (whitening and the like) that a checkpoint holds.

The weights are written before anything is fitted to them, so a run that is killed while fitting can be resumed. When
its time is over or a stop is requested, fitting stops reading windows and uses those it has read so far.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from boiler import encoder
from boiler.encoder import Pace
from boiler.model import checkpoint
from boiler.model.checkpoint import Checkpoint
from boiler.model.mel import MelSettings
from boiler.model.vqvae import VQVAE2
from boiler.progress import Meter, meter
from boiler.training.budget import TimeBudget
from boiler.training.dataset import SegmentDataset, Split, WindowBatches
from boiler.training.settings import TrainSettings
from boiler.training.state import TrainState
from boiler.training.stopping import StopSignals

FIT_WINDOWS = 4096
"""Number of windows that the encoders are fitted to at the end of a run."""
QUICK_FIT_WINDOWS = 256
"""The same for a checkpoint between epochs, and the minimum after a signal."""
EARLIER_SHARE = 0.25
"""Share of the time for the fits of a checkpoint that each but the last may take: the last, of `JoinedVQVAE`, takes
longest, and gets better with the number of windows."""
MIN_FIT_WINDOWS = 64
"""The minimum when the time is over."""


class CheckpointSaver:
    """Saves the states of one run under its `save_path`.

    The windows that encoders are fitted to are drawn from `split.train` with the seed.
    """

    def __init__(
        self,
        settings: TrainSettings,
        mel: MelSettings,
        dataset: SegmentDataset,
        split: Split,
        steps_per_epoch: int,
        budget: TimeBudget,
        stop: StopSignals,
        device: torch.device,
    ) -> None:
        self._settings = settings
        self._mel = mel
        self._dataset = dataset
        self._split = split
        self._steps_per_epoch = steps_per_epoch
        self._budget = budget
        self._stop = stop
        self._device = device

    def epoch(self, step: int) -> int:
        """The epoch that this step belongs to, from 1."""
        return max(1, math.ceil(step / self._steps_per_epoch))

    def fit_folder(self, network: VQVAE2) -> dict[str, Tensor]:
        """Fit what depends on the folder alone, not on what the network learns."""
        windows = self._windows(FIT_WINDOWS, torch.device("cpu"))
        pace = FolderPace(len(windows.segments), self._budget.folder_fit_s(), self._stop)
        return encoder.learn_folder(windows, network, pace=pace)

    def save_between(self, state: TrainState, metrics: dict[str, float]) -> Path:
        """Save a checkpoint while the run goes on, after a quick fit. Returns its path."""
        return self._save(state, metrics, QUICK_FIT_WINDOWS, self._budget.checkpoint_fit_s())

    def save_last(self, state: TrainState, metrics: dict[str, float]) -> Path:
        """Save the last checkpoint of the run; after a quick fit if a stop was requested. Returns its path."""
        n_windows = QUICK_FIT_WINDOWS if self._stop.requested else FIT_WINDOWS
        return self._save(state, metrics, n_windows, self._budget.final_fit_s())

    def _save(self, state: TrainState, metrics: dict[str, float], n_windows: int, max_s: float) -> Path:
        path = self._settings.save_path / f"vqvae_{self.epoch(state.step):03d}.pt"
        checkpoint.save(self._contents(state, metrics, state.folder_fit), path)
        windows = self._windows(n_windows, self._device)
        n_passes = len(encoder.FITTERS)
        with meter("fitting encoders", n_passes * len(windows)) as progress:
            limited = _LimitedBatches(windows, n_passes, max_s, self._stop, progress)
            learned = encoder.learn(limited, state.network.eval(), state.folder_fit)
        checkpoint.save(self._contents(state, metrics, learned), path)
        return path

    def _windows(self, limit: int, device: torch.device) -> WindowBatches:
        return WindowBatches(self._dataset, self._split.train, limit, self._settings.seed, device)

    def _contents(self, state: TrainState, metrics: dict[str, float], learned: dict[str, Tensor]) -> Checkpoint:
        return Checkpoint(
            network=asdict(state.network.settings),
            mel=asdict(self._mel),
            weights={name: value.cpu() for name, value in state.network.state_dict().items()},
            learned=learned,
            epoch=self.epoch(state.step),
            step=state.step,
            seed=self._settings.seed,
            settings=self._settings.to_plain(),
            optimizer=state.optimizer.state_dict(),
            elapsed_s=self._budget.elapsed_s(),
            metrics=metrics,
        )


class FolderPace(Pace):
    """The pace of a fit to `n_windows` that takes at most `max_s` seconds from now on, or until a stop is requested.

    Its speed is that since `is_late` was first asked: what comes before does not grow with the number of windows.
    """

    def __init__(self, n_windows: int, max_s: float, stop: StopSignals) -> None:
        self._n_windows = n_windows
        self._stop = stop
        self._deadline_s = time.monotonic() + max_s
        self._first: tuple[float, int] | None = None  # when `is_late` was first asked, and after how many windows

    def is_over(self, n_done: int) -> bool:
        over = self._stop.requested or time.monotonic() >= self._deadline_s
        return over and n_done >= MIN_FIT_WINDOWS

    def is_late(self, n_done: int) -> bool:
        now_s = time.monotonic()
        self._first = self._first or (now_s, n_done)
        first_s, first = self._first
        share_of_time = (now_s - first_s) / max(self._deadline_s - first_s, 1e-9)
        return share_of_time * (self._n_windows - first) > n_done - first


class _LimitedBatches:
    """Batches of windows for `n_passes` fitters, each of which iterates over them once: all in all for some `max_s`
    seconds, or until a stop is requested. All but the last get `EARLIER_SHARE` of the time each.
    """

    def __init__(self, windows: WindowBatches, n_passes: int, max_s: float, stop: StopSignals, progress: Meter) -> None:
        self._windows = windows
        self._passes_left = n_passes
        self._max_s = max_s
        self._deadline = time.monotonic() + max_s
        self._stop = stop
        self._progress = progress

    def __iter__(self) -> Iterator[Tensor]:
        self._passes_left -= 1
        deadline, n_windows = self._deadline, 0
        if self._passes_left > 0:
            deadline = min(deadline, time.monotonic() + EARLIER_SHARE * self._max_s)
        for batch in self._windows:
            yield batch
            self._progress.step()
            n_windows += len(batch)
            if self._stop.requested and n_windows >= QUICK_FIT_WINDOWS:
                return
            if time.monotonic() >= deadline and n_windows >= MIN_FIT_WINDOWS:
                return
