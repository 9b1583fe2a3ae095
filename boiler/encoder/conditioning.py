"""Removes from a clip what is no part of its sound: a DC offset, and a click where it was cut.

A window is normalised by its peak, so that a full-scale click of half a millisecond at the start would make the sound
quiet; and a DC offset raises the peak and the lowest band. The mean of the clip is subtracted, and each copy of the
clip in the window is faded in over `FADE_S`, as samplers do. Measured on 40 made-up sounds (exp/records/encoders.md).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

FADE_S = 0.003


def fade_samples(sample_rate_hz: int) -> int:
    """Samples of the fade at a sampling rate.

    >>> fade_samples(16_000)
    48
    """
    return round(FADE_S * sample_rate_hz)


def condition(waveform: Tensor, lengths: list[int], fade: int) -> Tensor:
    """Windows without the mean of their clip, each copy of which is faded in. Scriptable.

    Arguments:
        waveform: windows with a repeated clip
        lengths: samples of each clip (`boiler.encoder.loop_length`)
        fade: samples of the fade (`fade_samples`)
    Shape: float [N, 1, T] to float32, the same.
    """
    window_samples = waveform.shape[2]
    windows: list[Tensor] = []
    for window, length in zip(waveform, lengths):  # noqa: B905  # TorchScript does not know strict
        clip = condition_clip(window[0, :length], fade)
        windows.append(clip.repeat((window_samples + length - 1) // length)[:window_samples])
    return torch.stack(windows)[:, None]


def condition_clip(clip: Tensor, fade: int) -> Tensor:
    """`condition` of one clip. Shape: float [T] to float32 [T]. Scriptable."""
    clip = clip.float()
    clip = clip - clip.mean()
    # Half a period of the sine squared, from 0 at the first sample on.
    ramp = (torch.arange(fade, device=clip.device) * (math.pi / 2 / fade)).sin().square()
    clip[:fade] *= ramp[: clip.shape[0]]
    return clip


def condition_batch(waveform: Tensor, lengths: Tensor, fade: int) -> Tensor:
    """`condition` as one computation for all windows, which traces and exports. `lengths`: int64 [N]."""
    sound = waveform[:, 0].float()
    places = torch.arange(sound.shape[1], device=sound.device)[None]
    mean = torch.where(places < lengths[:, None], sound, 0.0).sum(dim=1) / lengths
    gain = (torch.remainder(places, lengths[:, None]).clamp(max=fade) * (math.pi / 2 / fade)).sin().square()
    return ((sound - mean[:, None]) * gain)[:, None]
