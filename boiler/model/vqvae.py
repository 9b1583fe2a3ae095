"""The network: a VQ-VAE of two levels over log-mel spectrograms (van den Oord 2017, Razavi 2019).

The trunk looks at the spectrogram twice, finely (`low`: a quarter of its resolution) and through large kernels
(`high`: 4 rows by F/8 columns, each cell seeing half of all bands and more than a second). `high` is named with one of
64 words, `low`, knowing these, with one of 512; the decoder draws the spectrogram from the words alone. In training
the bottom words are taken away at random, so that the top ones have something to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from boiler.model.mel import LogMel, MelSettings
from boiler.model.quantizer import Quantized, VectorQuantizer

TOP_ROWS = 4
LOW_STRIDE = 4
"""Bands per row and frames per column of the bottom map."""
HIGH_STRIDE = 8
"""Frames per column of the top map."""
SOFTNESS = 0.1
"""The temperature with which a cell is shared out among the words, for the bags."""


@dataclass(frozen=True)
class NetworkSettings:
    """The shape of the network. Saved in every checkpoint."""

    top_words: int = 64
    bottom_words: int = 512
    word_length: int = 64
    low_channels: int = 64
    high_channels: int = 128
    contrast_length: int = 128
    bottom_drop: float = 0.3
    """Chance that a window of a training batch is drawn from its top words alone."""


class Maps(NamedTuple):
    """What the trunk sees: `low` float `[B, C, M/4, F/4]`, `high` float `[B, C', 4, F/8]`."""

    low: Tensor
    high: Tensor


class Outputs(NamedTuple):
    """One training pass."""

    reconstruction: Tensor
    """Float `[B, 1, M, F]`, in the units of `VQVAE2.scaled`."""
    top: Quantized
    bottom: Quantized
    top_features: Tensor
    """Float `[B, D, 4, F/8]`: what the top words were chosen for."""
    contrast: Tensor
    """Float `[B, contrast_length]`, unit length: what windows of one sound should share."""


def _convolved(before: int, after: int, kernel: tuple[int, int], stride: tuple[int, int]) -> nn.Sequential:
    # Padded so that the size is divided by the stride exactly.
    padding = ((kernel[0] - stride[0] + 1) // 2, (kernel[1] - stride[1] + 1) // 2)
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, padding, bias=False), nn.BatchNorm2d(after), nn.ReLU()
    )


def _spread(before: int, word: int) -> nn.Sequential:
    """Features for a codebook. The mean is taken off, so that their directions lie all around and not in one narrow
    cone, in which a few words would be nearest to everything."""
    return nn.Sequential(nn.Conv2d(before, word, 1, bias=False), nn.BatchNorm2d(word, affine=False))


class Residual(nn.Module):
    """Two convolutions beside an open path."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _convolved(channels, channels, (3, 3), (1, 1))
        self.second = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.norm(self.second(self.first(x))))


class Trunk(nn.Module):
    """Scaled log-mel `[B, 1, M, F]` to `Maps`."""

    def __init__(self, settings: NetworkSettings, n_mels: int) -> None:
        super().__init__()
        rows = n_mels // LOW_STRIDE
        step = rows // TOP_ROWS
        # One large kernel, not two strided ones: the maps between them would cost more than all the rest.
        self.stem = _convolved(1, settings.low_channels, (2 * LOW_STRIDE, 2 * LOW_STRIDE), (LOW_STRIDE, LOW_STRIDE))
        # A convolution cannot tell a high cell from a low one; this can.
        self.row = nn.Parameter(torch.zeros(1, settings.low_channels, rows, 1))
        self.fine = nn.Sequential(Residual(settings.low_channels), Residual(settings.low_channels))
        self.large = _convolved(settings.low_channels, settings.high_channels, (2 * step, 8), (step, 2))
        self.coarse = Residual(settings.high_channels)

    def forward(self, scaled: Tensor) -> Maps:
        low = self.fine(self.stem(scaled) + self.row)
        return Maps(low, self.coarse(self.large(low)))


class VQVAE2(nn.Module):
    """The whole network; `mel` and `trunk` and the two codebooks are what encoders are made of."""

    def __init__(self, settings: NetworkSettings, mel_settings: MelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.bottom_drop = settings.bottom_drop
        self.mel = LogMel(mel_settings)
        step = mel_settings.n_mels // LOW_STRIDE // TOP_ROWS
        low, high, word = settings.low_channels, settings.high_channels, settings.word_length
        self.trunk = Trunk(settings, mel_settings.n_mels)
        self.to_top = _spread(high, word)
        self.top = VectorQuantizer(settings.top_words, word)
        self.from_top = nn.Sequential(nn.ConvTranspose2d(word, low, (step, 2), (step, 2)), nn.ReLU())
        self.to_bottom = _spread(2 * low, word)
        self.bottom = VectorQuantizer(settings.bottom_words, word)
        self.draw = nn.Sequential(
            _convolved(low + word, low, (1, 1), (1, 1)),
            Residual(low),
            nn.ConvTranspose2d(low, 1, 2 * LOW_STRIDE, LOW_STRIDE, LOW_STRIDE // 2),
        )
        self.project = nn.Sequential(
            nn.Linear(2 * high, 2 * high, bias=False),
            nn.BatchNorm1d(2 * high),
            nn.ReLU(),
            nn.Linear(2 * high, settings.contrast_length, bias=False),
        )
        self.silence = float(torch.tensor(mel_settings.floor).log10())

    def scaled(self, mel: Tensor) -> Tensor:
        """Log-mel in the units of the network: silence is 0, as is the padding at the edges; 1 is 40 dB above."""
        return (mel - self.silence) / 2

    def see(self, waveform: Tensor) -> Maps:
        """Float `[B, 1, T]` to `Maps`."""
        maps: Maps = self.trunk(self.scaled(self.mel(waveform)))
        return maps

    def bottom_features(self, low: Tensor, top_words: Tensor) -> Tensor:
        """Float `[B, D, M/4, F/4]`: what the bottom words are chosen for, knowing the top ones."""
        features: Tensor = self.to_bottom(torch.cat([low, self.from_top(top_words)], dim=1))
        return features

    def forward(self, scaled: Tensor, n_drawn: int) -> Outputs:
        """Float `[B, 1, M, F]`, F a multiple of 8, in the units of `scaled`, to `Outputs`. The first `n_drawn` windows
        are also given bottom words and drawn again: the dear half, which needs no second view of the same sound."""
        low, high = self.trunk(scaled)
        top_features = self.to_top(high)
        top = self.top(top_features)
        top_words = top.words[:n_drawn]
        bottom = self.bottom(self.bottom_features(low[:n_drawn], top_words))
        bottom_words = bottom.words
        if self.training:
            kept = torch.rand(n_drawn, 1, 1, 1, device=scaled.device) >= self.bottom_drop
            bottom_words = bottom_words * kept
        reconstruction = self.draw(torch.cat([self.from_top(top_words), bottom_words], dim=1))
        contrast = functional.normalize(self.project(pooled(high)).float(), dim=1)
        return Outputs(reconstruction, top, bottom, top_features, contrast)


def pooled(maps: Tensor) -> Tensor:
    """Float `[B, C, H, W]` to `[B, 2 C]`: mean and maximum over all cells."""
    return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)
