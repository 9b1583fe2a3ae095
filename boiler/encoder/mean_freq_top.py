"""The top level's features, averaged over time in each of its four rows of frequency.

Good for: overall colour, high and low kept apart; blind to order and to rare events.

Measured as `pooled`: ESC-10 .89 / .85 / .75, digits .73 / .70 / .49; 5 ms.
"""

from __future__ import annotations

import os

from torch import Tensor
from torch.nn import functional

from boiler.encoder.vqvae_base import Seeing, fused, opened
from boiler.model.vqvae import TOP_ROWS


class MeanFreqTopVQVAE(Seeing):
    """Mean over time of the features that top words are chosen for, row by row: D = 4 rows of 64."""

    def __init__(self, pt_path: str | os.PathLike[str] | None, device: str = "cpu") -> None:
        network, _ = opened(pt_path)
        super().__init__(network, TOP_ROWS * network.top.sums.shape[1])
        self.to_top = fused(network.to_top)
        self.to(device)

    def forward(self, waveform: Tensor) -> Tensor:
        features = self.to_top(self.see(waveform).coarse)
        return functional.normalize(features.mean(dim=3).flatten(1), dim=1)
