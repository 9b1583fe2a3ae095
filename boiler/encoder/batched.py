"""Encoders as one computation over a batch, without a loop over its clips, so that they trace and export.

The encoders find the length of each clip, and most embed clip by clip; that is quicker on a CPU. Here each step is
computed for all clips at once, over as many frames as a window has, and what lies beyond a clip is masked. The vectors
are the same to rounding. Used by `boiler.encoder.onnx_export`.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d, conv2d, max_pool1d, normalize

from boiler.encoder import Encoder, descriptors
from boiler.encoder.bag_bottom import BagBottomVQVAE
from boiler.encoder.bag_top import BagTopVQVAE
from boiler.encoder.conditioning import condition_batch
from boiler.encoder.general import GeneralEncoder
from boiler.encoder.joined_descriptors import JoinedDescriptors
from boiler.encoder.joined_general import JoinedWithGeneral
from boiler.encoder.joined_vqvae import GeneralParts, JoinedVQVAE, PlainParts
from boiler.encoder.loop_length import clip_lengths
from boiler.encoder.mean_freq_top import MeanFreqTopVQVAE
from boiler.encoder.mfcc_stats import MFCCStats
from boiler.encoder.patch import PatchEncoder
from boiler.encoder.pooled import PooledVQVAE
from boiler.encoder.trim_silence import audible_span_batch, trim_silence_batch
from boiler.model.general import GeneralMel, first_audible, scaled
from boiler.model.patch import PatchNetwork
from boiler.model.vqvae import coarse_map

ROUNDING = 1e-7
"""Added to the eigenvalues of a matrix of unit size before its root is taken."""
ROOT_ITERATIONS = 30
"""Of the matrix square root. A condition number of 1e7 needs 26."""


class Loops:
    """Clips of differing length as loops of frames in one batch.

    Shape: `frames` [N, F, M] of which the first `counts` [N] of each are its clip.
    """

    def __init__(self, frames: Tensor, counts: Tensor) -> None:
        self.frames, self.counts = frames, counts
        self.places = torch.arange(frames.shape[1], device=frames.device)[None]
        self.inside = self.places < counts[:, None]

    def at(self, places: Tensor) -> Tensor:
        """The frames at these places of the loops. Shape: int64 [P] or [N, P] to [N, P, M]."""
        index = torch.remainder(places, self.counts[:, None])
        return self.frames.gather(1, index[:, :, None].expand(-1, -1, self.frames.shape[2]))

    def without_longest_gap(self, below: float) -> Loops:
        """`descriptors.cut_longest_gap` of each."""
        level = (10**self.frames).square().sum(dim=2).log10() / 2
        level = torch.where(self.inside, level, -1e9)
        loud = level >= level.amax(dim=1, keepdim=True) - below
        # Steps from each loud frame to the next, around the loop.
        steps = torch.remainder(self.places[:, None] - self.places[:, :, None] - 1, self.counts[:, None, None]) + 1
        gaps = torch.where(loud[:, None], steps, self.places.shape[1] + 1).amin(dim=2)
        gaps = torch.where(loud, gaps, 0)
        longest, at = gaps.amax(dim=1), gaps.argmax(dim=1)
        first = torch.where(longest > 1, at + longest, 0)
        return Loops(self.at(first[:, None] + self.places), self.counts - longest + 1)

    def mean(self, values: Tensor, fewer: int = 0) -> Tensor:
        """The mean over each clip but its last `fewer` frames. Shape: [N, F - fewer, d] to [N, d]."""
        inside = self._inside(fewer)
        return torch.where(inside, values, 0.0).sum(dim=1) / (self.counts - fewer)[:, None]

    def std(self, values: Tensor, fewer: int = 0) -> Tensor:
        """The standard deviation, as `Tensor.std`. Shape: as `mean`."""
        centred = torch.where(self._inside(fewer), values - self.mean(values, fewer)[:, None], 0.0)
        return (centred.square().sum(dim=1) / (self.counts - fewer - 1)[:, None]).sqrt()

    def amax(self, values: Tensor) -> Tensor:
        """The maximum over each clip of values that are not negative. Shape: [N, F, d] to [N, d]."""
        return torch.where(self._inside(0), values, 0.0).amax(dim=1)

    def _inside(self, fewer: int) -> Tensor:
        return (self.places[:, : self.places.shape[1] - fewer] < (self.counts - fewer)[:, None])[:, :, None]


def mfcc_contour(own: descriptors.MFCCContour, loops: Loops) -> Tensor:
    cut = Loops(loops.frames.clamp(min=own.floor), loops.counts).without_longest_gap(own.below)
    cepstrum = cut.frames @ own.dct
    least = 2 * own.points
    counts = cut.counts.clamp(min=least)[:, None].float()
    n_places = max(loops.frames.shape[1], least)
    places = torch.arange(n_places, device=cepstrum.device)[None].float()
    # A clip with fewer than `least` frames is interpolated to that many.
    stretch = torch.where(cut.counts < least, (cut.counts - 1) / (least - 1), 1.0)[:, None]
    source = (places * stretch).clamp(max=loops.frames.shape[1] - 1)
    low = source.floor()
    high = (low + 1).clamp(max=loops.frames.shape[1] - 1)
    share = (source - low)[:, :, None]

    def at(index: Tensor) -> Tensor:
        return cepstrum.gather(1, index.long()[:, :, None].expand(-1, -1, cepstrum.shape[2]))

    found = at(low) * (1 - share) + at(high) * share
    steps = torch.arange(own.points, device=cepstrum.device)[None].float()
    centres = steps * ((counts - 1) / (own.points - 1))
    distance = (places[:, None] - centres[:, :, None]).abs()
    weights = (1 - distance * (own.points / counts)[:, :, None]).clamp(min=0)
    weights = torch.where((places < counts)[:, None], weights, 0.0)
    return ((weights / weights.sum(dim=2, keepdim=True)) @ found).flatten(1)


def mfcc_moments(own: descriptors.MFCCMoments, loops: Loops) -> Tensor:
    cepstrum = loops.frames.clamp(min=own.floor) @ own.dct
    delta = cepstrum[:, 1:] - cepstrum[:, :-1]
    delta_delta = delta[:, 1:] - delta[:, :-1]
    moments = [loops.mean(cepstrum), loops.std(cepstrum), loops.std(delta, 1), loops.std(delta_delta, 2)]
    return torch.cat(moments, dim=1)


def mfcc_covariance(own: descriptors.MFCCCovariance, loops: Loops) -> Tensor:
    cepstrum = loops.frames.clamp(min=own.floor) @ own.dct
    delta = cepstrum[:, 1:] - cepstrum[:, :-1]
    centred = torch.where(loops.inside[:, :, None], cepstrum - loops.mean(cepstrum)[:, None], 0.0)
    inside = (loops.places[:, 1:] < loops.counts[:, None])[:, :, None]
    delta = torch.where(inside, delta, 0.0)
    products = torch.stack(
        [
            centred.transpose(1, 2) @ centred / loops.counts[:, None, None],
            delta.transpose(1, 2) @ delta / (loops.counts - 1)[:, None, None],
        ],
        dim=1,
    )
    roots = matrix_root(products + own.ridge)
    return roots[:, :, own.upper[0], own.upper[1]].flatten(1)


def matrix_root(matrices: Tensor, iterations: int = ROOT_ITERATIONS) -> Tensor:
    """The square roots of symmetric positive definite matrices, by Newton and Schulz: ONNX has no eigenvectors.

    In double precision, since single precision loses the small eigenvalues.

    Shape: [..., d, d].
    """
    exact = matrices.double()
    size = exact.square().sum(dim=(-2, -1), keepdim=True).sqrt()
    unit = torch.eye(matrices.shape[-1], dtype=torch.float64, device=matrices.device)
    # Rounding to single precision may leave an eigenvalue below zero, from which the iteration diverges.
    root, inverse = exact / size + ROUNDING * unit, unit.expand_as(exact)
    for _ in range(iterations):
        step = (3 * unit - inverse @ root) / 2
        root, inverse = root @ step, step @ inverse
    return (root * size.sqrt()).to(matrices.dtype)


def modulation(own: descriptors.ModulationSpectrum, loops: Loops) -> Tensor:
    level = adaptive_avg_pool1d(loops.frames.clamp(min=own.floor), own.bands)
    hop = own.segment // 2
    longest = max(own.segment, level.shape[1]) + own.segment
    begins = torch.arange(0, longest - own.segment + 1, hop, device=level.device)
    places = (begins[:, None] + torch.arange(own.segment, device=level.device)).flatten()
    segments = Loops(level, loops.counts).at(places[None]).reshape(level.shape[0], len(begins), own.segment, own.bands)
    varying = (segments - segments.mean(dim=2, keepdim=True)) * own.taper[:, None]
    # The spectrum as a product with sines and cosines, which every runtime has.
    n_bins = own.segment // 2 + 1
    angle = torch.arange(n_bins)[:, None] * torch.arange(own.segment) * (2 * math.pi / own.segment)
    power = (angle.cos() @ varying).square() + (angle.sin() @ varying).square()  # [N, segments, bins, bands]
    used = begins + own.segment <= (loops.counts.clamp(min=own.segment) + own.segment)[:, None]
    share = used[:, :, None, None] / used.sum(dim=1)[:, None, None, None]
    power = (power * share).sum(dim=1).transpose(1, 2)
    steps = [power[:, :, low:high].mean(dim=2) for low, high in zip(own.edges[:-1], own.edges[1:], strict=True)]
    return (torch.stack(steps, dim=2) + 1e-2).log10().flatten(1)


def patch_codes(own: descriptors.PatchCodes, loops: Loops) -> Tensor:
    cut = Loops(loops.frames.clamp(min=own.floor), loops.counts)
    # In the order of `Tensor.unfold`: the frames of a band side by side.
    patches = torch.stack([cut.at(loops.places + step) for step in range(own.frames)], dim=3).flatten(2)
    reduced = (patches - own.mean) @ own.matrix
    logits = 2 * (reduced @ own.codebook.T) - own.codebook.square().sum(dim=1)
    assignment = torch.softmax(logits / own.spread, dim=2)
    return torch.cat([loops.mean(assignment), loops.amax(assignment)], dim=1).sqrt()


def patch_filters(own: descriptors.PatchFilters, loops: Loops) -> Tensor:
    cut = Loops(loops.frames.clamp(min=own.floor), loops.counts)
    places = torch.arange(loops.frames.shape[1] + own.frames - 1, device=loops.frames.device)[None]
    response = conv2d(cut.at(places)[:, None], own.filters, stride=[1, own.step_bands])
    best = response.amax(dim=3).clamp(min=0).transpose(1, 2)
    return torch.cat([loops.mean(best), loops.amax(best)], dim=1).sqrt()


class BatchedDescriptors(nn.Module):
    """`JoinedDescriptors`. Shape: windows [N, 1, T] and the samples of their clips [N] to [N, D]."""

    def __init__(self, own: JoinedDescriptors) -> None:
        super().__init__()
        self.own = own

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        return self.of_pooled(waveform, lengths, None)

    def of_pooled(self, waveform: Tensor, lengths: Tensor, pooled: Tensor | None) -> Tensor:
        """pooled: of the general network, where it is one of the descriptors"""
        own, each = self.own, self.own.descriptors
        most = waveform.shape[2] // own.hop_samples
        counts = torch.div(lengths + own.hop_samples - 1, own.hop_samples, rounding_mode="floor")
        counts = counts.clamp(own.min_frames, most)
        loudness = own.mel(condition_batch(waveform, lengths, own.fade))[:, 0, :, :most] - own.louder
        first, width = audible_span_batch(loudness, counts, lengths, own.silence, own.hop_samples)
        enough = width >= own.min_frames
        loops = Loops(loudness.transpose(1, 2), counts)
        audible = loops.at(torch.where(enough, first, 0) + loops.places)
        loops = Loops(audible, torch.where(enough, width, counts[:, None])[:, 0])
        rows = [
            mfcc_contour(each.mfcc_contour, loops),
            mfcc_moments(each.mfcc_moments, loops),
            mfcc_covariance(each.mfcc_covariance, loops),
            modulation(each.modulation, loops),
            patch_codes(each.patch_codes, loops),
            patch_filters(each.patch_filters, loops),
        ]
        vectors: Tensor = own.head(torch.cat(rows if pooled is None else [*rows, pooled], dim=1))
        return vectors


def trimmed_mel(own: MFCCStats | PooledVQVAE | PlainParts, waveform: Tensor, lengths: Tensor) -> Tensor:
    """The log-mel of conditioned clips without the silence around them.

    Shape: as `BatchedDescriptors` to [N, 1, M, F].
    """
    loudness = own.mel(condition_batch(waveform, lengths, own.fade))
    return trim_silence_batch(loudness, lengths, own.silence, own.hop_samples)


class BatchedMFCC(nn.Module):
    """`MFCCStats`. Shape: as `BatchedDescriptors`."""

    def __init__(self, own: MFCCStats) -> None:
        super().__init__()
        self.own = own

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        own = self.own
        loudness = trimmed_mel(own, waveform, lengths)
        vectors: Tensor = own.whitening(own.statistics(loudness))
        return vectors


class BatchedCodes(nn.Module):
    """Encoders whose vectors come from the feature maps of the whole window. Shape: as `BatchedDescriptors`."""

    def __init__(self, own: BagTopVQVAE | BagBottomVQVAE | MeanFreqTopVQVAE) -> None:
        super().__init__()
        self.own = own

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        own = self.own
        return own.vectors_of(own.encode_conditioned(condition_batch(waveform, lengths, own.fade)))


class BatchedPooled(nn.Module):
    """`PooledVQVAE`, and the part of `PlainParts` that is the same. Shape: as `BatchedDescriptors`."""

    def __init__(self, own: PooledVQVAE | PlainParts) -> None:
        super().__init__()
        self.own = own

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        own = self.own
        loudness = trimmed_mel(own, waveform, lengths)
        features = own.pool(own.trunk(own.scale(loudness)))
        vectors: Tensor = own.whitening(torch.cat(features, dim=1))
        return vectors


class BatchedPlainParts(nn.Module):
    """`PlainParts`. Shape: as `BatchedDescriptors`."""

    def __init__(self, own: PlainParts) -> None:
        super().__init__()
        self.pooled = BatchedPooled(own)
        self.descriptors = BatchedDescriptors(own.descriptors)

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        return torch.cat([self.pooled(waveform, lengths), self.descriptors(waveform, lengths)], dim=1)


class BatchedGeneralParts(nn.Module):
    """`GeneralParts`. Shape: as `BatchedDescriptors`."""

    def __init__(self, own: GeneralParts) -> None:
        super().__init__()
        self.own = own
        self.general = BatchedGeneral(own.descriptors.general)
        self.descriptors = BatchedDescriptors(own.descriptors)

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        own, general = self.own, self.general
        loudness, deep, steps, counts = general.maps(waveform, lengths)
        pooled = general.pool(loudness, steps, counts)
        coarse = coarse_map(deep, steps, own.rows)
        # What lies behind a clip is zero, and no value is below zero.
        mean = coarse.sum(dim=(2, 3)) / (own.rows * counts[:, None])
        projection = normalize(own.project(torch.cat([mean, coarse.amax(dim=(2, 3))], dim=1)), dim=1)
        described = self.descriptors.of_pooled(waveform, lengths, pooled)
        return torch.cat([own.descriptors.general.vectors_of(pooled), projection, described], dim=1)


class BatchedUnshifted(nn.Module):
    """`JoinedVQVAE.embed_clips`: `JoinedVQVAE` before its mean shift. Shape: as `BatchedDescriptors`."""

    def __init__(self, own: JoinedVQVAE) -> None:
        super().__init__()
        parts = own.parts
        self.parts = BatchedGeneralParts(parts) if isinstance(parts, GeneralParts) else BatchedPlainParts(parts)
        self.components = own.components

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        vectors: Tensor = self.components(self.parts(waveform, lengths))
        return vectors


class BatchedJoined(nn.Module):
    """`JoinedVQVAE`. Shape: as `BatchedDescriptors`."""

    def __init__(self, own: JoinedVQVAE) -> None:
        super().__init__()
        self.unshifted = BatchedUnshifted(own)
        self.mean_shift = own.mean_shift

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        vectors: Tensor = self.mean_shift(self.unshifted(waveform, lengths))
        return vectors


def general_mel(mel: GeneralMel, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """`GeneralMel` of clips. Shape: as `BatchedDescriptors` to [N, M, F], zeros behind a clip, and its frames [N]."""
    sound = waveform[:, 0].float()
    inside = torch.arange(sound.shape[1], device=sound.device)[None] < lengths[:, None]
    sound = torch.where(inside, sound, 0.0)
    sound = torch.where(inside, sound - (sound.sum(dim=1) / lengths)[:, None], 0.0)
    power = mel.spectrogram(sound / sound.abs().amax(dim=1, keepdim=True).clamp(min=mel.tiny))
    counts = torch.div(lengths, mel.hop_samples, rounding_mode="floor") + 1
    spectrogram = scaled(_only(power, counts), mel.decades)
    # Without the frames before the sound.
    first = first_audible(spectrogram, mel.audible)
    places = torch.arange(spectrogram.shape[2], device=sound.device)[None] + first[:, None]
    shifted = places.clamp(max=spectrogram.shape[2] - 1)[:, None].expand_as(spectrogram)
    return _only(spectrogram.gather(2, shifted), counts - first), counts - first


class BatchedPatch(nn.Module):
    """`PatchEncoder`. Shape: as `BatchedDescriptors`."""

    def __init__(self, own: PatchEncoder) -> None:
        super().__init__()
        self.own = own

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        loudness, counts = general_mel(self.own.mel, condition_batch(waveform, lengths, self.own.fade), lengths)
        return normalize(cast(PatchNetwork, self.own.network).of_clips(loudness, counts), dim=1)


class BatchedGeneral(nn.Module):
    """`GeneralEncoder`. Shape: as `BatchedDescriptors`."""

    def __init__(self, own: GeneralEncoder) -> None:
        super().__init__()
        self.own = own

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        vectors: Tensor = self.own.vectors_of(self.pooled(waveform, lengths))
        return vectors

    def pooled(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """`GeneralEncoder.pooled_clips`. Shape: as `BatchedDescriptors`."""
        loudness, _, steps, counts = self.maps(waveform, lengths)
        return self.pool(loudness, steps, counts)

    def maps(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The spectrogram, `GeneralNetwork.maps`, and how many steps each clip has."""
        network = self.own.network
        loudness, counts = general_mel(self.own.mel, condition_batch(waveform, lengths, self.own.fade), lengths)
        # A convolution sees zeros behind the end of a clip, in every layer: what its bias makes of them is removed.
        counts = counts.clamp(min=network.min_frames)
        deep = loudness[:, None]
        for layer in network.stem:
            strided = isinstance(layer, nn.Sequential)
            counts = torch.div(counts + 1, 2, rounding_mode="floor") if strided else counts
            deep = _only(layer(deep), counts)
        steps = _only(network.fold(deep.flatten(1, 2)), counts)
        for layer in network.blocks:
            steps = _only(layer(steps), counts)
        return loudness, deep, steps, counts

    def pool(self, loudness: Tensor, steps: Tensor, counts: Tensor) -> Tensor:
        """`GeneralNetwork.pool` of the steps that each clip has."""
        network = self.own.network
        loudest = loudness.amax(dim=1)[:, None]
        loudest = max_pool1d(loudest, network.step_frames, ceil_mode=True)[:, :, : steps.shape[2]]
        weight = (loudest > network.audible).to(steps.dtype)
        weight = _only(weight + (weight.sum(dim=2, keepdim=True) == 0).to(steps.dtype), counts)
        mean = (steps * weight).sum(dim=2) / weight.sum(dim=2)
        return torch.cat([mean, (steps * weight).amax(dim=2)], dim=1)


