"""The network: a VQ-VAE-2 of two levels over log-mel spectrograms (van den Oord et al. 2017, Razavi et al. 2019).

The trunk computes two feature maps: `fine`, at a quarter of the spectrogram's resolution, and `coarse`, from large
kernels (4 rows by F/8 columns; each cell covers half of the bands and more than a second). The top codebook (64 codes)
quantises `coarse`; the bottom codebook (512 codes) quantises `fine`, conditioned on the top codes. The decoder
reconstructs the spectrogram from the codes alone. In training the bottom codes are dropped at random, so that the top
codes carry information of their own.

There are two trunks. `Trunk` is trained with the rest. `GeneralTrunk` is the network of the general encoder
(`boiler.model.general`), with its weights, which stay as they are: what is trained are the codes, the decoder and the
projection on top of it. That takes a quarter of the multiply-adds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from boiler.model.fusion import fuse_batch_norms
from boiler.model.general import GeneralNetwork, GeneralSettings
from boiler.model.mel import LogMel, MelSettings
from boiler.model.quantizer import Quantized, VectorQuantizer
from boiler.model.shard import Shard, synchronise_batch_norms

TOP_ROWS = 4
FINE_STRIDE = 4
"""Mel bands per row and frames per column of the fine map."""
COARSE_STRIDE = 8
"""Frames per column of the coarse map."""
GENERAL_MEL = MelSettings(
    sample_rate_hz=GeneralSettings.sample_rate_hz,
    n_fft=GeneralSettings.n_fft,
    hop_samples=GeneralSettings.hop_samples,
    n_mels=GeneralSettings.n_mels,
    floor=1e-3,
    power=2.0,
    f_min_hz=GeneralSettings.f_min_hz,
    f_max_hz=GeneralSettings.f_max_hz,
    frames_multiple=16,
)
"""The spectrogram that the general network was trained with."""
GENERAL_TRIM = 1 / 1024
"""With the general trunk, frames count as silence in which no band exceeds this magnitude times `n_fft`: 48 dB below a
full-scale sine, as with the other trunk."""
SOFT_TEMPERATURE = 0.1
"""Temperature of the soft assignment of a cell to the top codes, for bags of codes."""


@dataclass(frozen=True)
class NetworkSettings:
    """The shape of the network. Saved in every checkpoint."""

    n_top_codes: int = 64
    n_bottom_codes: int = 512
    code_dim: int = 64
    fine_channels: int = 64
    coarse_channels: int = 128
    projection_dim: int = 128
    bottom_dropout: float = 0.3
    """Probability that a window of a training batch is reconstructed from its top codes alone."""
    trunk: str = "plain"
    """`plain` or `general`. With the latter, `fine_channels` and `coarse_channels` are those of `general_settings`."""


def general_settings() -> NetworkSettings:
    """The network whose trunk is the general one."""
    _, fine, deep = GeneralSettings.channels
    return NetworkSettings(
        code_dim=32, fine_channels=fine, coarse_channels=deep + GeneralSettings.width, trunk="general"
    )


class FeatureMaps(NamedTuple):
    """Output of the trunk: `fine` float `[B, C, M/4, F/4]`, `coarse` float `[B, C', 4, F/8]`."""

    fine: Tensor
    coarse: Tensor


class VQVAEOutputs(NamedTuple):
    """Output of one training pass."""

    reconstruction: Tensor
    """Float `[B', 1, M, F']`, in the units of `VQVAE2.scaled`: of the B' windows and F' frames that were decoded."""
    top: Quantized
    bottom: Quantized
    """Of what was decoded."""
    top_features: Tensor
    """Float `[B, D, 4, F/8]`: the input of the top codebook."""
    projection: Tensor
    """Float `[B, projection_dim]`, unit length: what the contrastive loss compares."""


def _conv_norm_relu(
    in_channels: int, out_channels: int, kernel: tuple[int, int], stride: tuple[int, int]
) -> nn.Sequential:
    # Padded so that the output size is exactly the input size over the stride.
    padding = ((kernel[0] - stride[0] + 1) // 2, (kernel[1] - stride[1] + 1) // 2)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


def _to_code_space(in_channels: int, code_dim: int) -> nn.Sequential:
    """Projection to the input of a codebook. The normalisation centres the features: otherwise all their directions are
    in one narrow cone, and a few codes are nearest to everything."""
    return nn.Sequential(nn.Conv2d(in_channels, code_dim, 1, bias=False), nn.BatchNorm2d(code_dim, affine=False))


class Residual(nn.Module):
    """A residual block of two convolutions, which keeps the number of channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv_norm_relu(channels, channels, (3, 3), (1, 1))
        self.second = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.norm(self.second(self.first(x))))


