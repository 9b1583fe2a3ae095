"""Decoding: a file, bytes or a file object to mono float32 samples at a given rate.

Training, indexing, queries and the browser all decode here, so that the same sound is the same samples everywhere:

* `boiler.audio.container` (PyAV) decodes; the format is detected from the content, never from the name.
* **Downmix** is the mean over channels, computed here: FFmpeg's mono is 0.707 (L + R), which is 3 dB too loud.
* **soxr** (HQ) resamples, streaming.
* **Limits** are enforced while streaming, whatever the header claims; memory does not grow with the length.

Integer samples are scaled to [-1, 1); float samples are not changed and may exceed it. Damaged packets are skipped; a
truncated file is decoded as far as it goes. Only errors of `boiler.errors` are raised, with the name of the sound and
the reason. Decoders that crash or hang are handled by `boiler.audio.decoder_pool`.

    >>> samples = load("bird.ogg", start_s=2.0, end_s=4.0)  # doctest: +SKIP
    >>> samples.shape, samples.dtype  # doctest: +SKIP
    ((32000,), dtype('float32'))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import soxr

from boiler.audio.container import Limits, Source, Track, open_track, source_name
from boiler.audio.windows import SAMPLE_RATE_HZ, Samples
from boiler.errors import NotASoundError, SoundError, SoundLimitError

__all__ = [
    "SAMPLE_RATE_HZ",
    "SUFFIXES",
    "UNREAD_SUFFIXES",
    "Limits",
    "Probe",
    "Reader",
    "Samples",
    "Source",
    "load",
    "probe",
    "sample_range",
    "source_name",
    "stream",
    "track_blocks",
]

# File name suffixes that a folder is searched for, in lower case. How a file is decoded depends on its content alone.
SUFFIXES = frozenset(
    {".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".asf", ".au", ".avi", ".bwf", ".caf", ".dsf"}
    | {".eac3", ".flac", ".m4a", ".m4b", ".m4r", ".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4", ".mpga"}
    | {".oga", ".ogg", ".ogv", ".opus", ".rf64", ".snd", ".spx", ".tta", ".w64", ".wav", ".wave", ".weba", ".webm"}
    | {".wma", ".wmv", ".wv"}
)
# Suffixes of sounds that boiler does not read. They are counted and reported at the end of a run.
UNREAD_SUFFIXES = frozenset(
    {".8svx", ".aa", ".aax", ".ape", ".dff", ".dts", ".flv", ".g722", ".gsm", ".m2ts", ".m4p", ".mid", ".midi"}
    | {".mlp", ".mpc", ".mpeg", ".mpg", ".mts", ".ncw", ".ofr", ".ra", ".rex", ".rm", ".rx2", ".sd2", ".sf2"}
    | {".shn", ".sph", ".svx", ".tak", ".thd", ".ts", ".voc", ".vox"}
)

# Decoded before a part, so that the resampler's filter (a few milliseconds) is filled as it is in the whole sound.
WARM_UP_S = 1


@dataclass(frozen=True, slots=True)
class Probe:
    """Properties of a sound. `format`: container and codec, such as `ogg/vorbis`."""

    duration_s: float
    sample_rate_hz: int
    channels: int
    format: str


class Reader(Protocol):
    """Decodes sounds: this module, or `boiler.audio.decoder_pool.Decoders`, which uses worker processes."""

    def load(
        self, source: Source, *, start_s: float = 0.0, end_s: float | None = None, sample_rate_hz: int = SAMPLE_RATE_HZ
    ) -> Samples:
        """`boiler.audio.stream.load`."""

    def stream(
        self, source: Source, *, start_s: float = 0.0, end_s: float | None = None, sample_rate_hz: int = SAMPLE_RATE_HZ
    ) -> Iterator[Samples]:
        """`boiler.audio.stream.stream`."""


def probe(source: Source, limits: Limits | None = None, *, on_block: Callable[[], None] = lambda: None) -> Probe:
    """What the container states about the sound, without decoding it.

    If it does not state a duration, the sound is decoded to measure it; `on_block` is then called after each block of
    about a second, and may raise to stop.

    Raises: NotASoundError, SoundLimitError; what `on_block` raises.
    """
    with open_track(source, limits or Limits()) as track:
        duration_s = track.stated_s
        if duration_s is None:
            n_samples = 0
            for block in track_blocks(track):
                n_samples += len(block)
                on_block()
            duration_s = n_samples / SAMPLE_RATE_HZ
        return Probe(duration_s, track.rate_hz, track.channels, track.format)


def load(
    source: Source,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    limits: Limits | None = None,
) -> Samples:
    """The whole sound, or the part from `start_s` to `end_s` (None: to its end), in one array.

    Shape: float32 [T], mono at `sample_rate_hz`. At 16 kHz a second takes 64 kB: for long sounds use `stream`.

    Raises: as `stream`.
    """
    blocks = stream(source, start_s=start_s, end_s=end_s, sample_rate_hz=sample_rate_hz, limits=limits)
    return np.concatenate(list(blocks))


def stream(
    source: Source,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    limits: Limits | None = None,
) -> Iterator[Samples]:
    """The sound in blocks of about a second, in memory that does not grow with its length.

    A part equals that slice of the whole up to rounding: 2e-7 in lossless formats, 1e-3 in lossy ones. The exception is
    the noise that AAC synthesises (its encoder stores only how loud it is), which differs after a seek. An `end_s`
    beyond the end of the sound is not an error.

    Shape: blocks of float32 [T], mono at `sample_rate_hz`, none of them empty, at least one.

    Raises:
        ValueError: `start_s` is negative, or `end_s` not after it.
        NotASoundError: no such file, empty, too damaged, without sound, or with samples that are NaN or infinite.
        SoundLimitError: longer, wider, faster or slower to decode than the limits allow.
        SoundError: the sound ends before `start_s`.
    """
    part = sample_range(start_s, end_s, sample_rate_hz)  # raises now, not at the first block

    def reading() -> Iterator[Samples]:
        with open_track(source, limits or Limits()) as track:
            yield from _cut(track, *part, sample_rate_hz)

    return reading()


def track_blocks(
    track: Track, *, start_s: float = 0.0, end_s: float | None = None, sample_rate_hz: int = SAMPLE_RATE_HZ
) -> Iterator[Samples]:
    """`stream` of a track that is open already. Raises: as `stream`."""
    return _cut(track, *sample_range(start_s, end_s, sample_rate_hz), sample_rate_hz)


def sample_range(start_s: float, end_s: float | None, sample_rate_hz: int = SAMPLE_RATE_HZ) -> tuple[int, int | None]:
    """The first sample of a part and the one after its last (None: to the end). Raises: ValueError: as `stream`."""
    first = round(start_s * sample_rate_hz)
    last = None if end_s is None else round(end_s * sample_rate_hz)
    if first < 0 or (last is not None and last <= first):
        raise ValueError(
            f"a part of a sound starts at 0 s or later and ends after its start: not {start_s} to {end_s} s"
        )
    return first, last


def _cut(track: Track, first: int, last: int | None, rate_hz: int) -> Iterator[Samples]:
    limits = track.limits
    base_s = 0 if track.is_chained else max(0, first // rate_hz - WARM_UP_S)
    position = base_s * rate_hz
    for block in _resampled(track, base_s, rate_hz):
        begin = max(0, first - position)
        end = len(block) if last is None else min(len(block), last - position)
        if begin < end:
            if position + end - first > limits.max_seconds * rate_hz:
                raise SoundLimitError(track.name, f"it is longer than the {limits.max_seconds:g} s that are allowed")
            yield block[begin:end]
        position += len(block)
        if last is not None and position >= last:
            return
    if position == 0:
        raise NotASoundError(track.name, "nothing in it could be decoded")
    if position <= first:
        raise SoundError(track.name, f"it ends before second {first / rate_hz:g}, where the part starts")


def _resampled(track: Track, from_s: int, rate_hz: int) -> Iterator[Samples]:
    """The track at `rate_hz` from second `from_s` on. Blocks may be empty.

    A whole second is a whole number of samples at every rate, before and after, so the resampler's phase there is the
    one it has in the whole sound.
    """
    nothing = np.empty(0, np.float32)
    current_hz = rate_hz
    resampler: soxr.ResampleStream | None = None

    def resampled(block: Samples, last: bool = False) -> Samples:
        if resampler is None:
            return block
        done = cast(Samples, resampler.resample_chunk(block, last=last))
        if not np.isfinite(done).all():
            raise NotASoundError(track.name, "its samples are too large to be sound")
        return done

    for block_hz, block in track.blocks(from_s):
        if block_hz != current_hz:  # at the start, and where recordings of several rates were concatenated
            yield resampled(nothing, last=True)
            current_hz = block_hz
            resampler = None
            if current_hz != rate_hz:
                resampler = soxr.ResampleStream(current_hz, rate_hz, 1, dtype="float32", quality="HQ")
        yield resampled(block)
    yield resampled(nothing, last=True)
