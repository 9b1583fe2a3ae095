"""How long a clip really is that was repeated to fill its window.

A short sound reaches an encoder repeated, sample for sample. Whoever averages over the whole window counts the
copy that was cut at the end more than the rest, and whoever looks at its course in time sees a sound that never ends.
The repetition is exact, whatever happened to the sound before it, so that the length of the clip can be found exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEEDLE_SAMPLES = 16
"""So many samples in a row are looked for. Fewer are alike too often, more cost time."""
TRIALS = 256
"""So many places that look alike are tried; with more of them (a square wave, say) the window counts as one clip."""


def periods(waveform: Tensor) -> list[int]:
    """`period` of each window. Shape: float [N, 1, T]. Scriptable."""
    return [period(one[0]) for one in waveform]


def period(waveform: Tensor, needle_samples: int = NEEDLE_SAMPLES, trials: int = TRIALS) -> int:
    """The fewest samples P of which `waveform` is an exact repetition; its length when it is none. Scriptable.

    Shape: float [T], T more than `needle_samples`. A clip but for its last 64th part repeated counts as one clip.

    >>> clip = torch.randn(1000)
    >>> period(clip.repeat(9)[:8192])
    1000
    """
    length = waveform.shape[0]
    # What stands at the end is a copy of something, if anything is. Loud places have few likes, silence has many; so
    # the loudest place near the end is looked for, and of a longer end when that is silent or has too many likes.
    for part in (64, 8, 1):
        end = max(length // part, needle_samples)
        place = min(length - end + int(waveform[length - end :].abs().argmax()), length - needle_samples)
        alike = torch.nonzero(waveform[:place] == waveform[place])[:, 0]
        for offset in range(1, needle_samples):
            alike = alike[waveform[alike + offset] == waveform[place + offset]]
        shifts = place - alike.flip(0)
        for index in range(min(shifts.shape[0], trials)):
            shift = int(shifts[index])
            if torch.equal(waveform[shift:], waveform[: length - shift]):
                return shift
        if shifts.shape[0] <= trials:  # all were tried
            return length
    return length
