"""A contrastive head: learns from a collection, without labels, which differences between sounds do not matter.

`random_view` alters the log-mel of a clip as another microphone, room, voice or take would. Views of one clip should be
near each other, those of different clips far apart. Two maps are fitted to that, on given features:

1. a linear one that shrinks the directions in which views of one clip differ (Fisher's discriminant with clips as
   classes; the idea of Hadsell, Chopra and LeCun, 2006, in closed form), and
2. a small network (NT-Xent: Chen et al., *SimCLR*, 2020), which trains in seconds because its input is short. Strong
   noise on its input keeps it from memorising clips: with the noise it improves results on digits, without it they get
   worse.

Both outputs are concatenated: the linear one generalises better to other kinds of sounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, grid_sample, interpolate, normalize
from torch.optim.adamw import adamw

from boiler.encoder import whitening

LINEAR_DIM, PROJECTION_DIM = 64, 128
"""Dimensions of the two outputs."""
HIDDEN_DIM = 512
INPUT_DIM = 256
"""Dimension of the network's input: the first directions of the discriminant."""
LEARNING_RATE = 2e-3
WINDOWS_PER_STEP = 4
"""A head is trained for one step for each so many windows, within limits that those who fit one choose."""
ROWS_AT_ONCE = 4096
"""Rows whose products are added to a covariance at once: adding those of a clip takes longer than computing them."""
_EPSILON = 1e-9


def random_view(loudness: Tensor, generator: torch.Generator) -> Tensor:
    """A random view of a sound: cropped, stretched, shifted in pitch, filtered, with added noise.

    Scriptable: compiled, it takes two thirds of the time, and other threads run beside it.

    Shape: log-mel [F, M] (log10) to [F', M].
    """
    if loudness.shape[0] > 40:  # longer than a word or a bark, so that a part of it is still the same sound
        frames = int(loudness.shape[0] * _uniform(0.6, 1.0, generator))
        loudness = loudness.roll(-int(_uniform(0.0, float(loudness.shape[0]), generator)), 0)[:frames]
    bands = loudness.shape[1]
    stretched = round(loudness.shape[0] * math.exp(_uniform(-0.25, 0.25, generator)))
    frames = max(4, int(stretched))  # TorchScript rounds to a float
    pitch = torch.arange(bands) * math.exp(_uniform(-0.1, 0.1, generator)) + _uniform(-1.5, 1.5, generator)
    pitch = (pitch / (bands - 1) * 2 - 1).clamp(-1.0, 1.0)
    time = torch.linspace(-1.0, 1.0, frames)
    time = time + _uniform(-0.15, 0.15, generator) * (1 - time * time)  # slower at the start or the end
    grid = torch.stack([pitch.expand(frames, bands), time[:, None].expand(frames, bands)], dim=2)
    warped = grid_sample(loudness[None, None], grid[None], padding_mode="border", align_corners=True)[0, 0]
    response = interpolate(
        0.25 * torch.randn(1, 1, 5, generator=generator), size=bands, mode="linear", align_corners=True
    )
    warped = warped + response[0, 0] + _uniform(-0.2, 0.2, generator)
    if _uniform(0.0, 1.0, generator) < 0.4:  # low-pass, as from a telephone or a low sampling rate
        warped[:, int(_uniform(0.6, 0.95, generator) * bands) :] = -9.0
    if _uniform(0.0, 1.0, generator) < 0.3:  # recording started early
        warped = torch.cat([torch.full((int(_uniform(1.0, 20.0, generator)), bands), -9.0), warped])
    tilt = torch.linspace(_uniform(-0.3, 0.3, generator), _uniform(-0.3, 0.3, generator), bands)
    noise = _uniform(-1.5, 0.7, generator) + tilt
    return (10**warped + 10**noise).log10()


def fisher_discriminant(views: Tensor, dim: int, shrink: float = 1.0) -> tuple[Tensor, Tensor]:
    """Mean [d] and matrix [d, dim] of Fisher's discriminant with clips as classes.

    Arguments:
        views: [n, K, d], K of each of n clips, K at least 2
        shrink: regularisation: fraction of the mean variance between views that is added in every direction, because
            some directions have an estimated variance of nearly zero
    Columns beyond d are zero.
    """
    n, each, d = views.shape
    rows = views.double()
    mean = rows.mean(dim=(0, 1))
    within = (rows - rows.mean(dim=1, keepdim=True)).reshape(-1, d)
    inner = within.T @ within / (n * (each - 1))
    inner = inner + (shrink * inner.trace() / d + _EPSILON) * torch.eye(d, dtype=torch.float64)
    variances, axes = torch.linalg.eigh(inner)
    whiten = axes * variances**-0.5
    centred = ((rows - mean) @ whiten).reshape(-1, d)
    _, directions = torch.linalg.eigh(centred.T @ centred)
    matrix = torch.zeros(d, dim, dtype=torch.float64)
    n_kept = min(d, dim)
    matrix[:, :n_kept] = whiten @ _signed(directions.flip(1)[:, :n_kept])
    return mean.float(), matrix.float()


