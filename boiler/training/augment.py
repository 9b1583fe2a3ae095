"""Alterations of a spectrogram that leave it the same sound to a listener: what two views of a sound may differ in.

Made on log-mel spectrograms, a whole batch at once, so that they cost a few milliseconds: another part, speed and pitch
(one resampling of the picture), another microphone and room (a tilt and a smooth curve over the bands), level, another
sound and white noise underneath, a cut band, and masks in time and frequency. They were chosen for their effect on
the neighbours (exp/records/training.md).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional
from torchaudio.functional import melscale_fbanks

from boiler.model.mel import MelSettings

SPEED_OCTAVES = 0.33
"""Time is stretched by up to 2 to this power, either way."""
PITCH_SCALE = 0.12
PITCH_SHIFT = 0.05
"""The mel axis is scaled by up to this share, and shifted by up to this share of its length."""
CURVE = 0.25
"""Deviation of the filter curve, in log10 of magnitude (0.25 is 5 dB)."""
LEVEL = 0.2
MIX_CHANCE = 0.5
MIX_BELOW = (0.3, 1.5)
"""How far below the sound the one mixed in lies, log10 of magnitude (6 to 30 dB)."""
NOISE_CHANCE = 0.5
NOISE_LEVEL = (-3.0, -0.3)
CUT_CHANCE = 0.25
MASKED_BANDS = 0.15
MASKED_FRAMES = 0.2

MARGIN = 2**SPEED_OCTAVES
"""A view of F frames is made of up to this many times as many."""


class Views:
    """Makes altered views of F frames from log-mel spectrograms of `frames_before` frames.

    Draws from torch's global generator of the device: seed it to repeat.
    """

    def __init__(self, settings: MelSettings, frames: int, device: torch.device) -> None:
        self.frames = frames
        self.frames_before = math.ceil(frames * MARGIN)
        self.silence = math.log10(settings.floor)
        self.n_mels = settings.n_mels
        self.device = device
        filters = melscale_fbanks(
            settings.n_fft // 2 + 1, 0.0, settings.sample_rate_hz / 2, settings.n_mels, settings.sample_rate_hz
        )
        # White noise is as loud in a band as the band is wide.
        self._widths = filters.sum(dim=0).view(1, 1, -1, 1).to(device)
        self._band = torch.arange(settings.n_mels, device=device).view(1, 1, -1, 1)
        self._frame = torch.arange(frames, device=device).view(1, 1, 1, -1)

    @torch.no_grad()
    def __call__(self, mel: Tensor) -> Tensor:
        """Float `[B, 1, M, frames_before]` to `[B, 1, M, frames]`, log10 of magnitude both."""
        n = len(mel)
        magnitude = 10 ** (self._resampled(mel) + self._curve(n))
        magnitude = magnitude + self._level_below(n) * magnitude.roll(int(torch.randint(1, max(n // 2, 2), ())), 0)
        noise = self._noise_level(n) * self._widths * (1 + 0.5 * torch.randn_like(magnitude))
        heard = (magnitude.square() + noise.square()).sqrt().clamp(min=10**self.silence).log10()
        return torch.where(self._kept(n), heard, self.silence)

    def _uniform(self, n: int, low: float, high: float) -> Tensor:
        return torch.rand(n, 1, 1, 1, device=self.device) * (high - low) + low

    def _chance(self, n: int, chance: float) -> Tensor:
        return torch.rand(n, 1, 1, 1, device=self.device) < chance

    def _resampled(self, mel: Tensor) -> Tensor:
        """A part of the picture, stretched in time and pitch. Outside is silence."""
        n, _, bands, before = mel.shape
        read = (self.frames * 2 ** self._uniform(n, -SPEED_OCTAVES, SPEED_OCTAVES)).clamp(max=before) / before
        middle = self._uniform(n, -1, 1) * (1 - read)
        across = middle + read * ((2 * self._frame + 1) / self.frames - 1)
        down = (2 * self._band + 1) / bands - 1
        down = (down + 1) * (1 + self._uniform(n, -PITCH_SCALE, PITCH_SCALE)) - 1
        down = down + 2 * self._uniform(n, -PITCH_SHIFT, PITCH_SHIFT)
        shape = (n, bands, self.frames)
        grid = torch.stack([across[:, 0].expand(shape), down[:, 0].expand(shape)], dim=-1)
        return functional.grid_sample(mel - self.silence, grid, align_corners=False) + self.silence

    def _curve(self, n: int) -> Tensor:
        """Level, tilt and slow waves over the bands."""
        place = self._band / self.n_mels
        curve = LEVEL * torch.randn(n, 1, 1, 1, device=self.device)
        curve = curve + 1.5 * CURVE * self._uniform(n, -1, 1) * (2 * place - 1)
        for waves in (0.5, 1.0, 1.5):
            size = CURVE / (2 * waves) * torch.randn(n, 1, 1, 1, device=self.device)
            curve = curve + size * torch.cos(2 * math.pi * (waves * place + self._uniform(n, 0, 1)))
        return curve

    def _level_below(self, n: int) -> Tensor:
        return 10 ** -self._uniform(n, *MIX_BELOW) * self._chance(n, MIX_CHANCE)

    def _noise_level(self, n: int) -> Tensor:
        return 10 ** self._uniform(n, *NOISE_LEVEL) * self._chance(n, NOISE_CHANCE)

    def _kept(self, n: int) -> Tensor:
        """Bool `[B, 1, M, F]`: what neither a cut band nor a mask takes away."""
        bands, frames = self.n_mels, self.frames
        highest = torch.where(self._chance(n, CUT_CHANCE), self._uniform(n, 0.6, 1.0), 1.0) * bands
        lowest = torch.where(self._chance(n, CUT_CHANCE), self._uniform(n, 0.0, 0.2), 0.0) * bands
        inside = (self._band < highest) & (self._band >= lowest)
        masked = self._mask(n, self._band, bands, MASKED_BANDS) | self._mask(n, self._frame, frames, MASKED_FRAMES)
        return inside & ~masked

    def _mask(self, n: int, axis: Tensor, length: int, share: float) -> Tensor:
        width = self._uniform(n, 0, share) * length
        begin = self._uniform(n, 0, 1) * (length - width)
        return (axis >= begin) & (axis < begin + width)