class Trunk(nn.Module):
    """Scaled log-mel `[B, 1, M, F]` to `FeatureMaps`."""

    def __init__(self, settings: NetworkSettings, n_mels: int) -> None:
        super().__init__()
        rows = n_mels // FINE_STRIDE
        step = rows // TOP_ROWS
        # One large kernel, not two strided ones: computing the map between those would cost more than everything else.
        self.stem = _conv_norm_relu(
            1, settings.fine_channels, (2 * FINE_STRIDE, 2 * FINE_STRIDE), (FINE_STRIDE, FINE_STRIDE)
        )
        # A learned offset per row: a convolution alone has no information about which band it is applied to.
        self.row = nn.Parameter(torch.zeros(1, settings.fine_channels, rows, 1))
        self.fine = nn.Sequential(Residual(settings.fine_channels), Residual(settings.fine_channels))
        self.large = _conv_norm_relu(settings.fine_channels, settings.coarse_channels, (2 * step, 8), (step, 2))
        self.coarse = Residual(settings.coarse_channels)

    def forward(self, scaled: Tensor) -> FeatureMaps:
        fine = self.fine(self.stem(scaled) + self.row)
        return FeatureMaps(fine, self.coarse(self.large(fine)))


class GeneralTrunk(nn.Module):
    """The convolutions of the general network as a trunk: scaled log-mel `[B, 1, M, F]` to `FeatureMaps`.

    The fine map is that after two convolutions; the coarse one joins the last map over bands and frames, in four rows,
    with the last one over time, the same in each row. Never trained: it stays in eval mode.
    """

    def __init__(self, network: GeneralNetwork) -> None:
        """network: its batch norms folded"""
        super().__init__()
        self.fine = network.stem[:2]
        self.deep = network.stem[2:]
        self.fold, self.blocks, self.out = network.fold, network.blocks, network.out
        self.rows = TOP_ROWS
        self.deep_channels = GeneralSettings.channels[2]
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> GeneralTrunk:
        return super().train(False)

    def forward(self, scaled: Tensor) -> FeatureMaps:
        fine = self.fine(scaled)
        deep = self.deep(fine)
        steps = self.blocks(self.fold(deep.flatten(1, 2)))
        return FeatureMaps(fine, coarse_map(deep, steps, self.rows))

    def as_network(self) -> GeneralNetwork:
        """The general network, which shares the layers of this trunk."""
        network = GeneralNetwork(GeneralSettings())
        network.stem = nn.Sequential(*self.fine.children(), *self.deep.children())
        network.fold, network.blocks, network.out = self.fold, self.blocks, self.out
        return network.eval()

    def vector(self, maps: FeatureMaps) -> Tensor:
        """The vector of the general network, of a sound without silence around it. Shape: to `[B, D]`"""
        steps = maps.coarse[:, self.deep_channels :, 0]
        vector: Tensor = self.out(torch.cat([steps.mean(dim=2), steps.amax(dim=2)], dim=1))
        return vector


class PlainScale(nn.Module):
    """Log-mel in the units of `Trunk`: silence is 0, as is the padding at the edges; 1 is 40 dB above. Any shape."""

    def __init__(self, silence: float) -> None:
        super().__init__()
        self.silence = silence

    def forward(self, mel: Tensor) -> Tensor:
        return (mel - self.silence) / 2


class LevelScale(nn.Module):
    """Log-mel in the units of the general network: 2 is the loudest band of the loudest frame, 0 is 70 dB below it.

    Shape: `[B, 1, M, F]` to the same.
    """

    def __init__(self, floor: float) -> None:
        super().__init__()
        self.decades = GeneralSettings.range_db / 20
        self.quietest = math.log10(floor) + self.decades  # so that silence is 0

    def forward(self, mel: Tensor) -> Tensor:
        loudest = mel.amax(dim=(2, 3), keepdim=True).clamp(min=self.quietest)
        return (mel - loudest + self.decades).clamp(min=0) * (2 / self.decades)