class ProjectionHead(nn.Module):
    """The small network: one hidden layer. Shape: [..., d] to [..., `PROJECTION_DIM`], unit length."""

    def __init__(self, first: Tensor, first_bias: Tensor, second: Tensor, second_bias: Tensor) -> None:
        super().__init__()
        self.first, self.first_bias = nn.Parameter(first), nn.Parameter(first_bias)
        self.second, self.second_bias = nn.Parameter(second), nn.Parameter(second_bias)

    @classmethod
    def random(cls, d: int, generator: torch.Generator) -> ProjectionHead:
        """Untrained, with input dimension `d`."""
        first = torch.randn(d, HIDDEN_DIM, generator=generator) / math.sqrt(3 * d)
        second = torch.randn(HIDDEN_DIM, PROJECTION_DIM, generator=generator) / math.sqrt(3 * HIDDEN_DIM)
        return cls(first, torch.zeros(HIDDEN_DIM), second, torch.zeros(PROJECTION_DIM))

    def forward(self, features: Tensor) -> Tensor:
        hidden = gelu(features @ self.first + self.first_bias)
        return normalize(hidden @ self.second + self.second_bias, dim=-1)


class JoiningHead(nn.Module):
    """Both maps: concatenated features to vectors. Shape: [..., d] to [..., `linear_dim` + `PROJECTION_DIM`], unit
    length."""

    def __init__(self, mean: Tensor, matrix: Tensor, projection: ProjectionHead, linear_dim: int = LINEAR_DIM) -> None:
        """mean, matrix: [d] and [d, INPUT_DIM], the linear map; linear_dim: how many of its directions are kept beside
        the projection"""
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("matrix", matrix)
        self.mean: Tensor
        self.matrix: Tensor
        self.projection = projection
        self.linear_dim = linear_dim

    def forward(self, rows: Tensor) -> Tensor:
        reduced = (rows - self.mean) @ self.matrix
        linear = normalize(reduced[..., : self.linear_dim], dim=-1)
        return normalize(torch.cat([linear, self.projection(reduced)], dim=-1), dim=-1)


class OneCycleAdamW:
    """AdamW (Loshchilov and Hutter, 2019) with the one-cycle schedule of Smith and Topin (2018): the same numbers as
    `torch.optim.AdamW` with `OneCycleLR`. Making one of those imports torch's compiler, which takes longer than fitting
    a head to a small folder: 2 to 3 s.
    """

    WARM_UP_SHARE = 0.3
    START_FACTOR, END_FACTOR = 1 / 25, 1 / 25e4
    """The first and the last learning rate, as factors of the highest."""
    MOMENTA = (0.95, 0.85)
    """The first beta at both ends, and at the highest learning rate."""

    def __init__(self, parameters: list[nn.Parameter], highest: float, steps: int, weight_decay: float) -> None:
        self.parameters = parameters
        self._highest, self._steps, self._weight_decay = highest, steps, weight_decay
        self._step = 0
        self._means = [torch.zeros_like(one) for one in parameters]
        self._squares = [torch.zeros_like(one) for one in parameters]
        self._counts = [torch.zeros(()) for _ in parameters]

    def schedule(self, step: int) -> tuple[float, float]:
        """Learning rate and first beta of a step, counted from 0."""
        turn = self.WARM_UP_SHARE * self._steps - 1
        if step <= turn:
            share, start = step / turn, self.START_FACTOR
        else:
            share, start = 1 - (step - turn) / (self._steps - 1 - turn), self.END_FACTOR
        risen = (1 - math.cos(math.pi * share)) / 2
        at_ends, at_peak = self.MOMENTA
        return self._highest * (start + (1 - start) * risen), at_ends + (at_peak - at_ends) * risen

    @torch.no_grad()
    def __call__(self, gradients: tuple[Tensor, ...]) -> None:
        """One step."""
        rate, beta = self.schedule(self._step)
        self._step += 1
        adamw(
            list(self.parameters), list(gradients), self._means, self._squares, [], self._counts,
            amsgrad=False, beta1=beta, beta2=0.999, lr=rate, weight_decay=self._weight_decay, eps=1e-8, maximize=False,
        )  # fmt: skip


