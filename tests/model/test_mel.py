"""The front end is independent of level, finite for silence, and can be scripted."""

from __future__ import annotations

import math

import pytest
import torch

from boiler.model.mel import LogMel, MelSettings

SETTINGS = MelSettings()


def noise(batch: int = 2, samples: int = 2**15) -> torch.Tensor:
    return torch.randn(batch, 1, samples, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("samples", [1024, 2**15, 2**17])
def test_frames_are_samples_over_hop(samples: int) -> None:
    assert LogMel(SETTINGS)(noise(1, samples)).shape == (1, 1, SETTINGS.n_mels, samples // SETTINGS.hop_samples)


@pytest.mark.parametrize("gain", [1e-30, 1e-4, 0.5, 3.0, 1e30])
def test_level_does_not_matter(gain: float) -> None:
    mel, sound = LogMel(SETTINGS), noise()
    torch.testing.assert_close(mel(sound * gain), mel(sound), atol=1e-4, rtol=0)


def test_each_window_has_its_own_peak() -> None:
    mel, sound = LogMel(SETTINGS), noise()
    loud = torch.cat([sound[:1], sound[1:] * 1000])
    torch.testing.assert_close(mel(loud), mel(sound), atol=1e-4, rtol=0)


def test_silence_is_flat_and_finite() -> None:
    assert (LogMel(SETTINGS)(torch.zeros(1, 1, 2**15)) == math.log10(SETTINGS.floor)).all()


def test_a_sine_is_in_the_band_of_its_frequency() -> None:
    seconds = torch.arange(2**15) / SETTINGS.sample_rate_hz
    frames = LogMel(SETTINGS)(torch.sin(2 * math.pi * 1000 * seconds)[None, None])
    hz_to_mel = lambda hz: 2595 * math.log10(1 + hz / 700)  # noqa: E731
    expected = hz_to_mel(1000) / hz_to_mel(8000) * (SETTINGS.n_mels + 1) - 1
    assert abs(frames[0, 0].mean(dim=-1).argmax().item() - expected) <= 1
    assert frames.max() > math.log10(100)


def test_float64_and_integers_are_accepted() -> None:
    mel, sound = LogMel(SETTINGS), noise()
    torch.testing.assert_close(mel(sound.double()), mel(sound))
    assert mel((sound * 1000).short()).dtype == torch.float32


def test_scripted_equals_eager() -> None:
    mel, sound = LogMel(SETTINGS), noise()
    torch.testing.assert_close(torch.jit.script(mel)(sound), mel(sound))


@pytest.mark.parametrize("settings", [SETTINGS, MelSettings(power=2.0, n_fft=512, hop_samples=200, f_min_hz=50.0)])
def test_bands_are_those_of_torchaudio(settings: MelSettings) -> None:
    mel, sound = LogMel(settings), noise()
    peak = torch.full_like(sound[..., :1], 2.0)
    expected = mel.spectrogram(sound / peak)[..., :30]
    torch.testing.assert_close(mel.bands(sound, peak, 30), expected, rtol=1e-4, atol=1e-3)
