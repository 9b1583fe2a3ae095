"""A resumed run equals the uninterrupted one, every stage leaves a usable checkpoint, and limits end a run."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from boiler import encoder
from boiler.errors import CheckpointError, CorpusError
from boiler.model import checkpoint
from boiler.model.mel import MelSettings
from boiler.model.vqvae import GENERAL_MEL, VQVAE2, NetworkSettings, general_settings
from boiler.training import budget, saving, schedule, trainer
from boiler.training.settings import TrainSettings
from boiler.training.state import TrainState
from boiler.training.stopping import StopRequested
from boiler.training.trainer import TrainResult, learning_rate, train

pytestmark = pytest.mark.usefixtures("short_fits")


def stop_at(step: int) -> Callable[[TrainState], None]:
    """An `on_step` that sends SIGTERM after this step."""

    def on_step(state: TrainState) -> None:
        if state.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return on_step


def equal(one: Any, other: Any) -> bool:
    """Whether both are bit-identical, recursively."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def usable(path: Path) -> bool:
    """Whether the default encoder of a checkpoint can embed a sound."""
    vectors = encoder.create(encoder.DEFAULT, path)(torch.randn(2, 1, 2**17))
    return bool(vectors.isfinite().all())


@pytest.fixture(scope="module")
def uninterrupted_path(session_settings: TrainSettings, short_fits: None) -> Path:
    return train(session_settings).path


@pytest.fixture
def uninterrupted(uninterrupted_path: Path) -> checkpoint.Checkpoint:
    return checkpoint.load(uninterrupted_path)


@pytest.mark.slow
def test_a_resumed_run_equals_the_uninterrupted_one(
    settings: TrainSettings, uninterrupted: checkpoint.Checkpoint
) -> None:
    result, resumed_from = None, None
    for step in (2, 3, 5, None):
        on_step = (lambda state: None) if step is None else stop_at(step)
        result = train(replace(settings, load_path=resumed_from), on_step=on_step)
        assert result.stopped_by == (None if step is None else signal.SIGTERM)
        assert checkpoint.load(result.path).step == result.step == (step or 6)
        resumed_from = result.path
    assert result is not None
    found = checkpoint.load(result.path)
    for name in ("weights", "optimizer", "learned", "epoch", "step"):
        assert equal(getattr(found, name), getattr(uninterrupted, name)), name
    # Training metrics are means over the steps of this run only, validation metrics are of the final state.
    validation = [name for name in uninterrupted.metrics if name.startswith("validation_")]
    assert [found.metrics[name] for name in validation] == [uninterrupted.metrics[name] for name in validation] != []


@pytest.mark.slow
def test_a_resumed_run_from_the_general_network_equals_the_uninterrupted_one(
    settings: TrainSettings, tmp_path: Path
) -> None:
    whole = replace(settings, network=None, save_path=tmp_path / "whole")
    expected = checkpoint.load(train(whole).path)
    parts = replace(whole, save_path=tmp_path / "parts")
    first = train(parts, on_step=stop_at(3))
    assert first.settings.network is not None
    assert first.settings.network.trunk == "general"
    found = checkpoint.load(train(replace(parts, load_path=first.path)).path)
    for name in ("weights", "optimizer", "learned", "epoch", "step"):
        assert equal(getattr(found, name), getattr(expected, name)), name


def test_each_epoch_leaves_a_checkpoint_and_metrics(uninterrupted_path: Path) -> None:
    folder = uninterrupted_path.parent
    assert uninterrupted_path.name == "vqvae_002.pt"
    assert sorted(path.name for path in folder.glob("*.pt")) == ["vqvae_001.pt", "vqvae_002.pt"]
    events = EventAccumulator(str(folder))
    events.Reload()
    for kind in ("train", "validation"):
        for name in ("total", "reconstruction", "perplexity_top", "codes_used_bottom", "contrast"):
            assert [event.step for event in events.Scalars(f"{kind}/{name}")] == [3, 6]
    assert [event.step for event in events.Scalars("train/lr")] == [3, 6]
    assert len(events.Images("input and reconstruction/0")) == 2


