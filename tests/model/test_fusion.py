"""Folding batch norms changes no output."""

from __future__ import annotations

import copy

import torch
from torch import nn

from boiler.model.fusion import fuse_batch_norms
from boiler.model.general import GeneralNetwork, GeneralSettings

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def test_pairs_in_a_sequence_are_folded() -> None:
    torch.manual_seed(0)
    block = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()), nn.Conv2d(4, 2, 1)
    )
    for _ in range(5):
        block(torch.randn(2, 3, 8, 8) * 3 + 1)
    block.eval()
    folded = fuse_batch_norms(copy.deepcopy(block))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    given = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(folded(given), block(given), atol=1e-5, rtol=1e-5)


def test_all_of_the_general_network_is_folded() -> None:
    torch.manual_seed(0)
    network = GeneralNetwork(GeneralSettings(channels=(4, 6, 8), width=16, dim=8))
    for _ in range(5):
        network(torch.rand(4, 64, 64))
    network.eval()
    folded = fuse_batch_norms(copy.deepcopy(network))
    assert not any(isinstance(module, NORMS) for module in folded.modules())
    given = torch.rand(3, 64, 80)
    torch.testing.assert_close(folded(given), network(given), atol=1e-5, rtol=1e-4)
