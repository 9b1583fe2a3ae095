"""Weights are saved before encoders are fitted, and fitting ends early at the time limit or a requested stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator

import pytest
import torch
from torch import Tensor

from boiler import encoder
from boiler.encoder import Pace
from boiler.model import checkpoint
from boiler.model.mel import MelSettings
from boiler.model.vqvae import VQVAE2
from boiler.training import saving
from boiler.training.budget import TimeBudget
from boiler.training.dataset import Split, WindowBatches, prepare_dataset
from boiler.training.saving import CheckpointSaver
from boiler.training.settings import TrainSettings
from boiler.training.state import TrainState
from boiler.training.stopping import StopSignals


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder has 17 training windows: fits may end after 4 or, when a stop is requested, 8 of them."""
    monkeypatch.setattr(WindowBatches, "batch_size", 2)
    monkeypatch.setattr(saving, "MIN_FIT_WINDOWS", 4)
    monkeypatch.setattr(saving, "QUICK_FIT_WINDOWS", 8)


@pytest.fixture
def n_fitted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many windows each fit read; nothing is learned from them."""
    counts: list[int] = []

    def learn(windows: Iterable[Tensor], network: VQVAE2, folder_fit: dict[str, Tensor]) -> dict[str, Tensor]:
        counts.append(sum(len(batch) for batch in windows))
        return folder_fit | {"pooled.mean": torch.zeros(1)}

    monkeypatch.setattr(encoder, "learn", learn)
    return counts


@pytest.fixture
def stop() -> StopSignals:
    return StopSignals()


@pytest.fixture
def saver_within(settings: TrainSettings, stop: StopSignals) -> Callable[[TimeBudget], CheckpointSaver]:
    def make(budget: TimeBudget) -> CheckpointSaver:
        dataset = prepare_dataset(settings.wav_dir, settings.cache_dir or settings.save_path)
        split = Split(dataset, settings.held_share, settings.seed)
        settings.save_path.mkdir()
        return CheckpointSaver(settings, MelSettings(), dataset, split, 3, budget, stop, torch.device("cpu"))

    return make


@pytest.fixture
def state(settings: TrainSettings) -> TrainState:
    torch.manual_seed(0)
    network = VQVAE2(settings.network, MelSettings())
    return TrainState(network, torch.optim.AdamW(network.parameters()), 4, {"parts.mean": torch.ones(1)})


Make = Callable[[TimeBudget], CheckpointSaver]


def test_epochs_are_counted_from_1(saver_within: Make) -> None:
    saver = saver_within(TimeBudget(None))
    assert [saver.epoch(step) for step in (0, 1, 3, 4, 6, 7)] == [1, 1, 1, 2, 2, 3]


def test_the_weights_are_saved_before_fitting_starts(
    saver_within: Make, state: TrainState, settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[checkpoint.Checkpoint] = []

    def learn(windows: object, network: object, folder_fit: dict[str, Tensor]) -> dict[str, Tensor]:
        seen.append(checkpoint.load(settings.save_path / "vqvae_002.pt"))
        return folder_fit | {"pooled.mean": torch.zeros(1)}

    monkeypatch.setattr(encoder, "learn", learn)
    path = saver_within(TimeBudget(None)).save_between(state, {"total": 1.0})
    assert seen[0].step == 4
    assert set(seen[0].learned) == {"parts.mean"}
    after = checkpoint.load(path)
    assert set(after.learned) == {"parts.mean", "pooled.mean"}
    assert after.metrics == {"total": 1.0}
    assert all(torch.equal(value, after.weights[name]) for name, value in seen[0].weights.items())


def test_the_last_fit_reads_all_windows_and_others_fewer(
    saver_within: Make, state: TrainState, n_fitted: list[int]
) -> None:
    saver = saver_within(TimeBudget(None))
    saver.save_between(state, {})
    saver.save_last(state, {})
    assert n_fitted == [8, 17]


def test_a_fit_ends_early_at_the_time_limit_or_a_requested_stop(
    saver_within: Make, state: TrainState, n_fitted: list[int], stop: StopSignals
) -> None:
    saver = saver_within(TimeBudget(1.0, spent_s=60.0))
    saver.save_last(state, {})
    stop.number = 15
    saver.save_last(state, {})
    assert n_fitted == [4, 4]


def test_a_stop_while_fitting_shortens_the_fit(
    saver_within: Make, state: TrainState, stop: StopSignals, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []

    def learn(windows: Iterable[Tensor], network: VQVAE2, folder_fit: dict[str, Tensor]) -> dict[str, Tensor]:
        for batch in windows:
            counts.append(len(batch))
            stop.number = 15
        return dict(folder_fit)

    monkeypatch.setattr(encoder, "learn", learn)
    saver_within(TimeBudget(None)).save_last(state, {})
    assert sum(counts) == 8


def test_fitting_to_the_folder_ends_early_too(
    saver_within: Make, state: TrainState, stop: StopSignals, monkeypatch: pytest.MonkeyPatch
) -> None:
    over: list[list[bool]] = []

    def learn_folder(windows: object, network: object, *, pace: Pace) -> dict[str, Tensor]:
        over.append([pace.is_over(n) for n in (3, 4)])
        return {}

    monkeypatch.setattr(encoder, "learn_folder", learn_folder)
    saver = saver_within(TimeBudget(None))
    saver.fit_folder(state.network)
    stop.number = 15
    saver.fit_folder(state.network)
    assert over == [[False, False], [False, True]]


@pytest.mark.parametrize(("max_s", "late_from_s"), [(170.0, 80.0), (0.0, 0.0), (math.inf, math.inf)])
def test_a_fit_is_late_when_its_time_passes_faster_than_its_windows(
    stop: StopSignals, monkeypatch: pytest.MonkeyPatch, max_s: float, late_from_s: float
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    pace = saving.FolderPace(17, max_s, stop)
    assert not pace.is_late(0)
    for after_s in (79.0, 81.0, 10_000.0):
        now_s = 1000.0 + after_s
        assert pace.is_late(8) == (after_s > late_from_s)


def test_what_comes_before_the_first_window_does_not_make_a_fit_late(
    stop: StopSignals, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    pace = saving.FolderPace(10, 100.0, stop)
    now_s = 1080.0
    assert not pace.is_late(0)
    now_s = 1081.9
    assert not pace.is_late(1)
    now_s = 1082.1
    assert pace.is_late(1)
    assert not pace.is_over(10)
    now_s = 1100.0
    assert pace.is_over(10)


def test_the_last_of_several_fits_gets_the_time_that_is_left(
    saver_within: Make, state: TrainState, stop: StopSignals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 40 s the first pass may take 10, and the second what is left, at 4 s for a batch of 2 windows."""
    now_s = 0.0
    counts: list[int] = []

    def learn(windows: Iterable[Tensor], network: VQVAE2, folder_fit: dict[str, Tensor]) -> dict[str, Tensor]:
        nonlocal now_s
        for _ in range(2):
            counts.append(0)
            for batch in windows:
                counts[-1] += len(batch)
                now_s += 4.0
        return folder_fit

    monkeypatch.setattr(encoder, "learn", learn)
    saver = saver_within(TimeBudget(None))
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    monkeypatch.setattr(TimeBudget, "final_fit_s", lambda budget: 40.0)
    saver.save_last(state, {})
    assert counts == [6, 14]
