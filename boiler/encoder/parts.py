"""What there is to say about a sound: each part looks at the log-mel of a clip in its own way.

A part takes the log-mel of one clip, float [F, M] (frames first, log10 of the magnitude, `MIN_FRAMES` or more), and
gives one vector. The clip counts as a loop (its end is followed by its beginning), so that where it begins matters to none
but `Course`, and there only up to a rotation. The parts are not comparable with one another: what joins them weighs them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d, conv2d, interpolate, normalize
from torchaudio.functional import create_dct

N_COEFFICIENTS = 20
FLOOR = 0.0
"""log10 of the magnitude below which all counts as background: 48 dB under a sine of full scale. Measured: with the 88
dB of the plain log-mel every part was worse, by up to .07 of P@1."""
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
    heard = torch.nonzero(level > level.amax() - below)[:, 0]
    gaps = torch.cat([heard[1:], heard[:1] + loudness.shape[0]]) - heard
    longest = int(gaps.argmax())
    if int(gaps[longest]) == 1:
        return loudness
    first = int(heard[(longest + 1) % heard.shape[0]])
    return loudness.roll(-first, 0)[: loudness.shape[0] - int(gaps[longest]) + 1]


class Course(nn.Module):
    """The course of a sound: MFCC of what sounds, at 8 moments from its beginning to its end, however long that takes.

    What tells one word from another. Shape: [F, M] to [8 * 20].
    """

    MOMENTS = 8
    BELOW = 0.75  # 15 dB: consonants stay, room and breath go

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        self.moments = 8
        self.register_buffer("dct", create_dct(N_COEFFICIENTS, n_mels, norm="ortho"))
        self.dct: Tensor

    def forward(self, loudness: Tensor) -> Tensor:
        cepstrum = sounding(loudness.clamp(min=FLOOR), 0.75) @ self.dct
        if cepstrum.shape[0] < 2 * self.moments:
            cepstrum = interpolate(cepstrum.T[None], size=2 * self.moments, mode="linear", align_corners=True)[0].T
        frames = cepstrum.shape[0]
        centres = torch.linspace(0, frames - 1, self.moments, device=loudness.device)
        away = (torch.arange(frames, device=loudness.device) - centres[:, None]).abs()
        weights = (1 - away * (self.moments / frames)).clamp(min=0)
        return ((weights / weights.sum(dim=1, keepdim=True)) @ cepstrum).flatten()
