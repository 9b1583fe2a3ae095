"""A network rebuilt from its checkpoint is the network; folding normalisations changes no number."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from boiler.encoder.loop_length import periods
from boiler.encoder.vqvae_base import SeeingSounding, fused, opened, rebuilt, see_sounding
from boiler.errors import CheckpointError
from boiler.model import checkpoint


def test_the_network_comes_back_with_its_weights(checkpoint_path: Path) -> None:
    network, contents = opened(checkpoint_path)
    assert not network.training
    assert all(torch.equal(value, contents.weights[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    "change", [{"network": {"colour": 1}}, {"mel": {"colour": 1}}, {"network": {"fine_channels": 9}}], ids=str
)
def test_another_shape_is_refused(checkpoint_path: Path, change: dict[str, dict[str, int]]) -> None:
    contents = checkpoint.load(checkpoint_path)
    changed = replace(contents, **{name: getattr(contents, name) | more for name, more in change.items()})
    with pytest.raises(CheckpointError, match="cannot rebuild"):
        rebuilt(changed, "x.pt")


def test_folding_changes_no_number() -> None:
    torch.manual_seed(0)
    block = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()), nn.Conv2d(4, 2, 1)
    )
    for _ in range(5):
        block(torch.randn(2, 3, 8, 8) * 3 + 1)
    block.eval()
    folded = fused(copy.deepcopy(block))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    given = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(folded(given), block(given), atol=1e-5, rtol=1e-5)


def test_an_encoder_that_sees_what_sounds_sees_what_was_learned_from(checkpoint_path: Path) -> None:
    class Eye(SeeingSounding):
        def forward(self, waveform: torch.Tensor) -> torch.Tensor:
            return self.see_clips(waveform, periods(waveform)).coarse

    clip = torch.cat([torch.zeros(8000), torch.randn(9000, generator=torch.Generator().manual_seed(0))])
    waveform = clip.repeat(8)[: 2**17][None, None]
    eye = Eye(opened(checkpoint_path)[0], 1)
    network, _ = opened(checkpoint_path)
    torch.testing.assert_close(eye(waveform), see_sounding(network, waveform).coarse, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(eye(waveform), network.encode(waveform).coarse, atol=1e-3)
