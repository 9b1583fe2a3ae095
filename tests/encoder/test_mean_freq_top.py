"""`MeanFreqTopVQVAE`: the mean over time, row by row."""

from __future__ import annotations

from pathlib import Path

import torch

from boiler.encoder.conditioning import condition
from boiler.encoder.mean_freq_top import MeanFreqTopVQVAE
from boiler.encoder.vqvae_base import load_network


def test_it_is_the_mean_of_the_features_in_each_row(checkpoint_path: Path) -> None:
    network, _ = load_network(checkpoint_path)
    sound = torch.randn(2, 1, 2**17, generator=torch.Generator().manual_seed(0))
    features = network.to_top(network.encode(condition(sound, [2**17, 2**17], 48)).coarse)
    assert features.shape[2] == 4
    expected = torch.nn.functional.normalize(features.mean(dim=3).flatten(1), dim=1)
    made = MeanFreqTopVQVAE(checkpoint_path)
    assert made.dim == 4 * features.shape[1]
    torch.testing.assert_close(made(sound), expected, atol=1e-4, rtol=0)
