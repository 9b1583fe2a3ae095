"""The codebook: a vector quantiser with unit-length codes, learned by moving averages, whose dead codes are revived.

Codes and features have unit length, and the nearest code is the one with the largest cosine, so that the norm of a code
does not decide how often it is chosen. Codes are not trained by gradient: each is the direction of a running sum of the
features assigned to it (van den Oord et al., *Neural Discrete Representation Learning*, 2017, appendix A.1). Sums and
counts are the only state; the codes are derived from them on every call, so a revived code is in use from the next step
on.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from boiler.model.shard import Shard

DECAY = 0.98
"""Of the running sums and counts, per step: half of a code comes from the last 34 steps."""

DEAD_SHARE = 0.1
"""A code assigned less often than this fraction of the uniform share is dead, and is revived."""
REVIVED_SHARE = 0.2
"""Initial count of a revived code, as a fraction of the uniform share. It is small, so that the code soon moves to the
mean of the features assigned to it, or is dead again within 34 steps and is replaced."""


class Quantized(NamedTuple):
    """Features `[B, D, H, W]` after quantisation."""

    vectors: Tensor
    """Float `[B, D, H, W]`: the nearest code of each cell. In training the gradient is passed straight through."""
    codes: Tensor
    """Int64 `[B, H, W]`: the index of that code."""
    commitment: Tensor
    """Scalar in 0 to 2: one minus the mean cosine between a feature and its code. Its gradient moves the features."""


class VectorQuantizer(nn.Module):
    """A codebook of `n_codes` vectors of dimension `code_dim`.

    Shape: float `[B, D, H, W]`, of any norm, to `Quantized`.

    >>> VectorQuantizer(64, 8).eval()(torch.randn(2, 8, 4, 32)).codes.shape
    torch.Size([2, 4, 32])
    """

    def __init__(self, n_codes: int, code_dim: int) -> None:
        super().__init__()
        self.n_codes = n_codes
        self.shard = Shard()
        # Random directions until the first training step.
        self.register_buffer("sums", functional.normalize(torch.randn(n_codes, code_dim), dim=1))
        self.register_buffer("counts", torch.ones(n_codes))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        self.sums: Tensor
        self.counts: Tensor
        self.started: Tensor

    def codebook(self) -> Tensor:
        """Float `[K, D]`, rows of unit length: the directions of the running sums."""
        return functional.normalize(self.sums, dim=1)

    def cosines(self, features: Tensor) -> Tensor:
        """Float `[B, H, W, K]`: the cosine of every cell with every code."""
        return self._cells(features) @ self.codebook().T

    def soft_assignment(self, features: Tensor, temperature: float) -> Tensor:
        """Float `[B, H, W, K]`: softmax over the codes, summing to 1. The lower the temperature, the closer to the hard
        assignment."""
        return torch.softmax(self.cosines(features) / temperature, dim=-1)

    def forward(self, features: Tensor) -> Quantized:
        if self.training:
            return self._forward_and_update(features)
        cells = self._cells(features)
        codebook = self.codebook()
        codes = (cells @ codebook.T).argmax(dim=-1)
        nearest = functional.embedding(codes, codebook)
        return Quantized(nearest.permute(0, 3, 1, 2), codes, 1 - (cells * nearest).sum(dim=-1).mean())

    def _cells(self, features: Tensor) -> Tensor:
        """`[B, D, H, W]` to unit length, channels last: `[B, H, W, D]`."""
        return functional.normalize(features.float().permute(0, 2, 3, 1), dim=-1)

    @torch.jit.unused
    def _forward_and_update(self, features: Tensor) -> Quantized:
        # bfloat16 is too imprecise to choose between similar codes and to accumulate many small steps.
        with torch.autocast(features.device.type, enabled=False):
            cells = self._cells(features)
            with torch.no_grad():
                flat = cells.reshape(-1, cells.shape[-1])
                if not bool(self.started):
                    self._initialise(cells)
                best, codes = (flat @ self.codebook().T).max(dim=1)
                nearest = self.codebook()[codes].view_as(cells)
                self._update(cells, codes, best)
            commitment = 1 - (cells * nearest).sum(dim=-1).mean()
            straight_through = cells + (nearest - cells).detach()
        return Quantized(straight_through.permute(0, 3, 1, 2), codes.view(cells.shape[:-1]), commitment)

    def _initialise(self, cells: Tensor) -> None:
        """Draw the first codes from the features of the first batch, `[B, H, W, D]`."""
        flat = self.shard.gather(cells).flatten(0, 2)
        at = torch.randint(len(flat), (self.n_codes,), device=cells.device)
        self._replace(torch.ones(self.n_codes, dtype=torch.bool, device=cells.device), flat[at], len(flat))
        self.started.fill_(True)

    def _replace(self, which: Tensor, features: Tensor, n_cells: int) -> None:
        """Set the codes `which` (bool `[K]`) to these features."""
        weight = REVIVED_SHARE * n_cells / self.n_codes
        self.sums[which] = features * weight
        self.counts[which] = weight

    def _update(self, cells: Tensor, codes: Tensor, best: Tensor) -> None:
        """Add one batch, `[B, H, W, D]`, to the running sums and counts, then revive the dead codes."""
        sums = torch.zeros_like(self.sums).index_add_(0, codes, cells.flatten(0, 2))
        self.sums.lerp_(self.shard.sum(sums), 1 - DECAY)
        self.counts.lerp_(self.shard.sum(torch.bincount(codes, minlength=self.n_codes).float()), 1 - DECAY)
        n_cells = self.shard.whole(len(cells)) * cells.shape[1] * cells.shape[2]
        dead = self.counts < DEAD_SHARE * n_cells / self.n_codes
        n_dead = int(dead.sum())
        if n_dead:
            # Cells far from their code are more likely to be drawn as new codes.
            misfit = self.shard.gather((1 - best).clamp(min=1e-6).view(cells.shape[:-1])).flatten()
            at = torch.multinomial(misfit, n_dead, replacement=True)
            self._replace(dead, self.shard.gather(cells).flatten(0, 2)[at], n_cells)
