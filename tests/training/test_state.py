"""The checkpoint that a run starts from is checked before any work is done."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from boiler.errors import CheckpointError, SettingsError
from boiler.training.settings import TrainSettings
from boiler.training.state import load_start


def test_a_new_run_has_no_checkpoint(settings: TrainSettings) -> None:
    assert load_start(settings) is None


def test_a_folder_with_a_run_is_refused_with_how_to_resume_it(settings: TrainSettings) -> None:
    settings.save_path.mkdir()
    for n in (1, 2):
        (settings.save_path / f"vqvae_00{n}.pt").touch()
    with pytest.raises(CheckpointError, match=r"--load_path .*vqvae_002\.pt"):
        load_start(settings)


def test_a_checkpoint_of_other_mel_bands_is_refused(settings: TrainSettings, checkpoint_path: Path) -> None:
    start = load_start(replace(settings, load_path=checkpoint_path))
    assert start is not None
    assert start.step == 4
    with pytest.raises(SettingsError, match=r"--n_mel_channels is 64, but .* was trained with 80"):
        load_start(replace(settings, load_path=checkpoint_path, n_mel_channels=64))


def test_a_missing_checkpoint_is_refused(settings: TrainSettings, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        load_start(replace(settings, load_path=tmp_path / "vqvae_009.pt"))
