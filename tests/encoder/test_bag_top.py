"""Bags of codes: vectors, activations and codes agree with one another."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from boiler.encoder.bag_bottom import BagBottomVQVAE
from boiler.encoder.bag_top import BagTopVQVAE
from boiler.encoder.vqvae_base import load_network


def waveform() -> torch.Tensor:
    return torch.randn(2, 1, 2**17, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("kind", "columns"), [(BagTopVQVAE, 32), (BagBottomVQVAE, 64)])
def test_the_vector_is_the_square_root_of_the_mean_activations(kind: type, columns: int, checkpoint_path: Path) -> None:
    made = kind(checkpoint_path)
    activations = made.activations(waveform())
    assert activations.shape == (2, made.dim, columns)
    torch.testing.assert_close(activations.sum(dim=1), torch.ones(2, columns))
    torch.testing.assert_close(made(waveform()), activations.mean(dim=2).sqrt(), atol=1e-5, rtol=0)
    assert (made(waveform()) >= 0).all()


@pytest.mark.parametrize("kind", [BagTopVQVAE, BagBottomVQVAE])
def test_at_a_low_temperature_activations_count_the_nearest_codes(kind: type, checkpoint_path: Path) -> None:
    made = kind(checkpoint_path)
    codes = made.codes(waveform())
    assert codes.dtype == torch.int64
    made.temperature = 1e-6  # so low that each cell is assigned to its nearest code alone
    shares = made.activations(waveform()).mean(dim=2)
    for bag, cells in zip(shares, codes, strict=True):
        counts = torch.bincount(cells, minlength=made.dim) / len(cells)
        torch.testing.assert_close(bag, counts, atol=1e-3, rtol=0)


def test_the_dimension_is_the_size_of_the_codebook(checkpoint_path: Path) -> None:
    network, _ = load_network(checkpoint_path)
    assert BagTopVQVAE(checkpoint_path).dim == network.top.n_codes
    assert BagBottomVQVAE(checkpoint_path).dim == network.bottom.n_codes


def test_activations_follow_the_sound_in_time(checkpoint_path: Path) -> None:
    sound = waveform()[:1].clone()
    sound[..., : 2**16] = 0  # the first half is silent
    activations = BagTopVQVAE(checkpoint_path).activations(sound)[0]
    silent, sounding = activations[:, 2:14].mean(dim=1), activations[:, 18:30].mean(dim=1)
    assert (silent - sounding).abs().max() > 1e-3
    torch.testing.assert_close(activations[:, 4], activations[:, 10], atol=1e-4, rtol=0)
