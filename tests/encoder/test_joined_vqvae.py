"""`JoinedVQVAE`: pooled features and descriptors in one vector."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from boiler import encoder
from boiler.encoder import joined_descriptors, joined_vqvae
from boiler.encoder.joined_vqvae import DESCRIPTOR_WEIGHT, DIM, JoinedVQVAE
from boiler.encoder.vqvae_base import load_network
from boiler.errors import CheckpointError
from boiler.model import checkpoint
from boiler.model.shard import Shard, SyncedBatchNorm, synchronise_batch_norms


def windows(n: int = 12) -> list[torch.Tensor]:
    sounds = torch.randn(n, 1, 2**17, generator=torch.Generator().manual_seed(0))
    sounds[: n // 2] = sounds[: n // 2].cumsum(dim=-1)  # half of them dark
    return list(sounds.split(4))


def test_cosines_equal_those_of_both_vectors_concatenated(checkpoint_path: Path) -> None:
    """Cosines about the common mean: principal components rotate but do not scale."""
    sounds = torch.cat(windows())
    _, contents = load_network(checkpoint_path)
    by_network = encoder.create("PooledVQVAE", checkpoint_path)(sounds)
    by_descriptors = joined_descriptors.load(contents.learned_by("descriptors"))(sounds)
    network, _ = load_network(checkpoint_path)
    fitted = joined_vqvae.fit([sounds], contents.learned, network)
    both = torch.cat([by_network, DESCRIPTOR_WEIGHT * by_descriptors], dim=1)
    centred = torch.nn.functional.normalize(both - both.mean(dim=0), dim=1)
    given = torch.cat([by_network, by_descriptors], dim=1)
    rotated = torch.nn.functional.normalize((given - fitted["mean"]) @ fitted["matrix"], dim=1)
    torch.testing.assert_close(rotated @ rotated.T, centred @ centred.T, atol=1e-4, rtol=0)


def test_a_network_of_a_distributed_run_is_fitted_as_a_plain_one(checkpoint_path: Path) -> None:
    network, contents = load_network(checkpoint_path)
    expected = joined_vqvae.fit(windows(), contents.learned, network)
    synchronise_batch_norms(network, Shard())
    found = joined_vqvae.fit(windows(), contents.learned, network)
    assert any(isinstance(part, SyncedBatchNorm) for part in network.modules())  # it can be trained on
    torch.testing.assert_close(found["references"].abs(), expected["references"].abs(), atol=1e-4, rtol=1e-3)


def test_it_is_built_from_the_checkpoint_alone(checkpoint_path: Path) -> None:
    vectors = JoinedVQVAE(checkpoint_path)(torch.cat(windows()))
    assert vectors.shape == (12, DIM)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(12))


def test_a_checkpoint_without_its_tensors_is_refused(checkpoint_path: Path, tmp_path: Path) -> None:
    contents = checkpoint.load(checkpoint_path)
    for name in [name for name in contents.learned if not name.startswith("pooled.")]:
        del contents.learned[name]
    checkpoint.save(contents, tmp_path / "vqvae_001.pt")
    with pytest.raises(CheckpointError, match="choose another encoder"):
        JoinedVQVAE(tmp_path / "vqvae_001.pt")
