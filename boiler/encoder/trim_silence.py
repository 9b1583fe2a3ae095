"""Removes the silence before and after a clip, so that padding does not change its vector.

A short clip is repeated to fill the window. Pooled over the window, half a second of silence before a drum would count
as much as the drum. Measured on `JoinedVQVAE` (exp/records/training.md): of 100 spoken digits padded with half a second
of silence, 93 have the unpadded digit as first result instead of 34; unpadded sounds give the same results as before.
"""

from __future__ import annotations

import torch
from torch import Tensor

MIN_FRAMES = 4
"""Clips with fewer frames above silence, such as clicks, are not changed."""


def trim_silence(
    loudness: Tensor, lengths: list[int], silence: float, hop_samples: int, min_frames: int = MIN_FRAMES
) -> Tensor:
    """Replace the clip in each window by the clip without the silence at its ends, repeated. Scriptable.

    Arguments:
        loudness: log-mel of windows with a repeated clip
        lengths: samples of each clip (`boiler.encoder.loop_length`)
        silence: a frame is silent when no band exceeds this log-mel value; the last one, which reaches into the next
            copy of the clip, also when the one before it is silent
        hop_samples: samples from frame to frame
        min_frames: windows with fewer frames that are not silent are returned unchanged
    Shape: [N, 1, M, F] to [N, 1, M, F].
    """
    frames = loudness.shape[3]
    windows: list[Tensor] = []
    for window, length in zip(loudness, lengths):  # noqa: B905  # TorchScript does not know strict
        clip = window[:, :, : min(frames, (length + hop_samples - 1) // hop_samples)]
        first, past = audible_span(clip[0], length, silence, hop_samples)
        if past - first >= min_frames:
            clip = clip[:, :, first:past]
            times = (frames + clip.shape[2] - 1) // clip.shape[2]
            windows.append(clip.repeat(1, 1, times)[:, :, :frames])
        else:
            windows.append(window)
    return torch.stack(windows)


def audible_span(clip: Tensor, length: int, silence: float, hop_samples: int) -> tuple[int, int]:
    """The first frame that is not silent and the one after the last; both 0 if all are silent. See `trim_silence`.

    Shape: log-mel [M, F] of a clip of `length` samples.
    """
    audible = clip.amax(dim=0) > silence
    frames = audible.shape[0]
    if frames > 1 and length < frames * hop_samples:
        audible[frames - 1] = audible[frames - 1] & audible[frames - 2]
    places = torch.nonzero(audible)[:, 0]
    if places.shape[0] == 0:
        return 0, 0
    return int(places[0]), int(places[-1]) + 1


def trim_silence_batch(
    loudness: Tensor, lengths: Tensor, silence: float, hop_samples: int, min_frames: int = MIN_FRAMES
) -> Tensor:
    """`trim_silence` as one computation for all windows, which traces and exports. `lengths`: int64 [N]."""
    frames = loudness.shape[3]
    counts = torch.div(lengths + hop_samples - 1, hop_samples, rounding_mode="floor").clamp(max=frames)
    first, width = audible_span_batch(loudness[:, 0], counts, lengths, silence, hop_samples)
    places = torch.arange(frames, device=loudness.device)[None]
    source = torch.where(width >= min_frames, first + places % width.clamp(min=1), places)
    return loudness.gather(3, source[:, None, None].expand(-1, 1, loudness.shape[2], -1))


def audible_span_batch(
    loudness: Tensor, counts: Tensor, lengths: Tensor, silence: float, hop_samples: int
) -> tuple[Tensor, Tensor]:
    """`audible_span` for the first `counts` frames of each: the first one, and how many there are up to the last.

    Shape: [N, M, F], [N] and [N] to two int64 [N, 1].
    """
    frames = loudness.shape[2]
    places = torch.arange(frames, device=loudness.device)[None]
    audible = (loudness.amax(dim=1) > silence) & (places < counts[:, None])
    before = torch.cat([audible[:, :1], audible[:, :-1]], dim=1)
    reaches_over = (places == (counts - 1)[:, None]) & (lengths < counts * hop_samples)[:, None]
    audible = audible & (before | ~reaches_over)
    first = torch.where(audible, places, frames).amin(dim=1, keepdim=True)
    last = torch.where(audible, places, -1).amax(dim=1, keepdim=True)
    return first, last - first + 1
