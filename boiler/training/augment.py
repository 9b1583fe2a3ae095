"""Augmentation of log-mel spectrograms: two augmented views of a sound form a positive pair of the contrastive loss.

All operations work on a whole batch of spectrograms at once and cost a few milliseconds: random crop, time stretch and
pitch shift (one resampling of the image), frequency response (a tilt and a smooth curve over the bands), level, a
second sound and white noise mixed in, band limits, and masks in time and frequency. They were chosen by their effect
on the nearest neighbours (exp/records/training.md).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from boiler.model.mel import LogMel, MelSettings

SPEED_OCTAVES = 0.33
"""Time is stretched or compressed by a factor of up to 2 to this power."""
PITCH_SCALE = 0.12
PITCH_SHIFT = 0.05
"""The mel axis is scaled by up to PITCH_SCALE of its length, and shifted by up to PITCH_SHIFT of it."""
RESPONSE_DEVIATION = 0.25
"""Standard deviation of the frequency response, log10 of magnitude (0.25 is 5 dB)."""
LEVEL_DEVIATION = 0.2
MIX_PROBABILITY = 0.5
MIX_BELOW = (0.3, 1.5)
"""Range of the level of the second sound below the first, log10 of magnitude (6 to 30 dB)."""
NOISE_PROBABILITY = 0.5
NOISE_LEVEL = (-3.0, -0.3)
"""Range of the level of the white noise, log10 of magnitude."""
BAND_LIMIT_PROBABILITY = 0.25
MAX_MASKED_BANDS = 0.15
MAX_MASKED_FRAMES = 0.2

MAX_STRETCH = 2**SPEED_OCTAVES
"""A view of F frames is made from up to `MAX_STRETCH * F` frames."""


class SpectrogramAugmentation:
    """Makes augmented views of `frames` frames from log-mel spectrograms of `input_frames` frames.

    Random numbers come from torch's global generator of the device: seed it to get the same views again.
    """

    def __init__(self, settings: MelSettings, frames: int, device: torch.device) -> None:
        self.frames = frames
        self.input_frames = math.ceil(frames * MAX_STRETCH)
        self.silence = math.log10(settings.floor)
        self.n_mels = settings.n_mels
        self.device = device
        # The power of white noise in a band is proportional to the width of the band.
        filters = LogMel(settings).spectrogram.mel_scale.fb
        self._widths = filters.sum(dim=0).view(1, 1, -1, 1).to(device)
        self._band = torch.arange(settings.n_mels, device=device).view(1, 1, -1, 1)
        self._frame = torch.arange(frames, device=device).view(1, 1, 1, -1)

    @torch.no_grad()
    def __call__(self, mel: Tensor) -> Tensor:
        """Float `[B, 1, M, input_frames]` to `[B, 1, M, frames]`, both log10 of magnitude."""
        n = len(mel)
        magnitude = 10 ** (self._resample(mel) + self._response(n))
        magnitude = magnitude + self._mix_gain(n) * magnitude.roll(int(torch.randint(1, max(n // 2, 2), ())), 0)
        noise = self._noise_gain(n) * self._widths * (1 + 0.5 * torch.randn_like(magnitude))
        mixed = (magnitude.square() + noise.square()).sqrt().clamp(min=10**self.silence).log10()
        return torch.where(self._unmasked(n), mixed, self.silence)

    def _uniform(self, n: int, low: float, high: float) -> Tensor:
        return torch.rand(n, 1, 1, 1, device=self.device) * (high - low) + low

    def _bernoulli(self, n: int, probability: float) -> Tensor:
        return torch.rand(n, 1, 1, 1, device=self.device) < probability

    def _resample(self, mel: Tensor) -> Tensor:
        """A crop of the spectrogram, stretched in time and shifted in pitch, padded with silence."""
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

    def _response(self, n: int) -> Tensor:
        """Random level and frequency response: a tilt and a smooth curve over the bands."""
        place = self._band / self.n_mels
        response = LEVEL_DEVIATION * torch.randn(n, 1, 1, 1, device=self.device)
        response = response + 1.5 * RESPONSE_DEVIATION * self._uniform(n, -1, 1) * (2 * place - 1)
        for waves in (0.5, 1.0, 1.5):
            size = RESPONSE_DEVIATION / (2 * waves) * torch.randn(n, 1, 1, 1, device=self.device)
            response = response + size * torch.cos(2 * math.pi * (waves * place + self._uniform(n, 0, 1)))
        return response

    def _mix_gain(self, n: int) -> Tensor:
        return 10 ** -self._uniform(n, *MIX_BELOW) * self._bernoulli(n, MIX_PROBABILITY)

    def _noise_gain(self, n: int) -> Tensor:
        return 10 ** self._uniform(n, *NOISE_LEVEL) * self._bernoulli(n, NOISE_PROBABILITY)

    def _unmasked(self, n: int) -> Tensor:
        """Bool `[B, 1, M, F]`: inside the band limits and outside the masks."""
        bands, frames = self.n_mels, self.frames
        highest = torch.where(self._bernoulli(n, BAND_LIMIT_PROBABILITY), self._uniform(n, 0.6, 1.0), 1.0) * bands
        lowest = torch.where(self._bernoulli(n, BAND_LIMIT_PROBABILITY), self._uniform(n, 0.0, 0.2), 0.0) * bands
        inside = (self._band < highest) & (self._band >= lowest)
        masked = self._mask(n, self._band, bands, MAX_MASKED_BANDS)
        masked = masked | self._mask(n, self._frame, frames, MAX_MASKED_FRAMES)
        return inside & ~masked

    def _mask(self, n: int, axis: Tensor, length: int, max_share: float) -> Tensor:
        width = self._uniform(n, 0, max_share) * length
        begin = self._uniform(n, 0, 1) * (length - width)
        return (axis >= begin) & (axis < begin + width)
