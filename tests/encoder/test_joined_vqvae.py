"""What the network sees and what needs none, in one vector."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from boiler import encoder
from boiler.encoder import joined_descriptors, joined_vqvae
from boiler.encoder.joined_vqvae import DIM, WEIGHT, JoinedVQVAE
from boiler.encoder.vqvae_base import opened
from boiler.errors import CheckpointError
from boiler.model import checkpoint


def windows(n: int = 12) -> list[torch.Tensor]:
    sounds = torch.randn(n, 1, 2**17, generator=torch.Generator().manual_seed(0))
    sounds[: n // 2] = sounds[: n // 2].cumsum(dim=-1)  # half of them dark
    return list(sounds.split(4))


def test_its_cosines_are_those_of_its_two_halves_together(checkpoint_path: Path) -> None:
    """Principal components turn, they do not scale: about the common mean, nothing of either is lost."""
    sounds = torch.cat(windows())
    _, contents = opened(checkpoint_path)
    by_network = encoder.create("PooledVQVAE", checkpoint_path)(sounds)
    by_parts = joined_descriptors.rebuilt(contents.learned_by("parts"))(sounds)
    network, _ = opened(checkpoint_path)
    of_those = joined_vqvae.fit([sounds], contents.learned, network)
    both = torch.cat([by_network, WEIGHT * by_parts], dim=1)
    centred = torch.nn.functional.normalize(both - both.mean(dim=0), dim=1)
    given = torch.cat([by_network, by_parts], dim=1)
    turned = torch.nn.functional.normalize((given - of_those["mean"]) @ of_those["matrix"], dim=1)
    torch.testing.assert_close(turned @ turned.T, centred @ centred.T, atol=1e-4, rtol=0)


def test_the_checkpoint_holds_all_that_it_needs(checkpoint_path: Path) -> None:
    vectors = JoinedVQVAE(checkpoint_path)(torch.cat(windows()))
    assert vectors.shape == (12, DIM)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(12))


def test_a_checkpoint_from_before_it_says_what_to_do(checkpoint_path: Path, tmp_path: Path) -> None:
    contents = checkpoint.load(checkpoint_path)
    for name in [name for name in contents.learned if not name.startswith("pooled.")]:
        del contents.learned[name]
    checkpoint.save(contents, tmp_path / "vqvae_001.pt")
    with pytest.raises(CheckpointError, match="choose another encoder"):
        JoinedVQVAE(tmp_path / "vqvae_001.pt")
