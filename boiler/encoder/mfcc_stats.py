"""MFCC statistics: the classic that a learned encoder has to beat, and a first answer without any training.

Good for a first look at a folder and as the floor of an evaluation: timbre and its movement, not words or melodies.
Mean and deviation of 20 cepstral coefficients over the window, and the deviation of their first and second
differences; whitened half-way with statistics of the folder that is indexed, so that no coefficient drowns the others.

Measured, P@1 / P@10 / mAP (exp/records/encoders.md): ESC-10 .78 / .65 / .50, spoken digits of other speakers
.62 / .59 / .38; 4 ms of one core a window, nearly all of it the mel spectrogram.
Source: Davis and Mermelstein, 1980 (MFCC); the statistics are the usual "bag of frames" summary.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torchaudio.functional import create_dct

from boiler.encoder import Fitted
from boiler.encoder.whitening import Whitening, fit
from boiler.model.mel import LogMel, MelSettings

N_COEFFICIENTS = 20
FLOOR = 1.0
"""Magnitudes below this count as this: what is 48 dB under a sine of full scale is background, and the cepstrum of
the background would count as much as that of the sound (measured: .03 of P@1 on either set)."""


class CepstrumStatistics(nn.Module):
    """Log-mel spectrogram to the statistics, not yet whitened.

    Shape: [B, 1, M, F] to [B, 4 * `N_COEFFICIENTS`].
    """

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        self.register_buffer("dct", create_dct(N_COEFFICIENTS, n_mels, norm="ortho").T.contiguous())
        self.dct: Tensor

    def forward(self, loudness: Tensor) -> Tensor:
        cepstrum = torch.matmul(self.dct, loudness[:, 0])
        speed = cepstrum[..., 1:] - cepstrum[..., :-1]
        change = speed[..., 1:] - speed[..., :-1]
        return torch.cat([cepstrum.mean(-1), cepstrum.std(-1), speed.std(-1), change.std(-1)], dim=1)


class MFCCStats(Fitted):
    """Mean, deviation and movement of the MFCC, half-whitened; see the module. D = 80, no checkpoint needed.

    Before `fit` the statistics are only brought to unit length.
    """

    def __init__(self, pt_path: str | os.PathLike[str] | None = None, device: str = "cpu") -> None:
        """`pt_path` is not read: there is nothing to load."""
        super().__init__(4 * N_COEFFICIENTS)
        settings = MelSettings(floor=FLOOR)
        self.mel = LogMel(settings)
        self.statistics = CepstrumStatistics(settings.n_mels)
        self.whitening = Whitening(torch.zeros(self.dim), torch.eye(self.dim))
        self.to(device)

    def forward(self, waveform: Tensor) -> Tensor:
        vectors: Tensor = self.whitening(self.statistics(self.mel(waveform)))
        return vectors

    @torch.no_grad()
    def fit(self, waveforms: Iterable[Tensor]) -> None:
        device = self.statistics.dct.device
        learned = fit((self.statistics(self.mel(batch.to(device))) for batch in waveforms), self.dim)
        self.whitening = Whitening(learned["mean"], learned["matrix"]).to(device)
