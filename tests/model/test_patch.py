"""The patch transformer: any length, silence, positions, and clips of one batch."""

from __future__ import annotations

import pytest
import torch

from boiler.model.patch import PatchNetwork, PatchSettings


@pytest.fixture(scope="module")
def network() -> PatchNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PatchNetwork(PatchSettings(width=48, depth=2, heads=3, dim=32)).eval().requires_grad_(False)


def mel(frames: int, seed: int = 0) -> torch.Tensor:
    return 2 * torch.rand(1, 64, frames, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("frames", [1, 15, 16, 17, 190, 700])
def test_sounds_of_any_length_have_a_vector(network: PatchNetwork, frames: int) -> None:
    assert network(mel(frames)).shape == (1, 32)
    assert torch.isfinite(network(mel(frames))).all()
    assert torch.isfinite(network(torch.zeros(1, 64, frames))).all()


def test_silence_behind_a_sound_changes_nothing_while_no_position_is_stretched(network: PatchNetwork) -> None:
    sound = mel(40)
    padded = torch.cat([sound, torch.zeros(1, 64, 100)], dim=2)
    assert torch.allclose(network(padded), network(sound), atol=1e-5)


def test_clips_of_one_batch_have_the_vectors_they_have_alone(network: PatchNetwork) -> None:
    lengths = [1, 40, 190, 700]
    batch = torch.zeros(4, 64, 700)
    for n, frames in enumerate(lengths):
        batch[n, :, :frames] = mel(frames, n)[0]
    alone = torch.cat([network(mel(frames, n)) for n, frames in enumerate(lengths)])
    assert torch.allclose(network.of_clips(batch, torch.tensor(lengths)), alone, atol=1e-5)


def test_positions_are_those_of_the_training_and_interpolated_beyond(network: PatchNetwork) -> None:
    places = network.positions(torch.tensor([5, 12, 23]), 23).reshape(3, 4, 23, -1)
    plain = network.row_position[:, None] + network.column_position
    assert torch.allclose(places[0, :, :5], plain[:, :5])
    assert torch.allclose(places[1, :, :12], plain)
    assert torch.allclose(places[2, :, ::2], plain, atol=1e-6)
    assert torch.allclose(places[2, :, 1], (plain[:, 0] + plain[:, 1]) / 2, atol=1e-6)


def test_the_order_of_sounds_in_time_matters(network: PatchNetwork) -> None:
    one, other = mel(48, 1), mel(48, 2)
    forward, backward = network(torch.cat([one, other], dim=2)), network(torch.cat([other, one], dim=2))
    assert not torch.allclose(forward, backward, atol=1e-3)