class VQVAE2(nn.Module):
    """The whole network. Encoders are built from `mel`, `scale`, `trunk` and the two codebooks."""

    def __init__(self, settings: NetworkSettings, mel_settings: MelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.bottom_dropout = settings.bottom_dropout
        self.shard = Shard()
        self.mel = LogMel(mel_settings)
        step = mel_settings.n_mels // FINE_STRIDE // TOP_ROWS
        fine, coarse, code_dim = settings.fine_channels, settings.coarse_channels, settings.code_dim
        self.trunk: nn.Module
        if settings.trunk == "general":
            self.trunk = GeneralTrunk(fuse_batch_norms(GeneralNetwork(GeneralSettings()).eval()))
            self.scale: nn.Module = LevelScale(mel_settings.floor)
            self.silence = math.log10(GENERAL_TRIM * mel_settings.n_fft)
        else:
            self.trunk = Trunk(settings, mel_settings.n_mels)
            self.silence = math.log10(mel_settings.floor)
            self.scale = PlainScale(self.silence)
        self.to_top = _to_code_space(coarse, code_dim)
        self.top = VectorQuantizer(settings.n_top_codes, code_dim)
        self.from_top = nn.Sequential(nn.ConvTranspose2d(code_dim, fine, (step, 2), (step, 2)), nn.ReLU())
        self.to_bottom = _to_code_space(2 * fine, code_dim)
        self.bottom = VectorQuantizer(settings.n_bottom_codes, code_dim)
        self.decoder = nn.Sequential(
            _conv_norm_relu(fine + code_dim, fine, (1, 1), (1, 1)),
            Residual(fine),
            nn.ConvTranspose2d(fine, 1, 2 * FINE_STRIDE, FINE_STRIDE, FINE_STRIDE // 2),
        )
        self.project = nn.Sequential(
            nn.Linear(2 * coarse, 2 * coarse, bias=False),
            nn.BatchNorm1d(2 * coarse),
            nn.ReLU(),
            nn.Linear(2 * coarse, settings.projection_dim, bias=False),
        )

    def distribute(self, shard: Shard) -> None:
        """Train on this share of every batch, together with other processes: means and variances of batch norms, sums
        and counts of codebooks, and drawn codes are those of the whole batch."""
        self.shard = self.top.shard = self.bottom.shard = shard
        synchronise_batch_norms(self, shard)  # the general trunk has none

    def scaled(self, mel: Tensor) -> Tensor:
        """Log-mel in the units of the network: silence is 0, as is the padding at the edges."""
        scaled: Tensor = self.scale(mel)
        return scaled

    def encode(self, waveform: Tensor) -> FeatureMaps:
        """Float `[B, 1, T]` to `FeatureMaps`."""
        maps: FeatureMaps = self.trunk(self.scaled(self.mel(waveform)))
        return maps

    def bottom_features(self, fine: Tensor, top_vectors: Tensor) -> Tensor:
        """Float `[B, D, M/4, F/4]`: the input of the bottom codebook, conditioned on the quantised top level."""
        features: Tensor = self.to_bottom(torch.cat([fine, self.from_top(top_vectors)], dim=1))
        return features

    def forward(self, scaled: Tensor, n_decoded: int, decoded_share: float = 1.0) -> VQVAEOutputs:
        """Float `[B, 1, M, F]`, F a multiple of 8, in the units of `scaled`, to `VQVAEOutputs`.

        Only the first `n_decoded` windows are passed to the bottom level and the decoder, and only this share of their
        frames, the first ones: these are the expensive half, and need no second view of the same sound.
        """
        fine, coarse = self.trunk(scaled)
        top_features = self.to_top(coarse)
        top = self.top(top_features)
        steps = math.ceil(decoded_share * coarse.shape[3])
        top_vectors = top.vectors[:n_decoded, :, :, :steps]
        fine_steps = steps * (fine.shape[3] // coarse.shape[3])
        bottom = self.bottom(self.bottom_features(fine[:n_decoded, :, :, :fine_steps], top_vectors))
        bottom_vectors = bottom.vectors
        if self.training:
            drawn = torch.rand(self.shard.whole(n_decoded), 1, 1, 1, device=scaled.device)
            bottom_vectors = bottom_vectors * (self.shard.take(drawn) >= self.bottom_dropout)
        reconstruction = self.decoder(torch.cat([self.from_top(top_vectors), bottom_vectors], dim=1))
        projection = functional.normalize(self.project(mean_max_pool(coarse)).float(), dim=1)
        return VQVAEOutputs(reconstruction, top, bottom, top_features, projection)


def coarse_map(deep: Tensor, steps: Tensor, rows: int) -> Tensor:
    """The coarse map of the general trunk: its last map over bands and frames, in rows, with that over frames.

    Shape: [B, C, H, F] and [B, C', F] to [B, C + C', rows, F]
    """
    averaged = functional.avg_pool2d(deep, (deep.shape[2] // rows, 1))
    return torch.cat([averaged, steps[:, :, None].expand(-1, -1, rows, -1)], dim=1)


def mean_max_pool(maps: Tensor) -> Tensor:
    """Float `[B, C, H, W]` to `[B, 2 C]`: mean and maximum over all cells."""
    return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)


def hears_as_general(network: VQVAE2) -> bool:
    """Whether the trunk is the general one and hears at its rate: at 16 kHz it did in an earlier version."""
    return network.settings.trunk == "general" and network.mel.sample_rate_hz == GeneralSettings.sample_rate_hz
