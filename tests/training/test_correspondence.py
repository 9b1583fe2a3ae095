"""Audio-visual training: losses, measures, resuming, stopping, and whether it learns."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_videos import write_tonal_videos
from torch.nn.functional import normalize

from boiler.errors import CheckpointError, CorpusError, SettingsError
from boiler.model import l3_joint
from boiler.model.l3_joint import JointNetwork, JointSettings
from boiler.training import correspondence
from boiler.training.correspondence import L3TrainSettings
from exp.common.made_videos import write_videos

SMALL = JointSettings(channels=(4, 4, 8, 8), audio_shrink=4, image_shrink=4, joint_dim=16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tonal_videos(tmp_path_factory.mktemp("videos"))


def settings(folder: Path, save_path: Path, **others: object) -> L3TrainSettings:
    chosen = L3TrainSettings(folder, save_path, steps=4, steps_per_checkpoint=2, batch_size=4, workers=1, network=SMALL)
    return replace(chosen, **others)  # type: ignore[arg-type]


def test_losses_are_lower_when_true_pairs_are_nearer_than_false_ones() -> None:
    network = JointNetwork(SMALL)
    rows = normalize(torch.randn(6, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    right = correspondence.correspondence_losses(network, rows, rows)
    wrong = correspondence.correspondence_losses(network, rows, rows.roll(1, 0))
    assert right.keys() == wrong.keys() == {"contrast", "correspondence"}
    assert all(right[name] < wrong[name] for name in right)


@pytest.mark.slow
def test_a_resumed_run_equals_the_uninterrupted_one(folder: Path, tmp_path: Path) -> None:
    whole = correspondence.train(settings(folder, tmp_path / "whole"))
    assert (whole.step, whole.path.name, whole.stopped_by) == (4, "l3_002.pt", None)
    checkpoints = sorted((tmp_path / "whole").glob("*.pt"))
    assert [path.name for path in checkpoints] == ["l3_001.pt", "l3_002.pt"]
    accuracies = [l3_joint.load(path).metrics["correspondence_accuracy"] for path in checkpoints]
    assert whole.best == checkpoints[accuracies.index(max(accuracies))]

    def stop(step: int) -> None:
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = correspondence.train(settings(folder, tmp_path / "parts"), on_step=stop)
    assert (stopped.step, stopped.path.name, stopped.stopped_by) == (2, "l3_001.pt", signal.SIGTERM)
    resumed = correspondence.train(settings(folder, tmp_path / "parts", load_path=stopped.path))
    assert resumed.step == 4
    one, other = (l3_joint.load(result.path) for result in (whole, resumed))
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)
    assert one.metrics == other.metrics
    assert list((tmp_path / "parts").glob("events*"))


def test_a_folder_with_a_run_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "l3_001.pt").touch()
    with pytest.raises(CheckpointError, match=r"holds a run already: resume it with --load_path .*l3_001\.pt"):
        correspondence.train(settings(folder, tmp_path))


@pytest.mark.slow
def test_a_new_run_starts_from_the_weights_and_shape_of_a_checkpoint(folder: Path, tmp_path: Path) -> None:
    first = correspondence.train(settings(folder, tmp_path / "first", steps=1))
    second = correspondence.train(
        settings(folder, tmp_path / "second", steps=1, lr=1e-12, load_path=first.path, network=JointSettings())
    )
    one, other = (l3_joint.load(result.path) for result in (first, second))
    assert one.network == other.network
    assert torch.allclose(one.weights["project_audio.1.weight"], other.weights["project_audio.1.weight"], atol=1e-6)


def test_wrong_settings_are_refused_with_their_flag(tmp_path: Path) -> None:
    for wrong in ({"steps": 0}, {"batch_size": 1}, {"lr": 0.0}, {"held_share": 1.0}, {"max_minutes": 0.0}):
        with pytest.raises(SettingsError, match=f"--{next(iter(wrong))}"):
            settings(tmp_path, tmp_path, **wrong)
    for network, flag in (
        (replace(SMALL, input_repr="mfcc"), "--input_repr"),
        (replace(SMALL, channels=(4, 4)), "--channels"),
        (replace(SMALL, image_shrink=3), "--image_shrink"),
    ):
        with pytest.raises(SettingsError, match=flag):
            settings(tmp_path, tmp_path, network=network)


def test_too_few_videos_are_refused(tmp_path: Path) -> None:
    write_tonal_videos(tmp_path / "in", n=3, seconds=1)
    with pytest.raises(CorpusError, match="at least 4 videos with sound, and there are 3"):
        correspondence.train(settings(tmp_path / "in", tmp_path / "out"))


@pytest.mark.slow
def test_pictures_and_sounds_that_go_together_are_told_from_others_on_videos_never_seen(tmp_path: Path) -> None:
    """48 videos of 6 kinds; a picture of the same kind cannot be told from the right one, so that .92 is the most."""
    write_videos(tmp_path / "in", per_kind=8, kinds=6)
    network = replace(SMALL, channels=(8, 8, 16, 16))
    result = correspondence.train(
        settings(tmp_path / "in", tmp_path / "out", steps=90, steps_per_checkpoint=1_000, batch_size=16, lr=3e-3,
                 held_share=0.3, network=network)
    )  # fmt: skip
    assert result.metrics["correspondence_accuracy"] > 0.65
    assert result.metrics["retrieval_p1"] >= 3 * result.metrics["chance_p1"]
