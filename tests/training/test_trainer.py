"""A run that was stopped goes on as if it had not been; its checkpoints are whole; bad settings are refused."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from boiler.encoder import joined_descriptors
from boiler.errors import CheckpointError, CorpusError, SettingsError
from boiler.model import checkpoint
from boiler.model.vqvae import NetworkSettings
from boiler.training import trainer
from boiler.training.trainer import Run, TrainSettings


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the folder teaches takes its seconds in every run: fewer rounds of it do here."""
    monkeypatch.setattr(joined_descriptors, "STEPS", 10)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("decoded")


@pytest.fixture
def settings(labelled_folder: Path, cache_dir: Path, tmp_path: Path, small_network: NetworkSettings) -> TrainSettings:
    """Two epochs of three steps."""
    return TrainSettings(
        labelled_folder,
        tmp_path / "run",
        epoch=2,
        steps_per_epoch=3,
        batch_size=4,
        device="cpu",
        precision="float32",
        cache_dir=cache_dir,
        network=small_network,
    )


def stopped_at(settings: TrainSettings, step: int) -> Path:
    """Run it, with a SIGTERM in this step."""
    run = Run(settings)
    advance = run.advance

    def advance_and_signal() -> None:
        if run.step + 1 == step:
            os.kill(os.getpid(), signal.SIGTERM)
        advance()

    run.advance = advance_and_signal  # type: ignore[method-assign]
    path = run.go()
    assert run.step == step
    assert run.stopped_by == signal.SIGTERM
    return path


def same(one: Any, other: Any) -> bool:
    """Equal to the bit, all the way down."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("step", [2, 3, 5])
def test_a_resumed_run_is_the_uninterrupted_one(settings: TrainSettings, tmp_path: Path, step: int) -> None:
    whole = checkpoint.load(Run(replace(settings, save_path=tmp_path / "whole")).go())
    half = stopped_at(settings, step)
    assert checkpoint.load(half).step == step
    again = checkpoint.load(Run(replace(settings, load_path=half)).go())
    for name in ("weights", "optimiser", "learned", "epoch", "step", "measured"):
        if name == "measured":  # of the last epoch, which began before the stop: only the held-out part is of the end
            assert {key: value for key, value in again.measured.items() if key.startswith("held")} == {
                key: value for key, value in whole.measured.items() if key.startswith("held")
            }
        else:
            assert same(getattr(again, name), getattr(whole, name)), name


def test_each_epoch_leaves_a_checkpoint_and_numbers(settings: TrainSettings) -> None:
    last = Run(settings).go()
    assert last.name == "vqvae_002.pt"
    assert sorted(path.name for path in settings.save_path.glob("*.pt")) == ["vqvae_001.pt", "vqvae_002.pt"]
    events = EventAccumulator(str(settings.save_path))
    events.Reload()
    for kind in ("train", "held out"):
        for name in ("total", "drawing", "perplexity_top", "words_used_bottom", "contrast"):
            assert [event.step for event in events.Scalars(f"{kind}/{name}")] == [3, 6]
    assert [event.step for event in events.Scalars("train/lr")] == [3, 6]
    assert len(events.Images("input beside reconstruction/0")) == 2


def test_a_checkpoint_says_what_it_is_of(settings: TrainSettings) -> None:
    found = checkpoint.load(Run(settings).go())
    assert TrainSettings.from_plain(found.settings) == settings
    assert found.mel["n_mels"] == 80
    assert (found.epoch, found.step, found.seed) == (2, 6, 0)
    assert 1 <= found.measured["perplexity_top"] <= 8


def test_another_seed_is_another_run(settings: TrainSettings, tmp_path: Path) -> None:
    one = checkpoint.load(Run(settings).go())
    other = checkpoint.load(Run(replace(settings, seed=1, save_path=tmp_path / "other")).go())
    assert not same(one.weights, other.weights)


def test_weights_from_elsewhere_begin_a_new_run(settings: TrainSettings, tmp_path: Path) -> None:
    first = Run(settings).go()
    elsewhere = replace(settings, save_path=tmp_path / "new", load_path=first)
    assert not elsewhere.resumes
    run = Run(elsewhere)
    assert (run.step, run.spent_s) == (0, 0.0)
    assert same(run.network.state_dict(), checkpoint.load(first).weights)
    assert run.go().name == "vqvae_002.pt"


def test_a_folder_with_a_run_is_not_overwritten(settings: TrainSettings) -> None:
    path = Run(settings).go()
    with pytest.raises(CheckpointError, match=f"--load_path {path}"):
        Run(settings)


def test_the_rate_falls_to_the_bound_that_ends_first(settings: TrainSettings) -> None:
    run = Run(replace(settings, epoch=1000, max_minutes=10.0))
    run.step = 500  # beyond the warm-up
    rates = []
    for run.spent_s in (0.0, 300.0, 570.0):
        rates.append(run.lr())
    assert rates[0] > 0.9 * settings.lr
    assert rates[1] < 0.6 * settings.lr
    assert rates[2] == pytest.approx(trainer.LAST_LR_SHARE * settings.lr)
    assert run.share_done() == 1.0
    run.step, run.spent_s = run.last_step, 0.0
    assert run.lr() == pytest.approx(trainer.LAST_LR_SHARE * settings.lr)


def test_the_time_bound_ends_a_run_and_saves_it(settings: TrainSettings) -> None:
    run = Run(replace(settings, epoch=10_000, steps_per_epoch=10_000, max_minutes=0.02))
    path = run.go()
    assert 0 < run.step < 10_000
    assert path.name == "vqvae_001.pt"
    assert checkpoint.load(path).step == run.step


def test_a_collapsing_level_is_said_aloud(settings: TrainSettings, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(settings)
    run.advance()
    run.uses["top"].take("top")
    run.uses["top"].add(torch.zeros(100, dtype=torch.int64))
    run.close_epoch(2)
    assert "WARNING: the top level is collapsing" in capsys.readouterr().err
    assert len(run.warnings) == 1


@pytest.mark.parametrize("n_sounds", [1, 2, 3])
def test_a_very_small_folder_will_do(
    settings: TrainSettings, labelled_folder: Path, tmp_path: Path, n_sounds: int
) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    for path in sorted(labelled_folder.rglob("*.wav"))[:n_sounds]:
        (folder / path.name).symlink_to(path)
    few = replace(settings, wav_dir=folder, epoch=1)
    if n_sounds == 1:
        with pytest.raises(CorpusError, match="at least two"):
            Run(few)
    else:
        assert Run(few).go().is_file()


@pytest.mark.parametrize(
    "wrong",
    [
        {"epoch": 0},
        {"lr": -1.0},
        {"lr": float("nan")},
        {"batch_size": 1},
        {"n_mel_channels": 81},
        {"n_mel_channels": 16},
        {"max_minutes": 0.0},
        {"held_share": 1.0},
        {"contrast_weight": -1.0},
        {"precision": "half"},
        {"device": "abacus"},
    ],
    ids=str,
)
def test_bad_settings_are_refused_by_name(settings: TrainSettings, wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=f"--{next(iter(wrong))}"):
        replace(settings, **wrong)


def test_a_run_outside_of_the_main_thread_needs_no_signals(settings: TrainSettings) -> None:
    found: list[Path] = []
    thread = threading.Thread(target=lambda: found.append(Run(settings).go()))
    thread.start()
    thread.join()
    assert found[0].is_file()
