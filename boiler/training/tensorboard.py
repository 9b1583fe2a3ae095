"""Training metrics: running means of the losses, codebook usage, and TensorBoard events.

A collapsing codebook is easy to miss: reconstructions keep improving while every sound is assigned the same few codes.
So the perplexity (the exponential of the entropy of the code distribution) and the share of codes in use are recorded
for both levels, and a warning is given when a level collapses.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from boiler.model.shard import Shard

COLLAPSED_SHARE = 0.15
"""A level whose perplexity is below this share of its codebook is collapsing."""


class RunningMeans:
    """Means of named scalars, kept as tensors until they are read: reading one waits for the accelerator.

    shard: what the scalars are means of; the result is the mean over the whole batches.
    """

    def __init__(self, shard: Shard | None = None) -> None:
        self._shard = shard or Shard()
        self._sums: dict[str, Tensor] = {}
        self._n = 0

    def add(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value.detach()
        self._n += 1

    def pop(self) -> dict[str, float]:
        """Return the means since the last call, and reset them."""
        means = {name: float(self._shard.mean(total)) / self._n for name, total in self._sums.items()}
        self._sums, self._n = {}, 0
        return means


class CodebookUsage:
    """Counts how often each code of a codebook is assigned, in the whole batches of which `shard` is a part."""

    def __init__(self, n_codes: int, shard: Shard | None = None) -> None:
        self.n_codes = n_codes
        self._shard = shard or Shard()
        self._counts = torch.zeros(n_codes, dtype=torch.int64)

    def add(self, codes: Tensor) -> None:
        """Count the codes of an int64 tensor of any shape."""
        self._counts = self._counts.to(codes.device) + torch.bincount(codes.flatten(), minlength=self.n_codes)

    def pop(self, level: str) -> dict[str, float]:
        """Return the perplexity (1 to `n_codes`) and the share of codes used since the last call, and reset them."""
        counts = self._shard.sum(self._counts)
        share = counts.double() / counts.sum().clamp(min=1)
        perplexity = torch.exp(-torch.special.xlogy(share, share).sum())
        used = (counts > 0).double().mean()
        self._counts = torch.zeros_like(self._counts)
        return {f"perplexity_{level}": float(perplexity), f"codes_used_{level}": float(used)}


def collapse_warnings(metrics: Mapping[str, float], n_codes: Mapping[str, int]) -> list[str]:
    """A warning for each level whose perplexity in `metrics` shows a collapse. `n_codes`: codebook sizes by level."""
    return [
        f"the {level} codebook is collapsing: its perplexity is {metrics[f'perplexity_{level}']:.1f} of {size} codes, "
        "so it hardly distinguishes sounds. More varied sounds, longer training or a smaller --lr may help"
        for level, size in n_codes.items()
        if metrics[f"perplexity_{level}"] < COLLAPSED_SHARE * size
    ]


class TensorBoardWriter:
    """Writes events under `folder`. Starting at a later step discards what an earlier sitting wrote after it."""

    def __init__(self, folder: Path, step: int) -> None:
        self._writer: Any = SummaryWriter(str(folder), purge_step=step)

    def scalars(self, kind: str, values: Mapping[str, float], step: int) -> None:
        """Each value under the tag `kind/name`."""
        for name, value in values.items():
            self._writer.add_scalar(f"{kind}/{name}", value, step)

    def reconstructions(self, scaled: Tensor, reconstruction: Tensor, step: int) -> None:
        """Scaled spectrograms `[B, 1, M, F]` (0 silence, 1 loud), each next to its reconstruction, high bands on
        top."""
        pairs = torch.cat([scaled, reconstruction], dim=-1).float().cpu().flip(2).clamp(0, 1)
        for number, pair in enumerate(pairs):
            self._writer.add_image(f"input and reconstruction/{number}", pair, step)

    def close(self) -> None:
        """Flush all events to the disk."""
        self._writer.close()
