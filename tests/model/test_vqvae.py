"""Shapes of the two levels, gradients, dropout of the bottom codes, and scripted equals eager."""

from __future__ import annotations

import pytest
import torch

from boiler.model.fusion import fuse_batch_norms
from boiler.model.general import GeneralMel, GeneralNetwork, GeneralSettings
from boiler.model.mel import LogMel, MelSettings
from boiler.model.vqvae import GENERAL_MEL, VQVAE2, GeneralTrunk, NetworkSettings, general_settings


def network(settings: NetworkSettings, n_mels: int = 80) -> VQVAE2:
    torch.manual_seed(0)
    return VQVAE2(settings, MelSettings(n_mels=n_mels))


def scaled(batch: int = 4, frames: int = 48, n_mels: int = 80) -> torch.Tensor:
    return torch.rand(batch, 1, n_mels, frames, generator=torch.Generator().manual_seed(1))


def test_the_default_network_has_the_documented_sizes() -> None:
    whole = network(NetworkSettings()).eval()
    outputs = whole(scaled(1, 256), 1)
    assert outputs.top.codes.shape == (1, 4, 32)
    assert outputs.bottom.codes.shape == (1, 20, 64)
    assert (whole.top.n_codes, whole.bottom.n_codes) == (64, 512)
    assert whole.top.codebook().shape[1] == whole.bottom.codebook().shape[1] == 64
    assert sum(parameter.numel() for parameter in whole.parameters()) < 2_000_000


