"""Encoders of a checkpoint whose trunk is the general network: in TorchScript, in batches, and beside the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from boiler import encoder, train_vqvae
from boiler.arguments import Parser
from boiler.encoder import mean_shift
from boiler.encoder.general import load_network
from boiler.encoder.loop_length import loop_lengths
from boiler.errors import SettingsError
from boiler.model import checkpoint
from boiler.training.settings import TrainSettings
from boiler.training.state import load_start

pytestmark = pytest.mark.slow  # a training run

FROM_CHECKPOINT = ("BagTopVQVAE", "BagBottomVQVAE", "MeanFreqTopVQVAE", "PooledVQVAE", "JoinedVQVAE")


def windows(n: int = 3) -> torch.Tensor:
    """Clips of different lengths, repeated."""
    generator = torch.Generator().manual_seed(3)
    rows = []
    for at in range(n):
        clip = 0.2 * torch.randn(9_000 + 20_000 * at, generator=generator)
        rows.append(clip.repeat(-(-(2**17) // len(clip)))[: 2**17])
    return torch.stack(rows)[:, None]


@pytest.mark.parametrize("name", FROM_CHECKPOINT)
def test_scripted_equals_eager(name: str, general_checkpoint_path: Path) -> None:
    made = encoder.create(name, general_checkpoint_path)
    vectors = made(windows())
    assert vectors.shape == (3, made.dim)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.jit.script(made)(windows()), vectors, rtol=1e-4, atol=1e-4)


def test_training_leaves_the_weights_of_the_general_network(general_checkpoint_path: Path) -> None:
    contents = checkpoint.load(general_checkpoint_path)
    assert contents.network["trunk"] == "general"
    network = load_network()
    for name, value in network.blocks.state_dict().items():
        assert torch.equal(contents.weights[f"trunk.blocks.{name}"], value), name
    assert torch.equal(contents.weights["trunk.out.weight"], network.out.weight)


def test_a_run_from_the_general_network_is_resumed_with_its_network(general_checkpoint_path: Path) -> None:
    settings = TrainSettings.from_plain(checkpoint.load(general_checkpoint_path).settings)
    assert settings.network is not None
    assert settings.network.trunk == "general"
    assert load_start(replace(settings, load_path=general_checkpoint_path)) is not None  # its 64 bands are not refused


def test_from_scratch_and_a_checkpoint_of_the_general_network_exclude_each_other(
    general_checkpoint_path: Path,
) -> None:
    parser = Parser()
    train_vqvae.add_arguments(parser)
    words = ["--wav_dir", "in", "--save_path", "out", "--load_path", str(general_checkpoint_path), "--from_scratch"]
    with pytest.raises(SettingsError, match="leave one of them out"):
        train_vqvae.settings_from(parser.parse_args(words))


def test_the_mean_shift_is_that_of_the_checkpoint(
    general_checkpoint_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With few training windows there is none; with more, vectors move."""
    still = encoder.create("JoinedVQVAE", general_checkpoint_path)
    assert len(still.mean_shift.references) == 0
    monkeypatch.setattr(mean_shift, "MIN_REFERENCES", 5)
    moving = encoder.create("JoinedVQVAE", general_checkpoint_path)
    assert len(moving.mean_shift.references) >= 5
    torch.testing.assert_close(
        moving.embed_clips(windows(), loop_lengths(windows())), still(windows()), rtol=1e-4, atol=1e-4
    )
    assert (moving(windows()) - still(windows())).abs().max() > 0.01


def test_a_checkpoint_of_an_earlier_version_still_makes_encoders(checkpoint_path: Path, tmp_path: Path) -> None:
    """One from before there were two trunks, other spectrograms and a mean shift."""
    contents = checkpoint.load(checkpoint_path)
    old = replace(
        contents,
        network={name: value for name, value in contents.network.items() if name != "trunk"},
        mel={name: contents.mel[name] for name in ("sample_rate_hz", "n_fft", "hop_samples", "n_mels", "floor")},
        learned={name: value for name, value in contents.learned.items() if name != "joined.references"},
    )
    checkpoint.save(old, tmp_path / "old.pt")
    for name in FROM_CHECKPOINT:
        expected = encoder.create(name, checkpoint_path)(windows())
        torch.testing.assert_close(encoder.create(name, tmp_path / "old.pt")(windows()), expected)
