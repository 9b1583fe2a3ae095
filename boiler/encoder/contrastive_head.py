"""Learning from a collection, without labels, what makes sounds alike: by changing them in ways that do not matter.

`view` changes the log-mel of a clip as another microphone, room, voice or hand might have. Views of one clip should be
near each other, those of different clips apart. Learned from that, on features that are given:

1. a linear map that shrinks the directions in which views of one clip differ (Fisher's discriminant, with clips as the
   classes; Hadsell, Chopra and LeCun's idea in closed form), and
2. a small network on top (NT-Xent: Chen et al., SimCLR, 2020), seconds of work because its input is short. Noise on its
   input, much of it, keeps it from learning clips by heart: without it, it made the digits worse, with it better.

Both outputs are kept, side by side: the linear one holds on sounds of another kind than those learned from.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, grid_sample, interpolate, normalize

LINEAR, CURVED = 64, 128
"""How many numbers each of the two gives."""
HIDDEN = 512
REDUCED = 256
"""Directions that the network gets to see."""
_LEAST = 1e-9


def view(loudness: Tensor, draw: torch.Generator) -> Tensor:
    """Another take of the same sound: cut, stretched, moved in pitch, through another microphone, in other noise.

    Shape: log-mel [F, M] (log10) to [F', M].
    """
    if loudness.shape[0] > 40:  # longer than a word or a bark: a part of it is still the same sound
        frames = int(loudness.shape[0] * _between(0.6, 1, draw))
        loudness = loudness.roll(-int(_between(0, loudness.shape[0], draw)), 0)[:frames]
    bands = loudness.shape[1]
    frames = max(4, round(loudness.shape[0] * math.exp(_between(-0.25, 0.25, draw))))
    pitch = torch.arange(bands) * math.exp(_between(-0.1, 0.1, draw)) + _between(-1.5, 1.5, draw)
    pitch = (pitch / (bands - 1) * 2 - 1).clamp(-1, 1)
    time = torch.linspace(-1, 1, frames)
    time = time + _between(-0.15, 0.15, draw) * (1 - time * time)  # slower first or last
    grid = torch.stack([pitch.expand(frames, bands), time[:, None].expand(frames, bands)], dim=2)
    moved = grid_sample(loudness[None, None], grid[None], padding_mode="border", align_corners=True)[0, 0]
    colour = interpolate(0.25 * torch.randn(1, 1, 5, generator=draw), size=bands, mode="linear", align_corners=True)
    moved = moved + colour[0, 0] + _between(-0.2, 0.2, draw)
    if _between(0, 1, draw) < 0.4:  # as from a telephone, or through a low sampling rate
        moved[:, int(_between(0.6, 0.95, draw) * bands) :] = -9.0
    if _between(0, 1, draw) < 0.3:  # a finger late on the button
        moved = torch.cat([torch.full((int(_between(1, 20, draw)), bands), -9.0), moved])
    tilt = torch.linspace(_between(-0.3, 0.3, draw), _between(-0.3, 0.3, draw), bands)
    noise = _between(-1.5, 0.7, draw) + tilt
    return (10**moved + 10**noise).log10()


def discriminant(views: Tensor, dim: int, shrink: float = 1.0) -> tuple[Tensor, Tensor]:
    """Mean [d] and matrix [d, dim] after which views of one clip are near each other, compared with those of others.

    `shrink` is how much of the mean variance between views is added in every direction: directions that hardly vary at
    all are not to be believed. Missing directions are zero.

    Shape: `views` [n, K, d], K of each of n clips, K from 2 on.
    """
    n, each, d = views.shape
    rows = views.double()
    mean = rows.mean(dim=(0, 1))
    within = (rows - rows.mean(dim=1, keepdim=True)).reshape(-1, d)
    inner = within.T @ within / (n * (each - 1))
    inner = inner + (shrink * inner.trace() / d + _LEAST) * torch.eye(d, dtype=torch.float64)
    spread, turn = torch.linalg.eigh(inner)
    whiten = turn * spread**-0.5
    centred = ((rows - mean) @ whiten).reshape(-1, d)
    _, directions = torch.linalg.eigh(centred.T @ centred)
    matrix = torch.zeros(d, dim, dtype=torch.float64)
    kept = min(d, dim)
    matrix[:, :kept] = whiten @ _signed(directions.flip(1)[:, :kept])
    return mean.float(), matrix.float()


class Curved(nn.Module):
    """The small network: one hidden layer. Shape: [N, d] to [N, `CURVED`], unit length."""

    def __init__(self, first: Tensor, first_bias: Tensor, second: Tensor, second_bias: Tensor) -> None:
        super().__init__()
        self.first, self.first_bias = nn.Parameter(first), nn.Parameter(first_bias)
        self.second, self.second_bias = nn.Parameter(second), nn.Parameter(second_bias)

    @classmethod
    def drawn(cls, d: int, draw: torch.Generator) -> Curved:
        """New, with weights drawn by `draw`."""
        first = torch.randn(d, HIDDEN, generator=draw) / math.sqrt(3 * d)
        second = torch.randn(HIDDEN, CURVED, generator=draw) / math.sqrt(3 * HIDDEN)
        return cls(first, torch.zeros(HIDDEN), second, torch.zeros(CURVED))

    def forward(self, features: Tensor) -> Tensor:
        hidden = gelu(features @ self.first + self.first_bias)
        return normalize(hidden @ self.second + self.second_bias, dim=1)


def train(
    views: Tensor,
    draw: torch.Generator,
    *,
    steps: int = 500,
    batch: int = 256,
    noise: float = 1.5,
    temperature: float = 0.2,
    rate: float = 2e-3,
    step: Callable[[], None] = lambda: None,
) -> Curved:
    """A `Curved` that tells clips from one another by any of their views.

    `noise` is the deviation of what is added to each number of its input. `step` is called after each of the `steps`.

    Shape: `views` [n, K, d] of unit deviation, K from 2 on.
    """
    n, each, d = views.shape
    with torch.enable_grad():
        network = Curved.drawn(d, draw)
        optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
        for _ in range(steps):
            clips = torch.randperm(n, generator=draw)[:batch]
            two = torch.rand(len(clips), each, generator=draw).argsort(dim=1)[:, :2]
            pairs = torch.cat([views[clips, two[:, 0]], views[clips, two[:, 1]]])
            out = network(pairs + noise * torch.randn(pairs.shape, generator=draw))
            likeness = (out @ out.T / temperature).masked_fill(torch.eye(len(out), dtype=torch.bool), -1e9)
            loss = cross_entropy(likeness, torch.arange(len(out)).roll(len(clips)))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            step()
    return network.requires_grad_(False)


def _signed(directions: Tensor) -> Tensor:
    """Each column with its largest number positive: a decomposition leaves the sign open."""
    return directions * directions.gather(0, directions.abs().argmax(dim=0)[None]).sign()


def _between(low: float, high: float, draw: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=draw))
