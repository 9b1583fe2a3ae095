"""The codebook: continuous features in, the nearest of K words out, and words that stay alive.

Words and features have unit length, and nearest means largest cosine, so that no word can win or starve by its length
alone. The words are not trained by gradient: a word is the direction of a running sum of the features that chose it.
The sums and counts are the one truth, the words are derived from them whenever they are asked for, so a word that is
revived is alive in the next step.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

DECAY = 0.98
"""Of the running sums and counts: half of what a word is comes from the last 34 steps."""

DEAD_SHARE = 0.1
"""A word chosen less often than this share of what it would get if all were chosen alike is dead, and revived."""
REVIVED_SHARE = 0.2
"""What a revived word counts for at first, in the same unit: little, so that it soon lies in the middle of the features
that choose it, or is dead again within 34 steps and gets another chance."""


class Quantized(NamedTuple):
    """What the codebook makes of features `[B, D, H, W]`."""

    words: Tensor
    """Float `[B, D, H, W]`: each cell's nearest word; in training the gradient passes straight through it."""
    codes: Tensor
    """Int64 `[B, H, W]`: which word that is."""
    commitment: Tensor
    """Scalar: one minus the mean cosine between a feature and its word, 0 to 2. Its gradient moves the features."""


class VectorQuantizer(nn.Module):
    """A codebook of `n_words` words of `word_length` numbers.

    Shape: float `[B, D, H, W]` of any length per cell to `Quantized`.

    >>> VectorQuantizer(64, 8).eval()(torch.randn(2, 8, 4, 32)).codes.shape
    torch.Size([2, 4, 32])
    """

    def __init__(self, n_words: int, word_length: int) -> None:
        super().__init__()
        self.n_words = n_words
        # Until the first training step the words are random directions.
        self.register_buffer("sums", functional.normalize(torch.randn(n_words, word_length), dim=1))
        self.register_buffer("counts", torch.ones(n_words))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        self.sums: Tensor
        self.counts: Tensor
        self.started: Tensor

    def words(self) -> Tensor:
        """Float `[K, D]`, unit length: the directions of the running sums."""
        return functional.normalize(self.sums, dim=1)

    def cosines(self, features: Tensor) -> Tensor:
        """Float `[B, H, W, K]`: the cosine of every cell with every word."""
        return self._cells(features) @ self.words().T

    def soft(self, features: Tensor, temperature: float) -> Tensor:
        """Float `[B, H, W, K]`: each cell shared out among the words, summing to 1; the smaller the temperature, the
        nearer to the hard choice."""
        return torch.softmax(self.cosines(features) / temperature, dim=-1)

    def forward(self, features: Tensor) -> Quantized:
        if self.training:
            return self._forward_and_learn(features)
        cells = self._cells(features)
        words = self.words()
        codes = (cells @ words.T).argmax(dim=-1)
        chosen = functional.embedding(codes, words)
        return Quantized(chosen.permute(0, 3, 1, 2), codes, 1 - (cells * chosen).sum(dim=-1).mean())

    def _cells(self, features: Tensor) -> Tensor:
        """`[B, D, H, W]` to unit length, words last: `[B, H, W, D]`."""
        return functional.normalize(features.float().permute(0, 2, 3, 1), dim=-1)

    @torch.jit.unused
    def _forward_and_learn(self, features: Tensor) -> Quantized:
        # bfloat16 is too coarse to choose between near words and to sum up many small steps
        with torch.autocast(features.device.type, enabled=False):
            cells = self._cells(features)
            with torch.no_grad():
                flat = cells.reshape(-1, cells.shape[-1])
                if not bool(self.started):
                    self._start(flat)
                best, codes = (flat @ self.words().T).max(dim=1)
                chosen = self.words()[codes].view_as(cells)
                self._learn(flat, codes, best)
            commitment = 1 - (cells * chosen).sum(dim=-1).mean()
            through = cells + (chosen - cells).detach()
        return Quantized(through.permute(0, 3, 1, 2), codes.view(cells.shape[:-1]), commitment)

    def _start(self, cells: Tensor) -> None:
        """The first words are features of the first batch."""
        at = torch.randint(len(cells), (self.n_words,), device=cells.device)
        self._become(torch.ones(self.n_words, dtype=torch.bool, device=cells.device), cells[at], len(cells))
        self.started.fill_(True)

    def _become(self, which: Tensor, features: Tensor, n_cells: int) -> None:
        """The words `which` (bool `[K]`) become these features."""
        weight = REVIVED_SHARE * n_cells / self.n_words
        self.sums[which] = features * weight
        self.counts[which] = weight

    def _learn(self, cells: Tensor, codes: Tensor, best: Tensor) -> None:
        """Take one batch into the sums and counts, then revive the dead words."""
        self.sums.lerp_(torch.zeros_like(self.sums).index_add_(0, codes, cells), 1 - DECAY)
        self.counts.lerp_(torch.bincount(codes, minlength=self.n_words).float(), 1 - DECAY)
        dead = self.counts < DEAD_SHARE * len(cells) / self.n_words
        n_dead = int(dead.sum())
        if n_dead:
            # Cells that their word stands for badly are more likely to become words of their own.
            misfit = (1 - best).clamp(min=1e-6)
            at = torch.multinomial(misfit, n_dead, replacement=True)
            self._become(dead, cells[at], len(cells))
