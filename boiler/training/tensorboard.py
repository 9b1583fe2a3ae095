"""What training writes down: losses, the life of the codebooks, and pictures, for TensorBoard and for the eye.

A codebook dies quietly: the drawings go on getting better while every sound gets the same few words. So perplexity (how
many words are in use, counted by how evenly) and the share of words used are kept for both levels, and a level that
collapses is called out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

COLLAPSED_SHARE = 0.15
"""A level whose perplexity is below this share of its words is collapsing."""


class Mean:
    """Running means of named numbers, kept as tensors until they are asked for (reading one stops an accelerator)."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._n = 0

    def add(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value.detach()
        self._n += 1

    def take(self) -> dict[str, float]:
        """The means since the last time."""
        means = {name: float(total) / self._n for name, total in self._sums.items()}
        self._sums, self._n = {}, 0
        return means


class WordUse:
    """Counts which words of a codebook are chosen."""

    def __init__(self, n_codes: int) -> None:
        self.n_codes = n_codes
        self._counts = torch.zeros(n_codes, dtype=torch.int64)

    def add(self, codes: Tensor) -> None:
        self._counts = self._counts.to(codes.device) + torch.bincount(codes.flatten(), minlength=self.n_codes)

    def take(self, level: str) -> dict[str, float]:
        """Perplexity (1 to K) and share of words used since the last time."""
        share = self._counts.double() / self._counts.sum().clamp(min=1)
        perplexity = torch.exp(-torch.special.xlogy(share, share).sum())
        used = (self._counts > 0).double().mean()
        self._counts = torch.zeros_like(self._counts)
        return {f"perplexity_{level}": float(perplexity), f"words_used_{level}": float(used)}


def collapse(measured: Mapping[str, float], n_codes: Mapping[str, int]) -> list[str]:
    """A warning for each level that is collapsing, by the perplexities in `measured`."""
    return [
        f"the {level} level is collapsing: of its {words} words only some {measured[f'perplexity_{level}']:.1f} are in "
        "use, so that most sounds look alike to it. More varied sounds, more training, or a smaller --lr may help"
        for level, words in n_codes.items()
        if measured[f"perplexity_{level}"] < COLLAPSED_SHARE * words
    ]


class Journal:
    """TensorBoard's events under `folder`. Going on at a step leaves off what an earlier run wrote after it."""

    def __init__(self, folder: Path, step: int) -> None:
        self._writer: Any = SummaryWriter(str(folder), purge_step=step)

    def numbers(self, kind: str, values: Mapping[str, float], step: int) -> None:
        """Each value as `kind/name`."""
        for name, value in values.items():
            self._writer.add_scalar(f"{kind}/{name}", value, step)

    def pictures(self, scaled: Tensor, reconstruction: Tensor, step: int) -> None:
        """Spectrograms `[B, 1, M, F]` (0 silence, 1 loud), each beside what was drawn from its words; high notes up."""
        pairs = torch.cat([scaled, reconstruction], dim=-1).float().cpu().flip(2).clamp(0, 1)
        for number, pair in enumerate(pairs):
            self._writer.add_image(f"input beside reconstruction/{number}", pair, step)

    def close(self) -> None:
        """Everything to the disk."""
        self._writer.close()
