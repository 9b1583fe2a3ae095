"""What there is to say about a sound: each part looks at the log-mel of a clip in its own way.

A part takes the log-mel of one clip, float [F, M] (frames first, log10 of the magnitude, `MIN_FRAMES` or more), and
gives one vector. The clip counts as a loop (its end is followed by its beginning), so that where in it a sound begins
matters little. The parts are not comparable with one another: what joins them (`boiler.encoder.contrastive_head`) weighs them.
All script, and none keeps anything between calls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d, conv2d, interpolate, normalize
from torchaudio.functional import create_dct

N_COEFFICIENTS = 20
FLOOR = 0.0
"""log10 of the magnitude below which all is background: 48 dB under a sine of full scale."""
MIN_FRAMES = 4


def repeated(loudness: Tensor, frames: int) -> Tensor:
    """The first `frames` frames of the loop."""
    return loudness.repeat(math.ceil(frames / loudness.shape[0]), 1)[:frames]


def sounding(loudness: Tensor, below: float) -> Tensor:
    """The part of the loop that sounds, from its beginning on: all but its longest gap.

    A frame sounds when its level is not more than `below` (log10) under the loudest one's.

    Shape: [F, M] to [F', M], F' from 1 to F.
    """
    level = (10**loudness).square().sum(dim=1).log10() / 2
    heard = torch.nonzero(level >= level.amax() - below)[:, 0]
    gaps = torch.cat([heard[1:], heard[:1] + loudness.shape[0]]) - heard
    longest = int(gaps.argmax())
    first = int(heard[(longest + 1) % heard.shape[0]])
    frames = loudness.shape[0] - int(gaps[longest]) + 1
    return loudness if frames == loudness.shape[0] else loudness.roll(-first, 0)[:frames]


class Course(nn.Module):
    """The course of a sound: MFCC at 8 moments from the beginning to the end of what sounds, however long that takes.

    What tells one word from another. Shape: [F, M] to [8 * 20].
    """

    def __init__(self, n_mels: int, moments: int = 8, below: float = 0.75) -> None:
        """`below`: 15 dB, so that consonants stay, and room and breath go."""
        super().__init__()
        self.moments = moments
        self.below = below
        self.floor = FLOOR
        self.register_buffer("dct", create_dct(N_COEFFICIENTS, n_mels, norm="ortho"))
        self.dct: Tensor

    def forward(self, loudness: Tensor) -> Tensor:
        cepstrum = sounding(loudness.clamp(min=self.floor), self.below) @ self.dct
        if cepstrum.shape[0] < 2 * self.moments:
            cepstrum = interpolate(cepstrum.T[None], size=2 * self.moments, mode="linear", align_corners=True)[0].T
        frames = cepstrum.shape[0]
        centres = torch.linspace(0, frames - 1, self.moments, device=loudness.device)
        away = (torch.arange(frames, device=loudness.device) - centres[:, None]).abs()
        weights = (1 - away * (self.moments / frames)).clamp(min=0)
        return ((weights / weights.sum(dim=1, keepdim=True)) @ cepstrum).flatten()


class Cepstrum(nn.Module):
    """MFCC over the whole clip: mean, deviation, and the deviation of the first and second difference.

    Shape: [F, M] to [4 * 20].
    """

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        self.floor = FLOOR
        self.register_buffer("dct", create_dct(N_COEFFICIENTS, n_mels, norm="ortho"))
        self.dct: Tensor

    def forward(self, loudness: Tensor) -> Tensor:
        cepstrum = loudness.clamp(min=self.floor) @ self.dct
        speed = cepstrum[1:] - cepstrum[:-1]
        change = speed[1:] - speed[:-1]
        return torch.cat([cepstrum.mean(0), cepstrum.std(0), speed.std(0), change.std(0)])


class Together(nn.Module):
    """Which MFCC move together: the roots of the covariances of the MFCC and of their differences.

    The root (of the matrix, not of its numbers) keeps a loud change from drowning the rest.

    Shape: [F, M] to [2 * 210].
    """

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        self.floor = FLOOR
        self.register_buffer("dct", create_dct(N_COEFFICIENTS, n_mels, norm="ortho"))
        self.register_buffer("upper", torch.triu_indices(N_COEFFICIENTS, N_COEFFICIENTS))
        self.register_buffer("least", 1e-3 * torch.eye(N_COEFFICIENTS))
        self.dct: Tensor
        self.upper: Tensor
        self.least: Tensor

    def root(self, centred: Tensor) -> Tensor:
        variances, directions = torch.linalg.eigh(centred.T @ centred / centred.shape[0] + self.least)
        root: Tensor = (directions * variances.clamp(min=0).sqrt()) @ directions.T
        upper: Tensor = root[self.upper[0], self.upper[1]]
        return upper

    def forward(self, loudness: Tensor) -> Tensor:
        cepstrum = loudness.clamp(min=self.floor) @ self.dct
        return torch.cat([self.root(cepstrum - cepstrum.mean(0)), self.root(cepstrum[1:] - cepstrum[:-1])])


class Modulation(nn.Module):
    """How fast each of 16 bands beats: the spectrum of its level over some 2 s, from 0.5 to 15 Hz in 9 steps.

    Shape: [F, M] to [16 * 9].
    """

    def __init__(self, bands: int = 16, segment: int = 64) -> None:
        super().__init__()
        self.floor = FLOOR
        self.bands = bands
        self.segment = segment
        self.edges = [1, 2, 3, 4, 6, 8, 12, 16, 24, 33]
        self.register_buffer("taper", torch.hann_window(segment))
        self.taper: Tensor

    def forward(self, loudness: Tensor) -> Tensor:
        level = adaptive_avg_pool1d(loudness.clamp(min=self.floor)[None], self.bands)[0]
        level = repeated(level, max(self.segment, level.shape[0]) + self.segment)
        segments = level.unfold(0, self.segment, self.segment // 2)
        swing = (segments - segments.mean(dim=2, keepdim=True)) * self.taper
        power = torch.fft.rfft(swing).abs().square().mean(dim=0)
        steps = [power[:, low:high].mean(dim=1) for low, high in zip(self.edges[:-1], self.edges[1:])]  # noqa: B905
        power = torch.stack(steps, dim=1)
        return (power + 1e-2).log10().flatten()


class Words(nn.Module):
    """Which of 256 words the clip is made of, each 8 frames (a quarter of a second) of the whole spectrum.

    Soft: a moment belongs to all words near it. For each word the root of its share, and of its clearest moment.

    Shape: [F, M] to [2 * 256].
    """

    FRAMES = 8
    WORDS = 256
    DIRECTIONS = 40

    def __init__(self, mean: Tensor, matrix: Tensor, words: Tensor, spread: Tensor) -> None:
        """What `learn` found: `mean` [8 * M] and `matrix` [8 * M, d] make a patch short, `words` [K, d] stand where
        patches are dense, `spread` [] is their mean squared distance to the nearest word."""
        super().__init__()
        self.floor = FLOOR
        self.frames = self.FRAMES
        self.register_buffer("mean", mean)
        self.register_buffer("matrix", matrix)
        self.register_buffer("words", words)
        self.register_buffer("spread", spread)
        self.mean: Tensor
        self.matrix: Tensor
        self.words: Tensor
        self.spread: Tensor

    @classmethod
    def learn(cls, clips: Sequence[Tensor], draw: torch.Generator, per_clip: int = 24) -> dict[str, Tensor]:
        """From clips [F, M]: `per_clip` moments of each, drawn by `draw`."""
        drawn = []
        for clip in clips:
            patches = _patches(clip.float().clamp(min=FLOOR), cls.FRAMES)
            drawn.append(patches[torch.randperm(len(patches), generator=draw)[:per_clip]])
        patches = torch.cat(drawn)
        mean = patches.mean(0)
        centred = patches - mean
        variances, directions = torch.linalg.eigh((centred.T @ centred).double() / len(patches))
        variances, directions = variances.flip(0)[: cls.DIRECTIONS], directions.flip(1)[:, : cls.DIRECTIONS]
        # Half-whitened. A direction without variance (few sounds, or all alike) must not be blown up.
        matrix = (directions * variances.clamp(min=1e-6 * float(variances[0]) + 1e-12) ** -0.25).float().contiguous()
        short = centred @ matrix
        words = k_means(short, cls.WORDS, draw)
        spread = torch.cdist(short[:8192], words).square().amin(dim=1).mean()
        # With fewer patches than words each stands on its word, and nothing would be near anything else.
        least = 0.05 * short.square().sum(dim=1).mean() + 1e-6
        return {"mean": mean, "matrix": matrix, "words": words, "spread": torch.maximum(spread, least)}

    def forward(self, loudness: Tensor) -> Tensor:
        short = (_patches(loudness.clamp(min=self.floor), self.frames) - self.mean) @ self.matrix
        near = 2 * (short @ self.words.T) - self.words.square().sum(dim=1)
        belongs = torch.softmax(near / self.spread, dim=1)
        return torch.cat([belongs.mean(0), belongs.amax(0)]).sqrt()


class Shapes(nn.Module):
    """Which of 256 shapes the spectrogram has in it, each 8 frames by 20 bands, wherever in pitch they stand.

    Shapes are learned from the sounds, and matched as by a convolution; for each the root of its mean and of its best
    match. Shape: [F, M] to [2 * 256].
    """

    FRAMES = 8
    BANDS = 20
    SHAPES = 256

    def __init__(self, filters: Tensor) -> None:
        """What `learn` found: `filters` [256, 1, 8, 20]."""
        super().__init__()
        self.floor = FLOOR
        self.frames = self.FRAMES
        self.step_bands = self.BANDS // 4
        self.register_buffer("filters", filters)
        self.filters: Tensor

    @classmethod
    def learn(cls, clips: Sequence[Tensor], draw: torch.Generator, per_clip: int = 24) -> dict[str, Tensor]:
        """From clips [F, M]: patches drawn by `draw`, some 6,000 at most, whitened and grouped by direction."""
        patches = min(6000, per_clip * len(clips))
        found: list[Tensor] = []
        for _ in range(2 * patches):
            clip = repeated(clips[_below(len(clips), draw)].float().clamp(min=FLOOR), 2 * cls.FRAMES)
            frame = _below(len(clip) - cls.FRAMES + 1, draw)
            band = _below(clip.shape[1] - cls.BANDS + 1, draw)
            patch = clip[frame : frame + cls.FRAMES, band : band + cls.BANDS]
            if float(patch.std()) > 0.1:  # else background, which has no shape
                found.append((patch - patch.mean()).flatten())
                if len(found) == patches:
                    break
        size = cls.FRAMES * cls.BANDS
        rows = torch.stack(found) if found else torch.randn(cls.SHAPES, size, generator=draw)
        variances, directions = torch.linalg.eigh((rows.T @ rows / len(rows)).double())
        scale = (variances.clamp(min=0) + 0.1 * variances.clamp(min=0).mean() + 1e-12) ** -0.5
        whiten = ((directions * scale) @ directions.T).float()
        rows = normalize(rows @ whiten, dim=1)
        shapes = rows[torch.arange(cls.SHAPES) % len(rows)]
        for _ in range(10):
            nearest = (rows @ shapes.T).argmax(dim=1)
            shapes = normalize(torch.zeros_like(shapes).index_add_(0, nearest, rows) + 1e-6 * shapes, dim=1)
        filters = shapes @ whiten
        filters = filters - filters.mean(dim=1, keepdim=True)
        return {"filters": filters.reshape(cls.SHAPES, 1, cls.FRAMES, cls.BANDS).contiguous()}

    def forward(self, loudness: Tensor) -> Tensor:
        # One batch of one channel: [1, 1, F, M] to [256, F', 13]
        loop = repeated(loudness.clamp(min=self.floor), loudness.shape[0] + self.frames - 1)
        match = conv2d(loop[None, None], self.filters, stride=[1, self.step_bands])[0]
        best = match.amax(dim=2).clamp(min=0)
        return torch.cat([best.mean(dim=1), best.amax(dim=1)]).sqrt()


def k_means(rows: Tensor, k: int, draw: torch.Generator, rounds: int = 12) -> Tensor:
    """Centres [k, d] of the groups of `rows` [n, d]; a centre without a row moves to one drawn. Any n from 1 on."""
    centres = rows[torch.randperm(len(rows), generator=draw)[torch.arange(k) % len(rows)]].clone()
    for _ in range(rounds):
        nearest = torch.cat([torch.cdist(some, centres).argmin(dim=1) for some in torch.split(rows, 8192)])
        count = torch.bincount(nearest, minlength=k)[:, None]
        total = torch.zeros_like(centres).index_add_(0, nearest, rows)
        drawn = rows[torch.randint(len(rows), (k,), generator=draw)]
        centres = torch.where(count > 0, total / count.clamp(min=1), drawn)
    return centres


def _patches(loudness: Tensor, frames: int) -> Tensor:
    """Every `frames` frames in a row of the loop. Shape: [F, M] to [F, M * frames]."""
    return repeated(loudness, loudness.shape[0] + frames - 1).unfold(0, frames, 1).flatten(1)


def _below(bound: int, draw: torch.Generator) -> int:
    return int(torch.randint(bound, (1,), generator=draw))
