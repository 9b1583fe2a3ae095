"""Kaldi's filter bank in batches equals that of torchaudio for single sounds."""

from __future__ import annotations

import pytest
import torch
from torchaudio.compliance import kaldi

from boiler.encoder.kaldi_mel import KaldiMel


@pytest.mark.parametrize(("rate_hz", "n_mels"), [(16_000, 128), (22_050, 40)])
def test_frames_equal_those_of_torchaudio(rate_hz: int, n_mels: int) -> None:
    sounds = 0.2 * torch.randn(3, rate_hz, generator=torch.Generator().manual_seed(0))
    ours = KaldiMel(rate_hz, n_mels)(sounds)
    for sound, mel in zip(sounds, ours, strict=True):
        expected = kaldi.fbank(
            sound[None], sample_frequency=rate_hz, window_type="hanning", num_mel_bins=n_mels, dither=0.0
        )
        assert torch.allclose(mel, expected, atol=1e-3)


def test_silence_is_finite() -> None:
    assert torch.isfinite(KaldiMel(16_000, 128)(torch.zeros(1, 16_000))).all()
