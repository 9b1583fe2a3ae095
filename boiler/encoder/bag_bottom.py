"""The bag of bottom words: how much of a sound each of 512 words names, in detail a quarter of the spectrogram's.

Good for: fine texture (noise, rain, hum), and explanations that point at tenths of a second. Cells are shared out
softly, and the vector is the square root of each word's share, as in `bag_top`.

Measured as `pooled`: ESC-10 .76 / .65 / .51, digits .28 / .24 / .15; 10 ms.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor
from torch.nn import functional

from boiler.encoder.vqvae_base import Seeing, fused, opened

SOFTNESS = 0.02
"""Temperature of the cosines. The more words, the harder the choice has to be: with 0.1, as at the top, the 500 that do
not fit drown the one that does (exp/records/training.md)."""


class BagBottomVQVAE(Seeing):
    """Square roots of the shares of the bottom words, D = 512."""

    def __init__(self, pt_path: str | os.PathLike[str] | None, device: str = "cpu") -> None:
        network, _ = opened(pt_path)
        super().__init__(network, network.bottom.n_codes)
        self.to_top = fused(network.to_top)
        self.top = network.top
        self.from_top = network.from_top
        self.to_bottom = fused(network.to_bottom)
        self.bottom = network.bottom
        self.softness = SOFTNESS
        self.to(device)

    def forward(self, waveform: Tensor) -> Tensor:
        return functional.normalize(self.presence(waveform).mean(dim=2).sqrt(), dim=1)

    @torch.jit.export
    def presence(self, waveform: Tensor) -> Tensor:
        """Float `[N, 1, T]` to `[N, K, F]`: each word's share of each column of time, the columns of equal length."""
        return self.bottom.soft_assignment(self.features(waveform), self.softness).mean(dim=1).transpose(1, 2)

    @torch.jit.export
    def codes(self, waveform: Tensor) -> Tensor:
        """Float `[N, 1, T]` to int64 `[N, cells]`: the nearest word of each cell."""
        codes: Tensor = self.bottom(self.features(waveform)).codes
        return codes.flatten(1)

    def features(self, waveform: Tensor) -> Tensor:
        """What the bottom words are chosen by."""
        fine, coarse = self.see(waveform)
        top_vectors = self.top(self.to_top(coarse)).vectors
        features: Tensor = self.to_bottom(torch.cat([fine, self.from_top(top_vectors)], dim=1))
        return features
