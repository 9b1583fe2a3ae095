"""Third-party encoders with other sampling rates and window lengths, addressed as `own_encoders:Class`."""

from __future__ import annotations

import torch
from torch import Tensor

from boiler.encoder import Encoder

BANDS = 20


class HighBands(Encoder):
    """48 kHz, windows of 1 s: the share of each of 20 bands of 1.2 kHz, most of them above the 8 kHz that a rate of
    16 kHz can represent."""

    sample_rate_hz = 48_000
    window_samples = 48_000
    columns = 10

    def __init__(self, pt_path: object = None, device: str = "cpu") -> None:
        super().__init__(BANDS)
        self.n_columns = self.columns
        self.to(device)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.activations(waveform).mean(dim=2).sqrt()

    @torch.jit.export
    def activations(self, waveform: Tensor) -> Tensor:
        """[N, 1, T] to [N, 20, columns]: in each column the bands' shares of the power."""
        columns = waveform.reshape(waveform.shape[0], self.n_columns, -1)
        power = torch.fft.rfft(columns).abs().square()[:, :, 1:]
        bands = power.reshape(power.shape[0], self.n_columns, 20, -1).sum(dim=3) + 1e-6
        return (bands / bands.sum(dim=2, keepdim=True)).transpose(1, 2)


class LongBands(HighBands):
    """16 kHz, windows of 10.24 s that overlap by three quarters."""

    sample_rate_hz = 16_000
    window_samples = 163_840
    hop_s = 2.56
    columns = 64
