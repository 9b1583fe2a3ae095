"""How long a clip really is that was repeated to fill its window.

A short sound reaches an encoder repeated, sample for sample. Whoever averages over the whole window counts the copy that
was cut at the end more than the rest, and whoever looks at its course in time sees a sound that never ends. The
repetition is exact, whatever happened to the sound before, so that the length of the clip can be found exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

ANCHOR_SAMPLES = 16
TRIALS = 256
"""So many places that look like the anchor are tried; beyond (a square wave, say) the window counts as one clip."""


def period(waveform: Tensor) -> int:
    """The fewest samples P of which `waveform` is an exact repetition; its length when it is none.

    Shape: float [T], T more than `ANCHOR_SAMPLES`.

    >>> clip = torch.randn(1000)
    >>> period(clip.repeat(9)[:8192])
    1000
    """
    length = waveform.shape[0]
    # The first place where the sound is loudest: a spot without a like in it, and within the first copy.
    loudness = waveform.abs()
    loudest = torch.nonzero(loudness == loudness.amax())[:, 0]
    anchor = min(int(loudest[0]), length - ANCHOR_SAMPLES)
    alike = torch.ones(length - ANCHOR_SAMPLES - anchor, dtype=torch.bool, device=waveform.device)
    for offset in range(ANCHOR_SAMPLES):
        first = anchor + 1 + offset
        alike = alike & (waveform[first : first + alike.shape[0]] == waveform[anchor + offset])
    for candidate in torch.nonzero(alike)[:TRIALS, 0].tolist():
        shift = int(candidate) + 1
        if torch.equal(waveform[shift:], waveform[: length - shift]):
            return shift
    return length
