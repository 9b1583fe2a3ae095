"""MFCC statistics: the classic baseline, and a first index without any training.

Good for a first look at a folder and as the baseline of an evaluation: it captures timbre and its variation, not words
or melodies. The vector is the mean and standard deviation of 20 MFCC over the window, and the deviations of their first
and second differences; half-whitened with statistics of the folder, so that no coefficient dominates the others.
Silence around a clip, a DC offset and a click where it was cut do not count.

Measured, P@1 / P@10 / mAP (exp/records/encoders.md): ESC-10 .76 / .63 / .47, spoken digits of other speakers
.59 / .57 / .36; 4 ms per window on one core, nearly all of it for the mel spectrogram.
Source: Davis and Mermelstein, 1980 (MFCC); the statistics are the usual "bag of frames" summary.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torchaudio.functional import create_dct

from boiler.encoder import Fitted
from boiler.encoder.conditioning import condition, fade_samples
from boiler.encoder.loop_length import loop_lengths
from boiler.encoder.trim_silence import trim_silence
from boiler.encoder.whitening import Whitening, fit
from boiler.model.mel import LogMel, MelSettings

N_COEFFICIENTS = 20
FLOOR = 1.0
"""Magnitudes are clamped to at least this, 48 dB below a full-scale sine. Without a floor, the cepstrum of background
noise would count as much as that of the sound (it costs .03 of P@1 on both sets)."""


class MFCCStatistics(nn.Module):
    """Log-mel spectrogram to the statistics, before whitening.

    Shape: [B, 1, M, F] to [B, 4 * `N_COEFFICIENTS`].
    """

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        self.register_buffer("dct", create_dct(N_COEFFICIENTS, n_mels, norm="ortho").T.contiguous())
        self.dct: Tensor

    def forward(self, loudness: Tensor) -> Tensor:
        cepstrum = torch.matmul(self.dct, loudness[:, 0])
        delta = cepstrum[..., 1:] - cepstrum[..., :-1]
        delta_delta = delta[..., 1:] - delta[..., :-1]
        return torch.cat([cepstrum.mean(-1), cepstrum.std(-1), delta.std(-1), delta_delta.std(-1)], dim=1)


class MFCCStats(Fitted):
    """Statistics of the MFCC, half-whitened; see the module. D = 80, no checkpoint needed.

    Before `fit` the statistics are only normalised.
    """

    def __init__(self, pt_path: str | os.PathLike[str] | None = None, device: str = "cpu") -> None:
        """`pt_path` is not read."""
        super().__init__(4 * N_COEFFICIENTS)
        settings = MelSettings(floor=FLOOR)
        self.mel = LogMel(settings)
        self.fade = fade_samples(settings.sample_rate_hz)
        self.silence = math.log10(FLOOR)
        self.hop_samples = settings.hop_samples
        self.statistics = MFCCStatistics(settings.n_mels)
        self.whitening = Whitening(torch.zeros(self.dim), torch.eye(self.dim))
        self.to(device)

    def forward(self, waveform: Tensor) -> Tensor:
        vectors: Tensor = self.whitening(self.described(waveform))
        return vectors

    def described(self, waveform: Tensor) -> Tensor:
        """The statistics of windows [N, 1, T], before whitening."""
        lengths = loop_lengths(waveform)
        loudness = self.mel(condition(waveform, lengths, self.fade))
        statistics: Tensor = self.statistics(trim_silence(loudness, lengths, self.silence, self.hop_samples))
        return statistics

    @torch.no_grad()
    def fit(self, waveforms: Iterable[Tensor]) -> None:
        device = self.statistics.dct.device
        fitted = fit((self.described(batch.to(device)) for batch in waveforms), self.dim)
        self.whitening = Whitening(fitted["mean"], fitted["matrix"]).to(device)