def train_projection(
    views: Tensor,
    generator: torch.Generator,
    *,
    steps: int = 500,
    batch: int = 256,
    noise: float = 1.5,
    temperature: float = 0.2,
    learning_rate: float = LEARNING_RATE,
    weights: Tensor | None = None,
    on_step: Callable[[], None] = lambda: None,
) -> ProjectionHead:
    """Train a `ProjectionHead` with NT-Xent on two random views of each clip per step.

    Arguments:
        views: [n, K, d], K of each of n clips, K at least 2, scaled to standard deviation 1
        steps: of the optimizer, each with `batch` clips, or all of them if there are fewer
        noise: standard deviation of the Gaussian noise added to the input
        temperature: of the softmax over cosines
        weights: [n], with what probability a clip is in a batch, in proportion; default: all the same
        on_step: called after each step
    """
    n, each, d = views.shape
    with torch.enable_grad():
        network = ProjectionHead.random(d, generator)
        update = OneCycleAdamW(list(network.parameters()), learning_rate, steps, weight_decay=1e-3)
        for _ in range(steps):
            if weights is None:
                clips = torch.randperm(n, generator=generator)[:batch]
            else:
                clips = torch.multinomial(weights, min(n, batch), generator=generator)
            two = torch.rand(len(clips), each, generator=generator).argsort(dim=1)[:, :2]
            pairs = torch.cat([views[clips, two[:, 0]], views[clips, two[:, 1]]])
            out = network(pairs + noise * torch.randn(pairs.shape, generator=generator))
            logits = (out @ out.T / temperature).masked_fill(torch.eye(len(out), dtype=torch.bool), -1e9)
            loss = cross_entropy(logits, torch.arange(len(out)).roll(len(clips)))
            update(torch.autograd.grad(loss, update.parameters))
            on_step()
    return network.requires_grad_(False)


def random_head(width: int, generator: torch.Generator, linear_dim: int = LINEAR_DIM) -> JoiningHead:
    """A head that is not fitted, for features [d] of this width: a random projection."""
    matrix = torch.randn(width, INPUT_DIM, generator=generator) / math.sqrt(width)
    projection = ProjectionHead.random(INPUT_DIM, generator).requires_grad_(False)
    return JoiningHead(torch.zeros(width), matrix, projection, linear_dim)


def fit_head(
    views: Sequence[Tensor],
    dims: int,
    generator: torch.Generator,
    *,
    steps: int,
    learning_rate: float = LEARNING_RATE,
    weights: Tensor | None = None,
    linear_dim: int = LINEAR_DIM,
    on_step: Callable[[], None] = lambda: None,
) -> JoiningHead:
    """Fit a head to features of clips and of their views.

    Arguments:
        views: for each kind of features [n, K, d_i], K of each of n clips; each kind is brought to the same size
        dims: principal components that are kept of each kind
        steps, learning_rate, weights, on_step: of `train_projection`
        linear_dim: of the head
    """
    means, matrices, parts = [], [], []
    for features in views:
        batches = features.flatten(0, 1).split(ROWS_AT_ONCE)  # type: ignore[no-untyped-call]
        fitted = whitening.fit(batches, dims)
        reduced = (features - fitted["mean"]) @ fitted["matrix"]
        size = reduced.square().sum(dim=2).mean().sqrt().clamp(min=1e-6)
        means.append(fitted["mean"])
        matrices.append(fitted["matrix"] / size)
        parts.append(reduced / size)
    mean, reduce = torch.cat(means), torch.block_diag(*matrices)  # type: ignore[no-untyped-call]
    joined = torch.cat(parts, dim=2)
    centre, directions = fisher_discriminant(joined, INPUT_DIM)
    reduced = (joined - centre) @ directions
    scale = reduced.std().clamp(min=1e-6)
    projection = train_projection(
        reduced / scale, generator, steps=steps, learning_rate=learning_rate, weights=weights, on_step=on_step
    )
    # One affine map for all linear steps; the views are centred already, so `centre` is rounding error.
    return JoiningHead(mean, (reduce @ directions / scale).contiguous(), projection, linear_dim)


def _signed(directions: Tensor) -> Tensor:
    """Flip columns so that their largest element is positive, because the sign of an eigenvector is arbitrary."""
    return directions * directions.gather(0, directions.abs().argmax(dim=0)[None]).sign()


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))
