"""The network of the general encoder and its front end."""

from __future__ import annotations

import torch

from boiler.model.general import GeneralMel, GeneralNetwork, GeneralSettings


def test_silence_does_not_count_where_the_network_pools() -> None:
    torch.manual_seed(0)
    network = GeneralNetwork(GeneralSettings()).eval()
    mel = torch.rand(1, 64, 128) + 0.5
    with torch.no_grad():
        alone = network(torch.cat([mel, torch.zeros(1, 64, 80)], dim=2))  # the end of the sound is seen in both
        with_silence = network(torch.cat([mel, torch.zeros(1, 64, 400)], dim=2))
        torch.testing.assert_close(with_silence, alone, atol=1e-5, rtol=0)
        assert network(torch.zeros(1, 64, 50)).isfinite().all()


def test_the_front_end_hears_up_to_16_khz_and_is_0_below_its_range() -> None:
    seconds = torch.arange(32_000) / 32_000
    mel = GeneralMel(GeneralSettings())
    low, high = (mel(torch.sin(2 * torch.pi * hz * seconds)) for hz in (200, 15_000))
    assert low.shape == (64, 81)
    assert int(low[:, 40].argmax()) < 8
    assert int(high[:, 40].argmax()) > 60
    assert float(low.max()) == float(high.max()) == 2
    assert float(low[-1, 40]) == 0


def test_the_power_is_that_of_torchaudio() -> None:
    sound = torch.randn(20_000, generator=torch.Generator().manual_seed(0)) + 0.3
    mel = GeneralMel(GeneralSettings())
    centred = sound - sound.mean()
    expected = mel.spectrogram(centred / centred.abs().max())
    torch.testing.assert_close(mel.power(sound), expected, atol=1e-5 * float(expected.max()), rtol=1e-4)
