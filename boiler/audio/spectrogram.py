"""Pictures of a sound: its waveform as peaks, its spectrogram as a PNG.

Sounds are streamed, in constant memory, and drawn up to 8 kHz, independently of the encoder of the index. It uses numpy
and Pillow; torch is not needed, and plotting libraries share state between threads.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from boiler.arrays import Float32Array
from boiler.audio import stream

MAX_DRAWN_S = 7_200.0  # longer sounds are drawn part by part, because drawing decodes every sample
LOWEST_HZ = 50.0
RANGE_DB = 80.0

_N_FFT = 1_024  # 64 ms at 16 kHz
_CELLS_PER_COLUMN = 4  # so that a column's edge is right to a quarter of its width
_FRAMES_AT_ONCE = 512

# Lightness rises all the way, so that the picture can be read in grey and by colour-blind readers.
_COLOUR_STOPS = (
    (0, 0, 4),
    (45, 17, 96),
    (124, 35, 126),
    (203, 62, 108),
    (248, 130, 91),
    (252, 200, 133),
    (252, 253, 191),
)


class Peaks(NamedTuple):
    """Lowest and highest sample of each column: ``low`` and ``high`` float32 ``[points]``, evenly spaced from
    ``start_s`` to ``end_s``."""

    low: Float32Array
    high: Float32Array
    start_s: float
    end_s: float


def peaks(source: stream.Source, points: int = 800, *, start_s: float = 0.0, end_s: float | None = None) -> Peaks:
    """The lowest and highest sample of each column.

    Arguments:
        source: file or bytes, as in `boiler.audio.stream`
        points: columns, 1 or more
        start_s, end_s: the part, seconds; None is the end
    Raises:
        SoundError: not a sound, or more than `MAX_DRAWN_S` of it
    """
    cell = max(1, _expected_samples(source, start_s, end_s) // (points * _CELLS_PER_COLUMN))
    lows, highs, total = [], [], 0
    for block in _chunks(_stream(source, start_s, end_s), cell):
        starts = np.arange(0, len(block), cell)
        lows.append(np.minimum.reduceat(block, starts))
        highs.append(np.maximum.reduceat(block, starts))
        total += len(block)
    if not total:
        return Peaks(np.zeros(points, np.float32), np.zeros(points, np.float32), start_s, start_s)
    low, high = np.concatenate(lows), np.concatenate(highs)
    edges = np.arange(points) * len(low) // points
    return Peaks(
        np.minimum.reduceat(low, edges),
        np.maximum.reduceat(high, edges),
        start_s,
        start_s + total / stream.SAMPLE_RATE_HZ,
    )


def spectrogram_png(
    source: stream.Source, width: int = 800, height: int = 200, *, start_s: float = 0.0, end_s: float | None = None
) -> bytes:
    """A spectrogram as a PNG of ``width`` x ``height`` pixels: time to the right, frequency upwards from 50 Hz to 8 kHz
    on a logarithmic scale, brightness the level relative to the maximum, down to -80 dB.

    Raises:
        SoundError: not a sound, or more than `MAX_DRAWN_S` of it
    """
    hop = int(np.clip(_expected_samples(source, start_s, end_s) // (2 * width), _N_FFT // 16, _N_FFT))
    bands = _bands(height)
    # Frames of a long sound are averaged in groups: two hours of them would take half a gigabyte.
    frames_per_row = max(1, _expected_samples(source, start_s, end_s) // hop // (_CELLS_PER_COLUMN * width))
    rows = _pooled((spectrum @ bands for spectrum in _spectra(_stream(source, start_s, end_s), hop)), frames_per_row)
    power = _to_columns(np.concatenate(list(rows)), width)
    level_db = 10.0 * np.log10(np.maximum(power, 1e-12))
    shade = (
        np.clip(1.0 + (level_db - level_db.max()) / RANGE_DB, 0.0, 1.0) if power.max() > 1e-9 else np.zeros_like(power)
    )
    image = Image.fromarray(np.ascontiguousarray(np.rint(shade.T[::-1] * 255).astype(np.uint8)), mode=None)
    image.putpalette(_palette())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _stream(source: stream.Source, start_s: float, end_s: float | None) -> Iterator[Float32Array]:
    return stream.stream(source, start_s=start_s, end_s=end_s, limits=stream.Limits(max_seconds=MAX_DRAWN_S))


def _expected_samples(source: stream.Source, start_s: float, end_s: float | None) -> int:
    """An estimate from the header, which can be wrong: it is used for the resolution, never for positions."""
    if end_s is None:
        end_s = stream.probe(source).duration_s
    return max(1, int((min(end_s - start_s, MAX_DRAWN_S)) * stream.SAMPLE_RATE_HZ))


def _chunks(blocks: Iterable[Float32Array], cell: int) -> Iterator[Float32Array]:
    """The same samples in blocks that are multiples of `cell`, except the last."""
    rest = np.zeros(0, np.float32)
    for block in blocks:
        joined = np.concatenate([rest, block])
        whole = len(joined) // cell * cell
        rest = joined[whole:]
        if whole:
            yield joined[:whole]
    if len(rest):
        yield rest


def _spectra(blocks: Iterable[Float32Array], hop: int) -> Iterator[Float32Array]:
    """Power spectra ``[frames, 513]``; frame ``i`` is centred on sample ``i * hop``."""
    window = np.hanning(_N_FFT + 1)[:-1].astype(np.float32)
    edge = np.zeros(_N_FFT // 2, np.float32)

    def padded() -> Iterator[Float32Array]:
        yield edge
        yield from blocks
        yield edge

    rest = np.zeros(0, np.float32)
    for block in padded():
        rest = np.concatenate([rest, block])
        if len(rest) < _N_FFT:
            continue
        frames = np.lib.stride_tricks.sliding_window_view(rest, _N_FFT)[::hop]
        for first in range(0, len(frames), _FRAMES_AT_ONCE):
            spectrum = np.fft.rfft(frames[first : first + _FRAMES_AT_ONCE] * window, axis=1)
            yield (spectrum.real**2 + spectrum.imag**2).astype(np.float32) / window.sum() ** 2
        rest = rest[len(frames) * hop :]


def _pooled(blocks: Iterable[Float32Array], count: int) -> Iterator[Float32Array]:
    """The mean of each `count` rows; of the last ones, of those that are left."""
    rest: Float32Array | None = None
    for block in blocks:
        rest = block if rest is None else np.concatenate([rest, block])
        whole = len(rest) // count * count
        if whole:
            yield rest[:whole].reshape(-1, count, rest.shape[1]).mean(axis=1)
        rest = rest[whole:]
    if rest is not None and len(rest):
        yield rest.mean(axis=0, keepdims=True)


@functools.lru_cache(maxsize=16)
def _bands(height: int) -> Float32Array:
    """Filter bank ``[513, height]``: for each row of pixels a triangle over the bins around its frequency."""
    bin_hz = stream.SAMPLE_RATE_HZ / _N_FFT
    centres = np.geomspace(LOWEST_HZ, stream.SAMPLE_RATE_HZ / 2, height) / bin_hz
    reach = np.maximum(1.0, np.gradient(centres)) if height > 1 else np.array([float(_N_FFT)])
    weights = np.maximum(0.0, 1.0 - np.abs(np.arange(_N_FFT // 2 + 1)[:, None] - centres) / reach)
    return np.asarray(weights / weights.sum(0), np.float32)


def _to_columns(power: Float32Array, width: int) -> Float32Array:
    """``[frames, height]`` to ``[width, height]``: the mean of the frames of a column, or interpolated where there are
    fewer frames than columns."""
    frames = len(power)
    if frames >= width:
        edges = np.arange(width) * frames // width
        return np.asarray(np.add.reduceat(power, edges) / np.diff(edges, append=frames)[:, None], np.float32)
    at = np.linspace(0, frames - 1, width)
    before = np.floor(at).astype(int)
    after = np.minimum(before + 1, frames - 1)
    share = (at - before)[:, None]
    return np.asarray(power[before] * (1 - share) + power[after] * share, np.float32)


@functools.cache
def _palette() -> bytes:
    stops = np.asarray(_COLOUR_STOPS, float)
    at = np.linspace(0, len(stops) - 1, 256)
    return np.rint([np.interp(at, np.arange(len(stops)), stops[:, c]) for c in range(3)]).astype(np.uint8).T.tobytes()