class BatchedJoinedGeneral(nn.Module):
    """A `JoinedWithGeneral`. Shape: as `BatchedDescriptors`."""

    def __init__(self, own: JoinedWithGeneral) -> None:
        super().__init__()
        self.general = BatchedGeneral(own.general())
        of_folder = own.of_folder
        self.of_folder = (
            BatchedUnshifted(of_folder) if isinstance(of_folder, JoinedVQVAE) else BatchedDescriptors(of_folder)
        )
        self.own, self.resampler = own, own.resampler

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        resampler = self.resampler
        places = torch.arange(waveform.shape[2], device=waveform.device)[None]
        clips = resampler.resample(torch.where(places < lengths[:, None], waveform[:, 0].float(), 0.0))
        # Reduced, because exported models divide in single precision.
        common = math.gcd(resampler.rate_hz, resampler.to_rate_hz)
        rate, to_rate = resampler.rate_hz // common, resampler.to_rate_hz // common
        short = torch.div(lengths * to_rate + rate - 1, rate, rounding_mode="floor").clamp(max=resampler.samples)
        places = torch.arange(resampler.samples, device=waveform.device)[None]
        filled = clips.gather(1, torch.remainder(places, short[:, None]))
        described = self.of_folder(filled[:, None], short)
        vectors: Tensor = self.own.mean_shift(self.own.join(self.general.pooled(waveform, lengths), described))
        return vectors


