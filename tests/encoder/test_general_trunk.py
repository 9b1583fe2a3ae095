"""Encoders of a checkpoint whose trunk is the general network: in TorchScript, in batches, and beside the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from boiler import encoder, train_vqvae
from boiler.arguments import Parser
from boiler.encoder import batched, joined_descriptors, joined_vqvae, mean_shift
from boiler.encoder.general import load_network
from boiler.encoder.joined_vqvae import GeneralParts, JoinedVQVAE, PlainParts
from boiler.encoder.loop_length import loop_lengths
from boiler.encoder.vqvae_base import build_network
from boiler.errors import SettingsError
from boiler.model import checkpoint
from boiler.model.mel import LogMel, MelSettings
from boiler.training.settings import TrainSettings
from boiler.training.state import load_start

pytestmark = pytest.mark.slow  # a training run

FROM_CHECKPOINT = ("BagTopVQVAE", "BagBottomVQVAE", "MeanFreqTopVQVAE", "PooledVQVAE", "JoinedVQVAE")


def windows(n: int = 3, samples: int = 2**18) -> torch.Tensor:
    """Clips of different lengths, repeated."""
    generator = torch.Generator().manual_seed(3)
    rows = []
    for at in range(n):
        clip = 0.2 * torch.randn(9_000 + 20_000 * at, generator=generator)
        rows.append(clip.repeat(-(-samples // len(clip)))[:samples])
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
        sounds = windows(samples=2**17)
        expected = encoder.create(name, checkpoint_path)(sounds)
        torch.testing.assert_close(encoder.create(name, tmp_path / "old.pt")(sounds), expected)


def test_encoders_of_a_checkpoint_take_windows_at_the_rate_it_was_trained_at(
    checkpoint_path: Path, general_checkpoint_path: Path
) -> None:
    for name in FROM_CHECKPOINT:
        for path, rate_hz in ((checkpoint_path, 16_000), (general_checkpoint_path, 32_000)):
            made, spec = encoder.create(name, path), encoder.find_encoder(name).window_spec(path)
            assert (made.sample_rate_hz, made.window_samples) == (spec.sample_rate_hz, spec.window_samples)
            assert (spec.sample_rate_hz, spec.window_s) == (rate_hz, 8.192)


def test_its_batched_form_gives_the_same_vectors(general_checkpoint_path: Path) -> None:
    made = encoder.create("JoinedVQVAE", general_checkpoint_path)
    form = batched.batched(made)
    assert form is not None
    torch.testing.assert_close(form(windows()), made(windows()), rtol=0, atol=1e-4)


def test_the_general_vector_in_it_is_that_of_the_general_encoder(general_checkpoint_path: Path) -> None:
    """The weights of the checkpoint, not those that come with this version."""
    made = JoinedVQVAE(general_checkpoint_path)
    assert isinstance(made.parts, GeneralParts)
    parts = made.parts(windows())
    torch.testing.assert_close(parts[:, :256], encoder.create("GeneralEncoder")(windows()), rtol=0, atol=1e-5)
    assert parts.split([256, 128, joined_descriptors.DIM], dim=1)[1].norm(dim=1).tolist() == pytest.approx([1.0] * 3)


def test_a_checkpoint_of_the_general_network_at_16_khz_still_makes_encoders(
    checkpoint_path: Path, general_checkpoint_path: Path, tmp_path: Path
) -> None:
    """An earlier version trained so, with the six descriptors."""
    contents, plain = checkpoint.load(general_checkpoint_path), checkpoint.load(checkpoint_path)
    mel = contents.mel | {"sample_rate_hz": 16_000, "n_fft": 512, "hop_samples": 200}
    kept = {name: value for name, value in contents.learned.items() if name.startswith("pooled.")}
    descriptors = {name: value for name, value in plain.learned.items() if name.startswith("descriptors.")}
    front_end = {f"mel.{name}": value for name, value in LogMel(MelSettings(**mel)).state_dict().items()}
    contents = replace(contents, mel=mel, weights=contents.weights | front_end)
    network = build_network(contents, "").eval()
    joined = joined_vqvae.fit([windows(samples=2**17)], kept | descriptors, network)
    learned = kept | descriptors | {f"joined.{name}": value for name, value in joined.items()}
    checkpoint.save(replace(contents, learned=learned), tmp_path / "vqvae_001.pt")
    made = JoinedVQVAE(tmp_path / "vqvae_001.pt")
    assert (made.sample_rate_hz, isinstance(made.parts, PlainParts)) == (16_000, True)
    vectors = made(windows(samples=2**17))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
