"""Mel bands of frames against torchaudio's."""

from __future__ import annotations

import pytest
import torch
from torchaudio.transforms import MelSpectrogram

from boiler.model.mel_filters import FRAMES_AT_ONCE, MelFilters

N_FFT, HOP = 256, 100


@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize("n_frames", [1, FRAMES_AT_ONCE, FRAMES_AT_ONCE + 1])
@pytest.mark.parametrize("n_mels", [1, 6, 40])
def test_bands_are_those_of_torchaudio(power: float, n_frames: int, n_mels: int) -> None:
    spectrogram = MelSpectrogram(8_000, n_fft=N_FFT, hop_length=HOP, n_mels=n_mels, power=power, center=False)
    filters = MelFilters(spectrogram.mel_scale.fb, spectrogram.spectrogram.window, power)
    generator = torch.Generator().manual_seed(0)
    sound = torch.randn(2, N_FFT + (n_frames - 1) * HOP, generator=generator)
    level = torch.tensor([0.5, 3.0])[:, None, None]
    bands = filters(sound.unfold(1, N_FFT, HOP), level)
    expected = spectrogram(sound / level[:, 0]).transpose(1, 2)
    torch.testing.assert_close(bands, expected, rtol=1e-4, atol=1e-4)


def test_bands_above_the_highest_frequency_are_empty() -> None:
    filters = torch.zeros(N_FFT // 2 + 1, 8)
    filters[3:9, :2] = 1.0
    bands = MelFilters(filters, torch.ones(N_FFT), 2.0)(torch.ones(5, N_FFT).cumsum(1), torch.ones(1, 1))
    assert bands.shape == (5, 8)
    assert bool((bands[:, :2] > 0).all())
    assert bands[:, 2:].count_nonzero() == 0


def test_it_has_no_entry_in_a_checkpoint() -> None:
    assert MelFilters(torch.ones(N_FFT // 2 + 1, 8), torch.ones(N_FFT), 1.0).state_dict() == {}


def test_another_power_is_refused() -> None:
    with pytest.raises(ValueError, match=r"to the power of 1 or 2, not 1\.5"):
        MelFilters(torch.ones(N_FFT // 2 + 1, 8), torch.ones(N_FFT), 1.5)
