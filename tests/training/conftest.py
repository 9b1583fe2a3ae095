"""A run of a small network over a few sounds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from boiler.model.vqvae import NetworkSettings
from boiler.training.settings import TrainSettings


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("decoded")


@pytest.fixture(scope="session")
def session_settings(
    labelled_folder: Path, cache_dir: Path, small_network: NetworkSettings, tmp_path_factory: pytest.TempPathFactory
) -> TrainSettings:
    """Two epochs of three steps."""
    return TrainSettings(
        labelled_folder,
        tmp_path_factory.mktemp("uninterrupted"),
        epoch=2,
        steps_per_epoch=3,
        batch_size=4,
        device="cpu",
        precision="float32",
        cache_dir=cache_dir,
        network=small_network,
    )


@pytest.fixture
def settings(session_settings: TrainSettings, tmp_path: Path) -> TrainSettings:
    """The same settings with a folder for this test."""
    return replace(session_settings, save_path=tmp_path / "run")
