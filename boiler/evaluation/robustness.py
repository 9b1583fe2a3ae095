"""Robustness: how often an altered sound still finds its original.

The first window of an item is altered, embedded and used as a query; the original should be the first result. A
listener would call the altered sound the same (louder, after a lossy codec, starting a second later), so its embedding
should hardly change.

Sounds are float32, mono, at the sampling rate of the index; lossy files are encoded at their usual rates.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast

import av
import numpy as np
import soxr

from boiler.arrays import Float32Array, batches
from boiler.audio import stream as stream_module
from boiler.audio.windows import DEFAULT_WINDOWS, SAMPLE_RATE_HZ, WindowSpec, fill_window
from boiler.evaluation.metrics import Interval, bootstrap_intervals
from boiler.evaluation.ranking import Collection

Alteration = Callable[[Float32Array, np.random.Generator, int], Float32Array]
"""Samples [T], a random generator and the sampling rate in Hz, to altered samples."""
Embed = Callable[[Float32Array], Float32Array]
"""Windows float32 [B, T] to unit vectors [B, D]."""

NOISE_DB = 20.0
CLIPPED_BY_DB = 3.0
SHIFT_S = 1.0
LEAD_IN_S = 0.5
TAIL_S = 2.0
OFFSET = 0.3
CLICK_S = 0.0005
TIE = 1e-6  # cosines that differ by less are equal
_BATCH = 8  # sounds altered and embedded together: ten windows each, 40 MB


def gain(by_db: float) -> Alteration:
    """Change the level by `by_db` without clipping: float samples may exceed 1."""
    return lambda samples, *_: np.asarray(samples * 10 ** (by_db / 20), np.float32)


def white_noise(samples: Float32Array, rng: np.random.Generator, _: int = SAMPLE_RATE_HZ) -> Float32Array:
    """Add white noise, `NOISE_DB` below the mean power of the sound."""
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    noise = rng.standard_normal(len(samples)) * np.sqrt(power / 10 ** (NOISE_DB / 10))
    return np.asarray(samples + noise, np.float32)


def clip_peaks(samples: Float32Array, *_: object) -> Float32Array:
    """Clip at `CLIPPED_BY_DB` below the peak."""
    peak = float(np.abs(samples).max(initial=0)) * 10 ** (-CLIPPED_BY_DB / 20)
    return np.clip(samples, -peak, peak)


def circular_shift(samples: Float32Array, _: np.random.Generator, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Float32Array:
    """Start `SHIFT_S` later and append the skipped part: dropping it would leave nothing of a short sound."""
    return np.roll(samples, -round(SHIFT_S * sample_rate_hz))


def leading_silence(
    samples: Float32Array, _: np.random.Generator, sample_rate_hz: int = SAMPLE_RATE_HZ
) -> Float32Array:
    """Prepend `LEAD_IN_S` of silence."""
    return np.concatenate([np.zeros(round(LEAD_IN_S * sample_rate_hz), np.float32), samples])


def trailing_silence(
    samples: Float32Array, _: np.random.Generator, sample_rate_hz: int = SAMPLE_RATE_HZ
) -> Float32Array:
    """`TAIL_S` of digital silence at the end."""
    return np.concatenate([samples, np.zeros(round(TAIL_S * sample_rate_hz), np.float32)])


def dc_offset(samples: Float32Array, *_: object) -> Float32Array:
    """`OFFSET` times the peak, added to every sample."""
    return np.asarray(samples + OFFSET * np.abs(samples).max(initial=0), np.float32)


def click(samples: Float32Array, _: np.random.Generator, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Float32Array:
    """The first `CLICK_S` at full scale, or at the peak of a sound that exceeds it: badly cut."""
    n = round(CLICK_S * sample_rate_hz)
    return np.concatenate([np.full(n, max(1.0, float(np.abs(samples).max(initial=0))), np.float32), samples[n:]])


def band_limit(samples: Float32Array, _: np.random.Generator, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Float32Array:
    """Resample to 8 kHz and back, which removes everything above 4 kHz."""
    low = soxr.resample(samples, sample_rate_hz, 8000, quality="HQ")
    return np.asarray(soxr.resample(low, 8000, sample_rate_hz, quality="HQ"), np.float32)


def codec_round_trip(codec: str, container: str, rate_hz: int, bit_rate: int) -> Alteration:
    """Encode and decode again, in memory."""

    def alter(samples: Float32Array, _: np.random.Generator, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Float32Array:
        file = encode_lossy(samples, codec, container, rate_hz, bit_rate, sample_rate_hz)
        return stream_module.load(file, sample_rate_hz=sample_rate_hz)

    return alter


def encode_lossy(
    samples: Float32Array,
    codec: str,
    container: str,
    rate_hz: int,
    bit_rate: int,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
) -> bytes:
    """The bytes of a lossy file. A sound whose peak exceeds 1 is scaled to a peak of 1, since integers would clip."""
    peak = max(1.0, float(np.abs(samples).max(initial=0)))
    sound = soxr.resample(samples / np.float32(peak), sample_rate_hz, rate_hz, quality="HQ")
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = cast(av.AudioStream, out.add_stream(codec, rate=rate_hz, layout="mono", bit_rate=bit_rate))
        integers = np.clip(sound * 32767, -32768, 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(integers[None, :], format="s16", layout="mono")
        frame.sample_rate = rate_hz
        resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate_hz)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))
    return file.getvalue()


ALTERATIONS: dict[str, Alteration] = {
    "as it is": lambda samples, *_: samples,
    "gain -12 dB": gain(-12),
    "gain +12 dB": gain(+12),
    "white noise at 20 dB": white_noise,
    "clipping by 3 dB": clip_peaks,
    "shift by 1 s": circular_shift,
    "lead-in silence of 0.5 s": leading_silence,
    "trailing silence of 2 s": trailing_silence,
    "DC offset of 0.3": dc_offset,
    "click of 0.5 ms at the start": click,
    "MP3 at 64 kbit/s": codec_round_trip("libmp3lame", "mp3", 44_100, 64_000),
    "Opus at 32 kbit/s": codec_round_trip("libopus", "ogg", 48_000, 32_000),
    "8 kHz": band_limit,
}
"""Alterations by their names in the report. The first changes nothing: it shows that the query is the indexed
window."""


@dataclass(frozen=True)
class Robustness:
    """One alteration, over all queries: how often the original is the first result, its rank (1 is first; of results at
    the same distance the mean), and the cosine between the altered sound and the original."""

    n_sounds: int
    first: Interval
    median_rank: float
    worst_rank: int
    mean_cosine: float
    lowest_cosine: float


def measure_alterations(
    collection: Collection,
    numbers: Sequence[int],
    originals: Float32Array,
    sounds: Iterable[Float32Array],
    embed: Embed,
    spec: WindowSpec = DEFAULT_WINDOWS,
    *,
    seed: int = 0,
    advance: Callable[[int], None] | None = None,
) -> dict[str, Robustness]:
    """Query the collection with each sound under each of `ALTERATIONS`.

    Arguments:
        numbers: the items of the collection that the sounds belong to.
        originals: vectors [Q, D] of the same windows, as indexed.
        sounds: the samples of those windows, at most one window each, at the rate of `spec`; consumed one by one.
        embed: the encoder of the collection.
        advance: called with the number of sounds that are done since the last call.
    """
    results: dict[str, list[list[float]]] = {name: [] for name in ALTERATIONS}

    def alter_all(case: tuple[int, Float32Array]) -> Float32Array:
        number, samples = case
        return np.stack(
            [
                fill_window(
                    alter(samples, np.random.default_rng([seed, number]), spec.sample_rate_hz), spec.window_samples
                )
                for alter in ALTERATIONS.values()
            ]
        )

    done = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for batch in batches(zip(numbers, sounds, strict=True), _BATCH):
            # PyAV, soxr and numpy release the GIL, so the codecs of several sounds run in parallel.
            vectors = embed(np.concatenate(list(pool.map(alter_all, batch)))).reshape(len(batch), len(ALTERATIONS), -1)
            for (number, _), queries in zip(batch, vectors, strict=True):
                scores = collection.similarities(queries)
                # Results at the same distance are in random order: a constant encoder finds 1 original in N, not all.
                ahead = (scores > scores[:, number, None] + TIE).sum(1)
                tied = (np.abs(scores - scores[:, number, None]) <= TIE).sum(1) - 1
                cosines = queries @ originals[done]
                for name, *found in zip(
                    ALTERATIONS, 1 + ahead + tied / 2, (ahead == 0) / (1 + tied), cosines, strict=True
                ):
                    results[name].append(found)
                done += 1
            if advance is not None:
                advance(len(batch))
    return {name: _summary(pairs, seed) for name, pairs in results.items() if pairs}


def _summary(results: list[list[float]], seed: int) -> Robustness:
    """`results`: rank, whether it is the first, and cosine of each query."""
    ranks, is_first, cosines = np.array(results, np.float64).T
    first = bootstrap_intervals({"first": is_first}, seed=seed)["first"]
    return Robustness(
        n_sounds=len(results),
        first=first,
        median_rank=float(np.median(ranks)),
        worst_rank=math.ceil(ranks.max()),
        mean_cosine=float(cosines.mean()),
        lowest_cosine=float(cosines.min()),
    )
