"""`PooledVQVAE`: three features of equal variance, joined and whitened."""

from __future__ import annotations

from pathlib import Path

import torch

from boiler.encoder.pooled import DIM, PooledVQVAE, fit, pooled_features
from boiler.encoder.vqvae_base import encode_trimmed, load_network


def windows(n: int = 12) -> list[torch.Tensor]:
    sounds = torch.randn(n, 1, 2**17, generator=torch.Generator().manual_seed(0))
    sounds[: n // 2] = sounds[: n // 2].cumsum(dim=-1)  # half of them dark
    return list(sounds.split(4))


def test_the_whitening_is_fitted_to_the_joined_features(checkpoint_path: Path) -> None:
    network, _ = load_network(checkpoint_path)
    learned = fit(windows(), {}, network)
    parts = [
        torch.cat(part)
        for part in zip(*(pooled_features(network)(encode_trimmed(network, batch)) for batch in windows()), strict=True)
    ]
    joined = torch.cat(parts, dim=1)
    assert learned["mean"].shape == (joined.shape[1],)
    assert learned["matrix"].shape == (joined.shape[1], DIM)
    torch.testing.assert_close(learned["mean"], joined.mean(dim=0), atol=1e-4, rtol=1e-4)
    whitened = (joined - learned["mean"]) @ learned["matrix"]
    # as many directions as sounds, less one; the others are zero
    assert (whitened.var(dim=0) > 1e-8).sum() == len(joined) - 1


def test_two_windows_are_enough_to_fit(checkpoint_path: Path) -> None:
    network, _ = load_network(checkpoint_path)
    learned = fit([windows()[0][:2]], {}, network)
    assert all(value.isfinite().all() for value in learned.values())


def test_it_is_built_from_the_checkpoint_alone(checkpoint_path: Path) -> None:
    vectors = PooledVQVAE(checkpoint_path)(torch.cat(windows()))
    assert vectors.shape == (12, DIM)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(12))
