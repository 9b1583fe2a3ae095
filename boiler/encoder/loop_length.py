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
SHORTEST_COPY = 64
"""The copy that is cut off at the end is at least this part of the window: a few samples are repeated by chance."""
STEPS = 2.0**24
"""So many steps a sample is counted in, up to the loudest."""
FACTOR = 1_664_525
ADDEND = 1_013_904_223
"""Of a generator modulo 2**32; any odd numbers without a pattern would do."""


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


def clip_lengths(
    waveform: Tensor,
    shortest_copy: int = SHORTEST_COPY,
    steps: float = STEPS,
    factor: int = FACTOR,
    addend: int = ADDEND,
) -> Tensor:
    """The fewest samples P of which each window is an exact repetition; its length when it is none.

    Shape: float [N, 1, T] to int64 [N]. One computation for all windows and every P, without a loop over either, so it
    traces and exports; on a processor `periods` is four times as fast. A square wave is as long as its period, where
    `periods` gives up. A clip but for its last 64th part repeated counts as one clip, and so does one whose
    copy is silent.

    >>> clip = torch.randn(1000)
    >>> clip_lengths(clip.repeat(9)[None, None, :8192])
    tensor([1000])
    """
    samples = waveform[:, 0].float()
    n_samples = samples.shape[1]
    places = torch.arange(n_samples, device=samples.device)[None]
    loudness = samples.abs()
    peak = loudness.amax(dim=1, keepdim=True).clamp(min=1e-30)
    counted = (samples * (steps / peak)).int()
    # A window repeats after P samples when what follows its first P is what precedes its last P. Hashes tell that for
    # every P at once: the sum of a number that equal samples share, times a power for its place, modulo 2**32. Equal
    # parts have equal hashes, so no repetition is missed. The sample on either edge rules out most chance; what is
    # left is compared in full.
    powers = torch.full_like(counted[:1], factor).cumprod(1, dtype=torch.int32)
    sums = ((counted * factor + addend) * counted * powers).cumsum(1, dtype=torch.int32)
    before = sums[:, :-1]  # of the first P samples, P = 1 ... T - 1
    repeats = (sums[:, -1:] - before) == before.flip(1) * powers[:, :-1]
    repeats = repeats & (samples[:, 1:] == samples[:, :1]) & (samples[:, :-1] == samples[:, -1:]).flip(1)
    last_loud = torch.where(loudness > 0, places, 0).amax(dim=1, keepdim=True)
    longest = torch.where(last_loud > 0, last_loud, n_samples - 1).clamp(max=n_samples - n_samples // shortest_copy)
    clip = torch.where(repeats & (places[:, 1:] <= longest), places[:, 1:], n_samples).amin(dim=1, keepdim=True)
    earlier = samples.gather(1, (places - clip).clamp(min=0))
    exact = ((earlier == samples) | (places < clip)).all(dim=1)
    return torch.where(exact, clip[:, 0], n_samples)
