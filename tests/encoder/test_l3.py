"""The audio network of L3 as an encoder: from a checkpoint of its training, and from OpenL3's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from keras_files import l3_layers, write_layers

from boiler import encoder
from boiler.embedding import models
from boiler.errors import CheckpointError
from boiler.model import l3_joint
from boiler.model.l3 import CHANNELS
from boiler.model.l3_joint import JointNetwork, JointSettings


def seconds() -> torch.Tensor:
    return (
        torch.randn(3, 1, 48_000, generator=torch.Generator().manual_seed(0))
        * torch.tensor([0.5, 0.01, 0])[:, None, None]
    )


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = JointNetwork(JointSettings(channels=(4, 4, 8, 8)))
    l3_joint.save(
        l3_joint.checkpoint_of(network, optimizer={}, settings={}, step=1, elapsed_s=0.0), tmp_path / "l3_001.pt"
    )
    return tmp_path / "l3_001.pt"


def test_vectors_are_those_of_the_trained_network_at_unit_length(trained: Path) -> None:
    made = encoder.create("L3Encoder", trained)
    assert (made.dim, made.sample_rate_hz, made.window_samples) == (8, 48_000, 48_000)
    vectors = made(seconds())
    assert torch.isfinite(vectors).all()
    plain = models.audio_model(str(trained), "mel256", "music", 6144, "kapre").predict(seconds()[:, 0].numpy())
    np.testing.assert_allclose(vectors[:2], plain[:2] / np.linalg.norm(plain[:2], axis=1, keepdims=True), atol=1e-5)
    assert torch.allclose(made(seconds()[1:2]), vectors[1:2], atol=1e-6)


def test_it_can_be_scripted(trained: Path) -> None:
    made = encoder.create("L3Encoder", trained)
    scripted = torch.jit.script(made)
    assert torch.allclose(scripted(seconds()), made(seconds()), atol=1e-6)


def test_a_file_of_openl3_is_read_by_the_spectrogram_in_its_name(tmp_path: Path) -> None:
    named = tmp_path / "openl3_audio_mel128_env.h5"
    write_layers(named, l3_layers(0, 1, CHANNELS, "audio_embedding_layer"))
    made = encoder.create("L3Encoder", named)
    assert made.dim == 512
    assert made(seconds()[:1]).norm() == pytest.approx(1, abs=1e-5)
    named.rename(tmp_path / "weights.h5")
    with pytest.raises(CheckpointError, match=r"weights\.h5: its name must say which spectrogram"):
        encoder.create("L3Encoder", tmp_path / "weights.h5")


def test_another_checkpoint_is_refused(checkpoint_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a checkpoint of python -m"):
        encoder.create("L3Encoder", checkpoint_path)
