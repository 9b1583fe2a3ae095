"""NT-Xent is low when views of one sound agree, a bag has unit length, and the total is the weighted sum."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from boiler.model.mel import MelSettings
from boiler.model.vqvae import VQVAE2, NetworkSettings
from boiler.training.losses import RECONSTRUCTION_WEIGHT, bag_of_codes, compute_losses, nt_xent


def test_nt_xent_is_at_chance_level_if_all_views_are_equal() -> None:
    assert nt_xent(normalize(torch.ones(8, 4), dim=1)) == pytest.approx(math.log(7), abs=1e-5)


def test_nt_xent_is_near_zero_if_views_agree_and_sounds_differ() -> None:
    apart = torch.eye(16)
    assert nt_xent(torch.cat([apart, apart])) < 0.05
    assert nt_xent(torch.cat([apart, apart.roll(1, 0)])) > 6


def test_a_bag_has_unit_length_and_is_positive() -> None:
    shares = torch.softmax(torch.randn(3, 4, 6, 64, generator=torch.Generator().manual_seed(0)), dim=-1)
    assert bag_of_codes(shares).norm(dim=1) == pytest.approx(1.0, abs=1e-4)
    assert (bag_of_codes(shares) > 0).all()


def test_an_unused_code_gives_a_finite_gradient() -> None:
    shares = torch.zeros(2, 1, 1, 4)
    shares[..., 0] = 1.0
    shares.requires_grad_()
    bag_of_codes(shares).sum().backward()
    assert shares.grad is not None
    assert shares.grad.isfinite().all()


@pytest.mark.parametrize(("latent", "contrast"), [(0.0, 0.0), (0.25, 0.0), (0.0, 1.0)])
def test_the_total_is_the_weighted_sum(small_network: NetworkSettings, latent: float, contrast: float) -> None:
    torch.manual_seed(0)
    network = VQVAE2(small_network, MelSettings()).eval()
    scaled = torch.rand(8, 1, 80, 48)
    found = compute_losses(network, network(scaled, 4), scaled, latent, contrast)
    expected = RECONSTRUCTION_WEIGHT * found.reconstruction
    expected = expected + latent * (found.commitment_top + found.commitment_bottom)
    expected = expected + contrast * (found.contrast + 0.5 * found.contrast_bag)
    torch.testing.assert_close(found.total, expected)


def test_the_reconstruction_is_compared_with_what_was_decoded(small_network: NetworkSettings) -> None:
    torch.manual_seed(0)
    network = VQVAE2(small_network, MelSettings()).eval()
    scaled = torch.rand(6, 1, 80, 48)
    outputs = network(scaled, 3, 0.5)
    exact = outputs._replace(reconstruction=scaled[:3, :, :, :24])
    assert compute_losses(network, exact, scaled, 0.1, 0.1).reconstruction == 0
    assert compute_losses(network, outputs, scaled, 0.1, 0.1).reconstruction > 0
