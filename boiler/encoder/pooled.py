"""The network's features, pooled: what it saw finely, what it saw largely, and what it took for one and the same sound.

Good for: neighbours that sound alike, in collections of any kind. Means and maxima over the map of the trunk's large
kernels and, in four rows of frequency, over its fine map, and the vector that training contrasts; each part brought to
the same size, joined, and half-whitened by what the training sounds were like (learned at the end of training).

Measured after 20 minutes of training on one core, P@1 / P@10 / mAP (exp/records/training.md): ESC-10 .91 / .85 / .75,
spoken digits of other speakers .82 / .77 / .50; 6 ms of one core a window.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from boiler.encoder import whitening
from boiler.encoder.loop_length import periods
from boiler.encoder.vqvae_base import SeeingSounding, opened, see_sounding
from boiler.encoder.whitening import Whitening
from boiler.model.vqvae import TOP_ROWS, VQVAE2, FeatureMaps, mean_max_pool

DIM = 256
POWER = 0.4
"""Of the whitening: 0.25 is better for long sounds, 0.5 for short ones, by .01 either way."""
NAME = "pooled"


class Parts(nn.Module):
    """A trunk's `FeatureMaps` to three parts, each `[N, D_i]`."""

    def __init__(self, network: VQVAE2) -> None:
        super().__init__()
        self.project = network.project
        self.rows = TOP_ROWS

    def forward(self, maps: FeatureMaps) -> list[Tensor]:
        large = mean_max_pool(maps.coarse)
        n, channels, height, width = maps.fine.shape
        by_row = maps.fine.reshape(n, channels * self.rows, height // self.rows, width)
        return [large, mean_max_pool(by_row), functional.normalize(self.project(large), dim=1)]


class PooledVQVAE(SeeingSounding):
    """Pooled features of the trunk, half-whitened, D = 256."""

    def __init__(self, pt_path: str | os.PathLike[str] | None, device: str = "cpu") -> None:
        network, contents = opened(pt_path)
        super().__init__(network, DIM)
        learned = contents.learned_by(NAME)
        self.parts = Parts(network)
        self.whitening = Whitening(learned["mean"], learned["matrix"])
        self.to(device)

    def forward(self, waveform: Tensor) -> Tensor:
        vectors: Tensor = self.whitening(torch.cat(self.parts(self.see_clips(waveform, periods(waveform))), dim=1))
        return vectors


def fit(windows: Iterable[Tensor], learned: dict[str, Tensor], network: VQVAE2) -> dict[str, Tensor]:
    """The whitening of the joined parts, for the table of fitters."""
    parts = Parts(network)
    seen = [[part.cpu() for part in parts(see_sounding(network, batch))] for batch in windows]
    sizes = []
    for part in zip(*seen, strict=True):
        rows = torch.cat(part)
        spread = rows.var(dim=0, correction=0).sum().clamp(min=1e-12).sqrt()
        sizes.append(torch.full((rows.shape[1],), 1 / float(spread)))
    scale = torch.cat(sizes)
    found = whitening.fit((torch.cat(batch, dim=1) * scale for batch in seen), DIM, POWER)
    # The scale is folded in, so that the encoder has one matrix to apply.
    return {"mean": found["mean"] / scale, "matrix": found["matrix"] * scale[:, None]}
