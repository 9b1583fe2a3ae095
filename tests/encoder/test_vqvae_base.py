"""Networks built from checkpoints, folded batch norms, trimmed clips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from boiler.encoder.loop_length import loop_lengths
from boiler.encoder.vqvae_base import TrimmedVQVAEEncoder, build_network, encode_trimmed, load_network
from boiler.errors import CheckpointError
from boiler.model import checkpoint


def test_the_network_has_the_weights_of_the_checkpoint(checkpoint_path: Path) -> None:
    network, contents = load_network(checkpoint_path)
    assert not network.training
    assert all(torch.equal(value, contents.weights[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    "change", [{"network": {"colour": 1}}, {"mel": {"colour": 1}}, {"network": {"fine_channels": 9}}], ids=str
)
def test_incompatible_settings_are_refused(checkpoint_path: Path, change: dict[str, dict[str, int]]) -> None:
    contents = checkpoint.load(checkpoint_path)
    changed = replace(contents, **{name: getattr(contents, name) | more for name, more in change.items()})
    with pytest.raises(CheckpointError, match="cannot build"):
        build_network(changed, "x.pt")


def test_a_trimmed_encoder_sees_the_maps_it_was_fitted_to(checkpoint_path: Path) -> None:
    class CoarseMap(TrimmedVQVAEEncoder):
        def forward(self, waveform: torch.Tensor) -> torch.Tensor:
            return self.encode_trimmed(waveform, loop_lengths(waveform)).coarse

    clip = torch.cat([torch.zeros(8000), torch.randn(9000, generator=torch.Generator().manual_seed(0))])
    waveform = clip.repeat(8)[: 2**17][None, None]
    made = CoarseMap(load_network(checkpoint_path)[0], 1)
    network, _ = load_network(checkpoint_path)
    torch.testing.assert_close(made(waveform), encode_trimmed(network, waveform).coarse, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(made(waveform), network.encode(waveform).coarse, atol=1e-3)