def _only(values: Tensor, counts: Tensor) -> Tensor:
    """Zeros behind the first `counts` [N] of the last axis. Shape: [N, ..., F]."""
    inside = torch.arange(values.shape[-1], device=values.device) < counts.reshape(-1, *[1] * (values.dim() - 1))
    return torch.where(inside, values, 0.0)


class OfWaveform(nn.Module):
    """A module that takes windows and the lengths of their clips as one that finds the lengths itself."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, waveform: Tensor) -> Tensor:
        vectors: Tensor = self.module(waveform, clip_lengths(waveform))
        return vectors


def batched(encoder: Encoder) -> nn.Module | None:
    """The encoder as one computation over a batch; None if there is no such form.

    Shape: as the encoder.
    """
    match encoder:
        case JoinedVQVAE():
            return OfWaveform(BatchedJoined(encoder))
        case PooledVQVAE():
            return OfWaveform(BatchedPooled(encoder))
        case BagTopVQVAE() | BagBottomVQVAE() | MeanFreqTopVQVAE():
            return OfWaveform(BatchedCodes(encoder))
        case MFCCStats():
            return OfWaveform(BatchedMFCC(encoder))
        case JoinedDescriptors():
            return OfWaveform(BatchedDescriptors(encoder))
        case GeneralEncoder():
            return OfWaveform(BatchedGeneral(encoder))
        case PatchEncoder():
            return OfWaveform(BatchedPatch(encoder))
        case JoinedWithGeneral():
            return OfWaveform(BatchedJoinedGeneral(encoder))
    return None
