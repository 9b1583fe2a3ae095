"""The length of a clip that was repeated to fill its window.

A clip shorter than a window is repeated, sample for sample, and the encoder gets the window only. The last copy is
truncated, so an average over the window gives the beginning of the clip more weight than its end. Because the
repetition is exact, the length of the clip can be recovered exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEEDLE_SAMPLES = 16
"""Length of the sequence that is searched for. A shorter one matches by chance, a longer one takes more time."""
MAX_CANDIDATES = 256
"""Matches that are verified, of those in the parts that are searched. Where none of so many is a repetition, the window
counts as one clip."""
FEW_PLACES = 256
"""Where the first sample of a needle is found in at most so many places, its other samples are compared at once, else
one after another."""
SHORTEST_COPY = 64
"""The truncated last copy is at least 1 / `SHORTEST_COPY` of the window: a few samples repeat by chance."""
LEVELS = 2.0**24
"""Number of quantisation levels of samples for hashing, relative to the peak."""
SEARCHED_SAMPLES = 2**15
"""Samples that are searched at once, those before the needle first: few enough for the cache of a core."""
ROW_SAMPLES = 256
"""Samples of which the extreme is computed, to search only where it is that of the needle."""
MANY_ROWS = 16
"""With more rows of that extreme, all samples are searched, as many at once as above."""
FEW_SAMPLES = 1024
"""Samples that are compared first: what does not repeat nearly always differs in them."""
FACTOR = 1_664_525
ADDEND = 1_013_904_223
"""Constants of a linear congruential generator modulo 2**32; any irregular odd numbers would do."""


def loop_lengths(waveform: Tensor) -> list[int]:
    """`loop_length` of each window. Shape: float [N, 1, T]. Scriptable."""
    return [loop_length(window[0]) for window in waveform]


def loop_length(
    waveform: Tensor,
    needle_samples: int = NEEDLE_SAMPLES,
    max_candidates: int = MAX_CANDIDATES,
    searched_samples: int = SEARCHED_SAMPLES,
    row_samples: int = ROW_SAMPLES,
) -> int:
    """The smallest P such that `waveform` is its first P samples repeated; T if there is none. Scriptable.

    A repetition shorter than the last 64th of the window may be missed.

    Shape: float [T], T more than `needle_samples`.

    >>> clip = torch.randn(1000)
    >>> loop_length(clip.repeat(9)[:8192])
    1000
    """
    length = waveform.shape[0]
    # The end of a repeated clip is a copy of samples before it. The needle is taken at the loudest position near the
    # end: loud samples match few others, silence matches many. If that fails, a longer end is tried. Of equally loud
    # positions it is the last, since before the first there is no copy.
    for part in [64, 8, 1]:  # a tuple would be unrolled, without `continue`
        end = max(length // part, needle_samples)
        loudest_at = length - 1 - int(waveform[length - end :].abs().flip(0).argmax())
        # Digital silence matches itself everywhere: a clip that ends with it would take a hundred times as long.
        if float(waveform[loudest_at]) == 0.0:
            if part == 1:
                return 1  # all of it is silent
            continue
        needle_at = min(loudest_at, length - needle_samples)
        loudest_from = length - end if needle_at == loudest_at else length
        needle = waveform[needle_at : needle_at + needle_samples]
        n_left = max_candidates
        for start, past in places_to_search(waveform, needle_at, loudest_from, searched_samples, row_samples):
            places = needle_places(waveform[start : past - 1 + needle_samples], needle)
            for index in range(min(places.shape[0], n_left)):
                shift = needle_at - start - int(places[-1 - index])
                if is_same(waveform[shift:], waveform[: length - shift]):
                    return shift
            n_left -= places.shape[0]
            if n_left < 0:
                break
        if n_left >= 0:  # all candidates were verified
            return length
    return length


def places_to_search(
    waveform: Tensor,
    needle_at: int,
    loudest_from: int,
    searched_samples: int = SEARCHED_SAMPLES,
    row_samples: int = ROW_SAMPLES,
    many_rows: int = MANY_ROWS,
) -> list[tuple[int, int]]:
    """The parts of a window in which an earlier copy of the needle may begin, the last first: starts and ends.

    No sample from `loudest_from` on is louder than the one at `needle_at`. If that is at least a row away from both
    ends, no sample within a row of its copies is louder either: they are only in rows whose extreme it is, and one pass
    over the window finds these rows. Scriptable.
    """
    parts: list[tuple[int, int]] = []
    if needle_at - row_samples >= loudest_from and needle_at + row_samples <= waveform.shape[0]:
        first = needle_at % row_samples
        rows = waveform[first:needle_at].reshape(-1, row_samples)
        loudest = waveform[needle_at]
        extremes = rows.amax(dim=1) if float(loudest) > 0 else rows.amin(dim=1)
        found = (extremes == loudest).nonzero()[:, 0]
        if found.shape[0] <= many_rows:
            starts: list[int] = (first + row_samples * found.flip(0)).tolist()
            parts = [(start, start + row_samples) for start in starts]
            if first > 0:
                parts.append((0, first))
            return parts
    past = needle_at
    while past > 0:
        start = max(past - searched_samples, 0)
        parts.append((start, past))
        past = start
    return parts


def needle_places(samples: Tensor, needle: Tensor, few: int = FEW_PLACES) -> Tensor:
    """The places in the samples where the needle begins, ascending. Scriptable.

    Shape: float [T] and [n], n at most T, to int64 [m].
    """
    firsts = samples[: samples.shape[0] - needle.shape[0] + 1]
    # Into numbers: torch has no vector instructions for comparisons into booleans.
    found = torch.eq(firsts, needle[0], out=torch.empty_like(firsts))
    if float(found.amax()) == 0.0:
        return torch.empty(0, dtype=torch.int64, device=samples.device)
    places = found.nonzero()[:, 0]
    if places.shape[0] <= few:
        offsets = torch.arange(needle.shape[0], device=samples.device)
        return places[(samples[places[:, None] + offsets] == needle).all(dim=1)]
    for offset in range(1, needle.shape[0]):
        places = places[samples[places + offset] == needle[offset]]
    return places


def is_same(samples: Tensor, others: Tensor, few: int = FEW_SAMPLES) -> bool:
    """Whether finite samples equal others, in less time than `torch.equal` where they do. Shape: float [T]. Scriptable.

    Of those behind the first `few`, what differs by 1e-23 or less in all is equal.
    """
    return torch.equal(samples[:few], others[:few]) and float(torch.dist(samples[few:], others[few:])) == 0.0


def clip_lengths(
    waveform: Tensor,
    shortest_copy: int = SHORTEST_COPY,
    levels: float = LEVELS,
    factor: int = FACTOR,
    addend: int = ADDEND,
) -> Tensor:
    """`loop_lengths` as one computation over all windows and every P, without a loop, so that it traces and exports.

    On a CPU `loop_lengths` is four times as fast. A repetition that is silent or shorter than the last 64th of the
    window is not counted.

    Shape: float [N, 1, T] to int64 [N].

    >>> clip = torch.randn(1000)
    >>> clip_lengths(clip.repeat(9)[None, None, :8192])
    tensor([1000])
    """
    samples = waveform[:, 0].float()
    n_samples = samples.shape[1]
    places = torch.arange(n_samples, device=samples.device)[None]
    loudness = samples.abs()
    peak = loudness.amax(dim=1, keepdim=True).clamp(min=1e-30)
    quantised = (samples * (levels / peak)).int()
    # A window repeats after P samples if all but its first P samples equal all but its last P. Hashes decide that for
    # every P at once: the sum over samples of a number made from the sample, times a power for its position, modulo
    # 2**32. Equal parts have equal hashes, so no repetition is missed. Comparing the samples at both ends rules out
    # most collisions; the P that remains is verified in full.
    if torch.compiler.is_exporting():  # ONNX has no cumulative product
        powers = torch.full_like(quantised[:1, :1], factor)
        while powers.shape[1] < n_samples:
            powers = torch.cat([powers, powers * powers[:, -1:]], dim=1)
        powers = powers[:, :n_samples]
    else:
        powers = torch.full_like(quantised[:1], factor).cumprod(1, dtype=torch.int32)
    sums = ((quantised * factor + addend) * quantised * powers).cumsum(1, dtype=torch.int32)
    before = sums[:, :-1]  # of the first P samples, P = 1 ... T - 1
    repeats = (sums[:, -1:] - before) == before.flip(1) * powers[:, :-1]
    repeats = repeats & (samples[:, 1:] == samples[:, :1]) & (samples[:, :-1] == samples[:, -1:]).flip(1)
    last_loud = torch.where(loudness > 0, places, 0).amax(dim=1, keepdim=True)
    longest = torch.where(last_loud > 0, last_loud, n_samples - 1).clamp(max=n_samples - n_samples // shortest_copy)
    clip = torch.where(repeats & (places[:, 1:] <= longest), places[:, 1:], n_samples).amin(dim=1, keepdim=True)
    earlier = samples.gather(1, (places - clip).clamp(min=0))
    exact = ((earlier == samples) | (places < clip)).all(dim=1)
    return torch.where(exact, clip[:, 0], n_samples)