@pytest.mark.parametrize("n_mels", [32, 64, 80, 128])
@pytest.mark.parametrize("frames", [8, 48])
def test_the_reconstruction_has_the_size_of_the_input(small_network: NetworkSettings, n_mels: int, frames: int) -> None:
    outputs = network(small_network, n_mels).eval()(scaled(2, frames, n_mels), 2)
    assert outputs.reconstruction.shape == (2, 1, n_mels, frames)
    assert outputs.top.codes.shape == (2, 4, frames // 8)
    assert outputs.bottom.codes.shape == (2, n_mels // 4, frames // 4)


def test_only_the_first_windows_are_decoded(small_network: NetworkSettings) -> None:
    outputs = network(small_network).train()(scaled(6), 3)
    assert len(outputs.reconstruction) == len(outputs.bottom.codes) == 3
    assert len(outputs.top.codes) == len(outputs.projection) == 6


@pytest.mark.parametrize(("share", "frames"), [(0.5, 24), (0.3, 16), (1.0, 48)])
def test_a_share_of_the_frames_can_be_decoded(small_network: NetworkSettings, share: float, frames: int) -> None:
    whole, windows = network(small_network).eval(), scaled(6)
    some, everything = whole(windows, 3, share), whole(windows, 3)
    assert some.reconstruction.shape == (3, 1, 80, frames)
    assert torch.equal(some.top.codes, everything.top.codes)
    assert some.bottom.codes.shape == (3, 20, frames // 4)
    near_the_end = 16 if share < 1 else 0  # where the decoder sees frames that are not there
    torch.testing.assert_close(
        some.reconstruction[..., : frames - near_the_end], everything.reconstruction[..., : frames - near_the_end]
    )


def test_every_parameter_gets_a_gradient(small_network: NetworkSettings) -> None:
    whole = network(small_network).train()
    outputs = whole(scaled(), 4)
    total = outputs.reconstruction.sum() + outputs.projection.sum() + outputs.top.commitment + outputs.bottom.commitment
    total.backward()
    assert [name for name, parameter in whole.named_parameters() if parameter.grad is None] == []


def test_without_bottom_codes_the_reconstruction_depends_on_the_top(small_network: NetworkSettings) -> None:
    settings = NetworkSettings(**{**vars(small_network), "bottom_dropout": 1.0})
    whole = network(settings).train()
    outputs = whole(scaled(), 4)
    outputs.reconstruction.square().sum().backward()
    assert whole.trunk.large[0].weight.grad.abs().sum() > 0
    assert whole.to_bottom[0].weight.grad is None or not whole.to_bottom[0].weight.grad.any()


@pytest.mark.slow
def test_it_learns_to_reconstruct_a_spectrogram(small_network: NetworkSettings) -> None:
    whole = network(small_network).train()
    optimizer = torch.optim.Adam(whole.parameters(), lr=1e-2)
    target = (torch.arange(80) < 30).float().view(1, 1, 80, 1).expand(4, 1, 80, 48)
    errors = []
    for _ in range(60):
        outputs = whole(target, 4)
        error = (outputs.reconstruction - target).square().mean()
        optimizer.zero_grad()
        (error + 0.25 * (outputs.top.commitment + outputs.bottom.commitment)).backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.1 * errors[0]


def test_silence_is_zero_in_network_units(small_network: NetworkSettings) -> None:
    whole = network(small_network)
    assert (whole.scaled(whole.mel(torch.zeros(1, 1, 2**15))) == 0).all()


def test_scripted_equals_eager(small_network: NetworkSettings) -> None:
    whole = network(small_network).eval()
    eager, scripted = whole(scaled(), 4), torch.jit.script(whole)(scaled(), 4)
    assert torch.equal(eager.top.codes, scripted.top.codes)
    assert torch.equal(eager.bottom.codes, scripted.bottom.codes)
    torch.testing.assert_close(eager.reconstruction, scripted.reconstruction)


def general() -> VQVAE2:
    torch.manual_seed(0)
    return VQVAE2(general_settings(), GENERAL_MEL)


def noise(samples: int = 2**17) -> torch.Tensor:
    return 0.1 * torch.randn(2, 1, samples, generator=torch.Generator().manual_seed(2))


def test_with_the_general_trunk_a_window_has_whole_cells_and_only_the_rest_is_trained() -> None:
    whole = general().train()
    before = {name: value.clone() for name, value in whole.trunk.state_dict().items()}
    mel = whole.scaled(whole.mel(noise(2**18)))
    assert mel.shape == (2, 1, 64, 640)
    outputs = whole(mel, 2)
    assert outputs.reconstruction.shape == mel.shape
    assert outputs.top.codes.shape == (2, 4, 80)
    assert outputs.bottom.codes.shape == (2, 16, 160)
    total = outputs.reconstruction.sum() + outputs.projection.sum() + outputs.top.commitment + outputs.bottom.commitment
    total.backward()
    with_gradient = {name for name, parameter in whole.named_parameters() if parameter.grad is not None}
    assert with_gradient == {name for name, _ in whole.named_parameters() if not name.startswith("trunk.")}
    assert all(torch.equal(value, before[name]) for name, value in whole.trunk.state_dict().items())


def test_the_general_trunk_is_the_general_network() -> None:
    """On a sound without silence the vector is the same, but for rounding."""
    torch.manual_seed(0)
    network = GeneralNetwork(GeneralSettings()).eval()
    trunk = GeneralTrunk(network)
    mel = 1 + torch.rand(2, 64, 120, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(trunk.vector(trunk(mel[:, None])), network(mel), rtol=1e-4, atol=1e-5)


def test_the_scale_of_the_general_trunk_ignores_the_level_and_silence_is_zero() -> None:
    whole = general()
    loud = whole.scaled(whole.mel(noise()))
    assert (float(loud.max()), float(loud.min()) >= 0) == (pytest.approx(2), True)
    assert not whole.scaled(whole.mel(torch.zeros(2, 1, 2**17))).any()
    mel = whole.mel(noise())
    torch.testing.assert_close(whole.scaled(mel - 0.5), whole.scaled(mel), rtol=0, atol=0.1)


def test_its_spectrogram_is_that_which_the_general_network_was_trained_with() -> None:
    t = torch.arange(2**17) / 32_000
    chirp = torch.sin(2 * torch.pi * (200 * t + 1600 * t.square()))
    ours = general().scaled(LogMel(GENERAL_MEL)(chirp[None, None]))[0, 0]
    theirs = GeneralMel(GeneralSettings())(chirp)[:, : ours.shape[1]]
    torch.testing.assert_close(ours[:, 4:-4], theirs[:, 4:-4], rtol=0, atol=0.02)


def test_the_general_network_of_its_trunk_gives_the_same_vectors() -> None:
    network = GeneralNetwork(GeneralSettings()).eval()
    trunk = GeneralTrunk(fuse_batch_norms(network))
    mel = torch.rand(2, 64, 160, generator=torch.Generator().manual_seed(0)) + 0.5
    torch.testing.assert_close(trunk.as_network()(mel), network(mel))
    torch.testing.assert_close(trunk.vector(trunk(mel[:, None])), network(mel), rtol=1e-4, atol=1e-5)