def test_a_checkpoint_holds_settings_and_metrics(
    session_settings: TrainSettings, uninterrupted: checkpoint.Checkpoint
) -> None:
    assert TrainSettings.from_plain(uninterrupted.settings) == session_settings
    assert uninterrupted.mel["n_mels"] == 80
    assert (uninterrupted.epoch, uninterrupted.step, uninterrupted.seed) == (2, 6, 0)
    assert 1 <= uninterrupted.metrics["perplexity_top"] <= 8


@pytest.mark.slow
def test_another_seed_gives_another_result(settings: TrainSettings, uninterrupted: checkpoint.Checkpoint) -> None:
    assert not equal(checkpoint.load(train(replace(settings, seed=1)).path).weights, uninterrupted.weights)


@pytest.mark.slow
def test_a_new_run_can_start_from_given_weights(
    settings: TrainSettings, uninterrupted: checkpoint.Checkpoint, uninterrupted_path: Path
) -> None:
    steps: list[int] = []
    elsewhere = replace(settings, load_path=uninterrupted_path, lr=1e-12)
    result = train(elsewhere, on_step=lambda state: steps.append(state.step))
    assert steps == [1, 2, 3, 4, 5, 6]
    assert result.path == settings.save_path / "vqvae_002.pt"
    weights = checkpoint.load(result.path).weights
    torch.testing.assert_close(weights["trunk.row"], uninterrupted.weights["trunk.row"])


def test_a_folder_with_a_run_is_not_overwritten(session_settings: TrainSettings, uninterrupted_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"--load_path {uninterrupted_path}"):
        train(session_settings)


def test_the_learning_rate_warms_up_and_decays_until_the_end() -> None:
    after_warm_up = trainer.WARM_UP_STEPS
    assert learning_rate(1.0, 0, 0.0) == pytest.approx(1 / after_warm_up)
    assert learning_rate(1.0, after_warm_up, 0.0) == pytest.approx(1.0)
    assert learning_rate(1.0, 3, 0.2) == learning_rate(1.0, after_warm_up, 0.2)  # of a short run
    assert learning_rate(1.0, after_warm_up, 0.5) == pytest.approx((1 + schedule.FINAL_LR_SHARE) / 2)
    assert learning_rate(1.0, after_warm_up, 1.0) == learning_rate(1.0, after_warm_up, 1.7)
    assert learning_rate(1.0, after_warm_up, 1.0) == pytest.approx(schedule.FINAL_LR_SHARE)


@pytest.mark.parametrize(("trunk", "frames"), [("plain", 64), ("general", 32)])
def test_half_of_a_view_is_decoded_beside_the_general_trunk_and_all_of_it_in_validation(
    session_settings: TrainSettings, trunk: str, frames: int
) -> None:
    is_general = trunk == "general"
    network = VQVAE2(general_settings(), GENERAL_MEL) if is_general else VQVAE2(NetworkSettings(), MelSettings())
    views = torch.rand(4, 1, 64 if is_general else 80, 64)
    outputs, _ = trainer._forward(network.train(), views, session_settings, bfloat16=False)
    assert outputs.reconstruction.shape[0] == 2
    assert outputs.reconstruction.shape[3] == frames
    assert outputs.projection.shape[0] == 4
    outputs, _ = trainer._forward(network.eval(), views, session_settings, bfloat16=False)
    assert outputs.reconstruction.shape[3] == 64


def send(*args: object, **kwargs: object) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def before(function: Callable[..., Any], action: Callable[..., None]) -> Callable[..., Any]:
    """`function`, with `action` called first."""

    def call(*args: Any, **kwargs: Any) -> Any:
        action()
        return function(*args, **kwargs)

    return call


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "function", "step"),
    [
        (encoder, "learn_folder", 0),
        (trainer, "learning_rate", 1),
        (trainer, "_evaluate", 3),
        (saving.checkpoint, "save", 3),
        (encoder, "learn", 3),
    ],
    ids=["fitting to the folder", "in a step", "validation", "saving", "fitting encoders"],
)
def test_a_signal_in_any_stage_leaves_a_usable_checkpoint(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, owner: object, function: str, step: int
) -> None:
    monkeypatch.setattr(owner, function, before(getattr(owner, function), send), raising=True)
    result = _train_ignoring_later_signals(settings, monkeypatch)
    assert (result.stopped_by, result.step) == (signal.SIGTERM, step)
    assert usable(result.path)


