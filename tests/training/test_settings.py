"""Values out of range are refused by the name of their flag, and settings survive being saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from boiler.errors import SettingsError
from boiler.training.settings import TrainSettings


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
def test_invalid_settings_are_refused_by_name(settings: TrainSettings, wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=f"--{next(iter(wrong))}"):
        replace(settings, **wrong)


def test_settings_can_be_saved_as_plain_values(settings: TrainSettings) -> None:
    plain = settings.to_plain()
    assert plain["wav_dir"] == str(settings.wav_dir)
    assert TrainSettings.from_plain(plain) == settings


def test_only_a_checkpoint_of_the_same_folder_is_resumed(tmp_path: Path) -> None:
    for load_path, resumes in ((None, False), (tmp_path / "a" / "x.pt", True), (tmp_path / "b" / "x.pt", False)):
        assert TrainSettings(tmp_path, tmp_path / "a", load_path).resumes is resumes
