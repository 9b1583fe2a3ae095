"""Descriptors of a clip's log-mel spectrogram: six vectors that need no network.

The input of each is the log-mel of one clip, float [F, M] (frames first, log10 of the magnitude, at least `MIN_FRAMES`
frames). The clip is treated as a loop, its end followed by its beginning, so that it hardly matters where in it a sound
starts. The vectors have different scales; `boiler.encoder.joined_descriptors` weights and joins them. All can be
scripted and are stateless.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d, interpolate, normalize
from torchaudio.functional import create_dct

N_COEFFICIENTS = 20
FLOOR = 0.0
"""log10 of the magnitude, 48 dB below a full-scale sine. Lower values are background noise and are set to it."""
MIN_FRAMES = 4


def loop_frames(loudness: Tensor, frames: int) -> Tensor:
    """The first `frames` frames of the loop. Shape: [F, M] to [frames, M]."""
    return loudness.repeat(math.ceil(frames / loudness.shape[0]), 1)[:frames]


def cut_longest_gap(loudness: Tensor, below: float) -> Tensor:
    """The loop without its longest quiet part, starting after it.

    A frame is quiet when its level is more than `below` (log10) under that of the loudest frame.

    Shape: [F, M] to [F', M], F' from 1 to F.
    """
    level = (10**loudness).square().sum(dim=1).log10() / 2
    loud = torch.nonzero(level >= level.amax() - below)[:, 0]
    gaps = torch.cat([loud[1:], loud[:1] + loudness.shape[0]]) - loud
    longest = int(gaps.argmax())
    first = int(loud[(longest + 1) % loud.shape[0]])
    frames = loudness.shape[0] - int(gaps[longest]) + 1
    return loudness if frames == loudness.shape[0] else loudness.roll(-first, 0)[:frames]


class MFCCContour(nn.Module):
    """MFCC at 8 points, evenly spaced over the audible part whatever its duration: distinguishes words.

    Shape: [F, M] to [8 * 20].
    """

    def __init__(self, n_mels: int, points: int = 8, below: float = 0.75) -> None:
        """`below`: as in `cut_longest_gap`; 0.75 is 15 dB, which keeps consonants and drops room noise and breath."""
        super().__init__()
        self.points = points
        self.below = below
        self.floor = FLOOR
        self.register_buffer("dct", create_dct(N_COEFFICIENTS, n_mels, norm="ortho"))
        self.dct: Tensor

    def forward(self, loudness: Tensor) -> Tensor:
        cepstrum = cut_longest_gap(loudness.clamp(min=self.floor), self.below) @ self.dct
        if cepstrum.shape[0] < 2 * self.points:
            cepstrum = interpolate(cepstrum.T[None], size=2 * self.points, mode="linear", align_corners=True)[0].T
        frames = cepstrum.shape[0]
        centres = torch.linspace(0, frames - 1, self.points, device=loudness.device)
        distance = (torch.arange(frames, device=loudness.device) - centres[:, None]).abs()
        weights = (1 - distance * (self.points / frames)).clamp(min=0)
        return ((weights / weights.sum(dim=1, keepdim=True)) @ cepstrum).flatten()


class MFCCMoments(nn.Module):
    """MFCC over the whole clip: mean, standard deviation, and the deviations of the first and second differences.

    Shape: [F, M] to [4 * 20].
    """

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        self.floor = FLOOR
        self.register_buffer("dct", create_dct(N_COEFFICIENTS, n_mels, norm="ortho"))
        self.dct: Tensor

    def forward(self, loudness: Tensor) -> Tensor:
        cepstrum = loudness.clamp(min=self.floor) @ self.dct
        delta = cepstrum[1:] - cepstrum[:-1]
        delta_delta = delta[1:] - delta[:-1]
        return torch.cat([cepstrum.mean(0), cepstrum.std(0), delta.std(0), delta_delta.std(0)])


class MFCCCovariance(nn.Module):
    """Matrix square roots of the covariances of the MFCC and of their differences.

    The matrix root keeps one large variance from dominating the vector.

    Shape: [F, M] to [2 * 210].
    """

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        self.floor = FLOOR
        self.register_buffer("dct", create_dct(N_COEFFICIENTS, n_mels, norm="ortho"))
        self.register_buffer("upper", torch.triu_indices(N_COEFFICIENTS, N_COEFFICIENTS))
        self.register_buffer("ridge", 1e-3 * torch.eye(N_COEFFICIENTS))
        self.dct: Tensor
        self.upper: Tensor
        self.ridge: Tensor

    def root(self, centred: Tensor) -> Tensor:
        """[F, 20] to the upper triangle of the root, [210]."""
        variances, directions = torch.linalg.eigh(centred.T @ centred / centred.shape[0] + self.ridge)
        root: Tensor = (directions * variances.clamp(min=0).sqrt()) @ directions.T
        upper: Tensor = root[self.upper[0], self.upper[1]]
        return upper

    def forward(self, loudness: Tensor) -> Tensor:
        cepstrum = loudness.clamp(min=self.floor) @ self.dct
        return torch.cat([self.root(cepstrum - cepstrum.mean(0)), self.root(cepstrum[1:] - cepstrum[:-1])])


class ModulationSpectrum(nn.Module):
    """Modulation spectrum of each of 16 bands: spectrum of its level over about 2 s, from 0.5 to 15 Hz in 9 steps.

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
        level = loop_frames(level, max(self.segment, level.shape[0]) + self.segment)
        segments = level.unfold(0, self.segment, self.segment // 2)
        modulation = (segments - segments.mean(dim=2, keepdim=True)) * self.taper
        power = torch.fft.rfft(modulation).abs().square().mean(dim=0)
        steps = [power[:, low:high].mean(dim=1) for low, high in zip(self.edges[:-1], self.edges[1:])]  # noqa: B905
        power = torch.stack(steps, dim=1)
        return (power + 1e-2).log10().flatten()


class PatchCodes(nn.Module):
    """Soft assignment to 256 codes of the clip's patches, each 8 frames (a quarter of a second) of the whole spectrum.

    The output is, for each code, the square root of its mean and of its maximum over the patches.

    Shape: [F, M] to [2 * 256].
    """

    FRAMES = 8
    CODES = 256
    DIRECTIONS = 40

    def __init__(self, mean: Tensor, matrix: Tensor, codebook: Tensor, spread: Tensor) -> None:
        """The arguments are what `fit` returned: `mean` [8 * M] and `matrix` [8 * M, d] reduce a patch, `codebook`
        [K, d] are the centres of k-means, `spread` [] is the mean squared distance of a patch to its centre."""
        super().__init__()
        self.floor = FLOOR
        self.frames = self.FRAMES
        self.register_buffer("mean", mean)
        self.register_buffer("matrix", matrix)
        self.register_buffer("codebook", codebook)
        self.register_buffer("spread", spread)
        self.mean: Tensor
        self.matrix: Tensor
        self.codebook: Tensor
        self.spread: Tensor

    @classmethod
    def fit(cls, clips: Sequence[Tensor], generator: torch.Generator, per_clip: int = 24) -> dict[str, Tensor]:
        """The arguments of a `PatchCodes` fitted to `per_clip` random patches of each clip [F, M]."""
        chosen = []
        for clip in clips:
            patches = _patches(clip.float().clamp(min=FLOOR), cls.FRAMES)
            chosen.append(patches[torch.randperm(len(patches), generator=generator)[:per_clip]])
        patches = torch.cat(chosen)
        mean = patches.mean(0)
        centred = patches - mean
        variances, directions = torch.linalg.eigh((centred.T @ centred).double() / len(patches))
        variances, directions = variances.flip(0)[: cls.DIRECTIONS], directions.flip(1)[:, : cls.DIRECTIONS]
        # Half-whitened. A direction without variance (few sounds, or very similar ones) must not be amplified.
        matrix = (directions * variances.clamp(min=1e-6 * float(variances[0]) + 1e-12) ** -0.25).float().contiguous()
        reduced = centred @ matrix
        codebook = k_means(reduced, cls.CODES, generator)
        spread = torch.cdist(reduced[:8192], codebook).square().amin(dim=1).mean()
        # With fewer patches than codes each patch is a code, and the spread would be zero.
        min_spread = 0.05 * reduced.square().sum(dim=1).mean() + 1e-6
        return {"mean": mean, "matrix": matrix, "codebook": codebook, "spread": torch.maximum(spread, min_spread)}

    def forward(self, loudness: Tensor) -> Tensor:
        reduced = (_patches(loudness.clamp(min=self.floor), self.frames) - self.mean) @ self.matrix
        # The negative squared distance, without a term that cancels out in the softmax.
        logits = 2 * (reduced @ self.codebook.T) - self.codebook.square().sum(dim=1)
        assignment = torch.softmax(logits / self.spread, dim=1)
        return torch.cat([assignment.mean(0), assignment.amax(0)]).sqrt()


class PatchFilters(nn.Module):
    """Responses to 256 filters of 8 frames by 20 bands, each the largest over all positions on the mel axis.

    The filters are fitted to the sounds. The output is, for each filter, the square root of its mean and of its maximum
    over time.

    Shape: [F, M] to [2 * 256].
    """

    FRAMES = 8
    BANDS = 20
    FILTERS = 256

    def __init__(self, filters: Tensor) -> None:
        """`filters`: [256, 1, 8, 20], as `fit` returned them."""
        super().__init__()
        self.floor = FLOOR
        self.frames, self.bands = self.FRAMES, self.BANDS
        self.step_bands = self.BANDS // 4
        self.register_buffer("filters", filters)
        self.filters: Tensor

    @classmethod
    def fit(cls, clips: Sequence[Tensor], generator: torch.Generator, per_clip: int = 24) -> dict[str, Tensor]:
        """The arguments of a `PatchFilters` fitted to random patches of the clips [F, M], at most 6,000 of them.

        Patches are whitened and grouped by direction (spherical k-means).
        """
        rows = random_patches(clips, min(6000, per_clip * len(clips)), cls.FRAMES, cls.BANDS, generator)
        if not len(rows):
            rows = torch.randn(cls.FILTERS, cls.FRAMES * cls.BANDS, generator=generator)
        variances, directions = torch.linalg.eigh((rows.T @ rows / len(rows)).double())
        scale = (variances.clamp(min=0) + 0.1 * variances.clamp(min=0).mean() + 1e-12) ** -0.5
        whiten = ((directions * scale) @ directions.T).float()
        rows = normalize(rows @ whiten, dim=1)
        centres = rows[torch.arange(cls.FILTERS) % len(rows)]
        for _ in range(10):
            nearest = (rows @ centres.T).argmax(dim=1)
            centres = normalize(torch.zeros_like(centres).index_add_(0, nearest, rows) + 1e-6 * centres, dim=1)
        filters = centres @ whiten
        filters = filters - filters.mean(dim=1, keepdim=True)
        return {"filters": filters.reshape(cls.FILTERS, 1, cls.FRAMES, cls.BANDS).contiguous()}

    def forward(self, loudness: Tensor) -> Tensor:
        loop = loop_frames(loudness.clamp(min=self.floor), loudness.shape[0] + self.frames - 1)
        # Patches [F', 13, 8, 20] and one matrix product: a convolution of one channel takes two to three times as long.
        patches = loop.unfold(0, self.frames, 1).unfold(1, self.bands, self.step_bands)
        response = patches.flatten(2) @ self.filters.flatten(1).T
        best = response.amax(dim=1).clamp(min=0)
        return torch.cat([best.mean(dim=0), best.amax(dim=0)]).sqrt()


def random_patches(clips: Sequence[Tensor], n: int, frames: int, bands: int, generator: torch.Generator) -> Tensor:
    """At most `n` centred patches at random places in the first 2 * `frames` frames of random clips [F, M], without
    background, which has no structure. Shape: [n, frames * bands]."""
    beginnings = torch.stack([loop_frames(clip[: 2 * frames], 2 * frames) for clip in clips])
    all_patches = beginnings.unfold(1, frames, 1).unfold(2, bands, 1)  # [clips, places, places, frames, bands]
    # Twice as many as are kept, since some are background; drawn one by one, as by earlier versions, so that the same
    # folder gives the same filters.
    bounds = itertools.chain.from_iterable(itertools.repeat(all_patches.shape[:3], 2 * n))
    at = torch.cat([torch.randint(bound, (1,), generator=generator) for bound in bounds]).view(-1, 3)
    patches = all_patches[at[:, 0], at[:, 1], at[:, 2]].flatten(1).float().clamp(min=FLOOR)
    patches = patches[patches.std(dim=1) > 0.1][:n]
    return patches - patches.mean(dim=1, keepdim=True)


def k_means(rows: Tensor, k: int, generator: torch.Generator, rounds: int = 12) -> Tensor:
    """Centres [k, d] of `rows` [n, d], n at least 1. A centre without rows is replaced by a random row."""
    centres = rows[torch.randperm(len(rows), generator=generator)[torch.arange(k) % len(rows)]].clone()
    for _ in range(rounds):
        nearest = torch.cat([torch.cdist(some, centres).argmin(dim=1) for some in torch.split(rows, 8192)])
        count = torch.bincount(nearest, minlength=k)[:, None]
        total = torch.zeros_like(centres).index_add_(0, nearest, rows)
        random_rows = rows[torch.randint(len(rows), (k,), generator=generator)]
        centres = torch.where(count > 0, total / count.clamp(min=1), random_rows)
    return centres


def _patches(loudness: Tensor, frames: int) -> Tensor:
    """Every run of `frames` consecutive frames of the loop. Shape: [F, M] to [F, M * frames]."""
    return loop_frames(loudness, loudness.shape[0] + frames - 1).unfold(0, frames, 1).flatten(1)