def _train_ignoring_later_signals(settings: TrainSettings, monkeypatch: pytest.MonkeyPatch) -> TrainResult:
    """The action of a test sends a signal in every call, but only the first may count."""
    handler = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        return train(settings)
    finally:
        signal.signal(signal.SIGTERM, handler)


def test_a_signal_while_decoding_ends_the_run_at_once(
    settings: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "prepare_dataset", before(trainer.prepare_dataset, send))
    with pytest.raises(StopRequested):
        train(replace(settings, cache_dir=tmp_path / "cache"))
    assert not settings.save_path.exists()


@pytest.mark.slow
def test_weights_are_saved_before_encoders_are_fitted_to_them(
    settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, uninterrupted: checkpoint.Checkpoint
) -> None:
    """As after a kill, or a second signal, while fitting: the run is resumed, and ends as if nothing had happened."""

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(encoder, "learn", killed)
        train(settings)
    path = settings.save_path / "vqvae_001.pt"
    assert checkpoint.load(path).step == 3
    with pytest.raises(CheckpointError, match="--load_path"):
        encoder.create(encoder.DEFAULT, path)
    found = checkpoint.load(train(replace(settings, load_path=path)).path)
    assert equal(found.weights, uninterrupted.weights)
    assert equal(found.learned, uninterrupted.learned)


@pytest.mark.slow
def test_the_time_limit_includes_every_stage(settings: TrainSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a mocked clock: 20 s have passed at the start, and a step takes 10 s."""
    now = [1000.0]
    monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def ten_seconds_later(state: TrainState) -> None:
        now[0] += 10

    bounded = replace(settings, epoch=10_000, steps_per_epoch=10_000, max_minutes=1.0)
    result = train(bounded, started=980.0, on_step=ten_seconds_later)
    assert result.step == 1 + (60 * (1 - budget.FINISHING_SHARE) - 20) // 10
    assert result.path.name == "vqvae_001.pt"
    found = checkpoint.load(result.path)
    assert found.step == result.step
    assert found.elapsed_s == 20 + 10 * result.step


def test_fits_end_early_at_the_time_limit(settings: TrainSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a minute spent already, only the minimum number of windows is read."""
    monkeypatch.setattr(saving, "MIN_FIT_WINDOWS", 2)
    monkeypatch.setattr(trainer.WindowBatches, "batch_size", 2)
    n_windows: list[int] = []

    def learn(windows: Any, network: Any, folder_fit: Any) -> dict[str, torch.Tensor]:
        n_windows.append(sum(len(batch) for batch in windows))
        return dict(folder_fit)

    monkeypatch.setattr(encoder, "learn", learn)
    train(replace(settings, max_minutes=1.0), started=time.monotonic() - 60)
    assert n_windows == [2]


@pytest.mark.slow
def test_one_short_sound_is_refused_and_two_are_enough(
    settings: TrainSettings, labelled_folder: Path, tmp_path: Path
) -> None:
    few = replace(settings, wav_dir=tmp_path / "few", epoch=1)
    few.wav_dir.mkdir()
    for path in sorted(labelled_folder.rglob("*.wav"))[:2]:
        (few.wav_dir / path.name).symlink_to(path)
    assert train(few).path.is_file()
    with pytest.raises(CorpusError, match="only time to decode 1 sound, 1 more file was not reached"):
        late = replace(few, save_path=tmp_path / "late", cache_dir=tmp_path / "undecoded", max_minutes=1.0)
        train(late, started=time.monotonic() - 60)
    (few.wav_dir / path.name).unlink()
    with pytest.raises(CorpusError, match="at least two"):
        train(replace(few, save_path=tmp_path / "other"))


@pytest.mark.slow
def test_a_run_outside_of_the_main_thread_handles_no_signals(settings: TrainSettings) -> None:
    found: list[Path] = []
    thread = threading.Thread(target=lambda: found.append(train(replace(settings, epoch=1)).path))
    thread.start()
    thread.join()
    assert found[0].is_file()
