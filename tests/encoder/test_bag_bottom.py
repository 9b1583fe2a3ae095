"""`BagBottomVQVAE` assigns the same codes as the network, although its batch norms are folded."""

from __future__ import annotations

from pathlib import Path

import torch

from boiler.encoder.bag_bottom import BagBottomVQVAE
from boiler.encoder.conditioning import condition
from boiler.encoder.vqvae_base import load_network


def test_activations_equal_those_of_the_network(checkpoint_path: Path) -> None:
    network, _ = load_network(checkpoint_path)
    sound = torch.randn(1, 1, 2**17, generator=torch.Generator().manual_seed(0))
    fine, coarse = network.encode(condition(sound, [2**17], 48))
    top_vectors = network.top(network.to_top(coarse)).vectors
    shares = network.bottom.soft_assignment(
        network.bottom_features(fine, top_vectors), BagBottomVQVAE(checkpoint_path).temperature
    )
    torch.testing.assert_close(
        BagBottomVQVAE(checkpoint_path).activations(sound), shares.mean(dim=1).transpose(1, 2), atol=1e-4, rtol=0
    )
