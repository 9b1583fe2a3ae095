"""Does a sound that was altered on its way still find itself? Alterations, and what they do to rank and cosine.

An item's first window is altered as its whole sound would be, embedded, and asked for: the original should be the
first answer. What is heard is the same to a listener (louder, copied through a lossy format, cut a second later), so
an embedding of how things sound should hardly move.

A sound is float32 mono at the rate of the index; the lossy formats are made from it at the rate at which such files
usually are.
"""

from __future__ import annotations

import io
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
from boiler.evaluation.metrics import Interval, intervals
from boiler.evaluation.ranking import Collection

Alteration = Callable[[Float32Array, np.random.Generator, int], Float32Array]
"""Float32Array [T], a source of chance and the sampling rate in Hz to altered samples."""
Embed = Callable[[Float32Array], Float32Array]
"""Windows float32 [B, T] to unit vectors [B, D]."""

NOISE_DB = 20.0
CLIPPED_BY_DB = 3.0
SHIFT_S = 1.0
LEAD_IN_S = 0.5
_AT_ONCE = 8  # sounds altered and embedded together: ten windows each, 40 MB


def amplified(by_db: float) -> Alteration:
    """Louder or softer. Nothing is clipped: float samples may exceed 1."""
    return lambda samples, *_: np.asarray(samples * 10 ** (by_db / 20), np.float32)


def noisy(samples: Float32Array, draw: np.random.Generator, _: int = SAMPLE_RATE_HZ) -> Float32Array:
    """White noise, `NOISE_DB` below the sound's mean power."""
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    noise = draw.standard_normal(len(samples)) * np.sqrt(power / 10 ** (NOISE_DB / 10))
    return np.asarray(samples + noise, np.float32)


def clipped(samples: Float32Array, *_: object) -> Float32Array:
    """Whatever is within `CLIPPED_BY_DB` of the peak is cut off there."""
    peak = float(np.abs(samples).max(initial=0)) * 10 ** (-CLIPPED_BY_DB / 20)
    return np.clip(samples, -peak, peak)


def shifted(samples: Float32Array, _: np.random.Generator, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Float32Array:
    """Begins `SHIFT_S` later; what stood before comes last. (Cut off, it would leave nothing of a short sound.)"""
    return np.roll(samples, -round(SHIFT_S * sample_rate_hz))


def led_in(samples: Float32Array, _: np.random.Generator, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Float32Array:
    """`LEAD_IN_S` of silence first."""
    return np.concatenate([np.zeros(round(LEAD_IN_S * sample_rate_hz), np.float32), samples])


def narrow(samples: Float32Array, _: np.random.Generator, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Float32Array:
    """Through a sampling rate of 8 kHz: nothing above 4 kHz is left."""
    low = soxr.resample(samples, sample_rate_hz, 8000, quality="HQ")
    return np.asarray(soxr.resample(low, 8000, sample_rate_hz, quality="HQ"), np.float32)


def through(codec: str, container: str, rate_hz: int, bit_rate: int) -> Alteration:
    """Encoded and decoded again, in memory."""

    def alter(samples: Float32Array, _: np.random.Generator, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Float32Array:
        file = encoded(samples, codec, container, rate_hz, bit_rate, sample_rate_hz)
        return stream_module.load(file, sample_rate_hz=sample_rate_hz)

    return alter


def encoded(
    samples: Float32Array,
    codec: str,
    container: str,
    rate_hz: int,
    bit_rate: int,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
) -> bytes:
    """The bytes of a lossy file. A float sound above 1 is brought down to it: integers hold no more."""
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


TABLE: dict[str, Alteration] = {
    "as it is": lambda samples, *_: samples,
    "gain -12 dB": amplified(-12),
    "gain +12 dB": amplified(+12),
    "white noise at 20 dB": noisy,
    "clipping by 3 dB": clipped,
    "shift by 1 s": shifted,
    "lead-in silence of 0.5 s": led_in,
    "MP3 at 64 kbit/s": through("libmp3lame", "mp3", 44_100, 64_000),
    "Opus at 32 kbit/s": through("libopus", "ogg", 48_000, 32_000),
    "8 kHz": narrow,
}
"""What is done to a sound, by its name in the report. The first changes nothing: it shows that the window asked for is
the one that was indexed."""


@dataclass(frozen=True)
class Robustness:
    """One alteration over all sounds asked: how often the original came first, its rank (1 is first) and the cosine
    between the altered sound and the original."""

    n_sounds: int
    first: Interval
    median_rank: float
    worst_rank: int
    mean_cosine: float
    lowest_cosine: float


def measure(
    collection: Collection,
    numbers: Sequence[int],
    originals: Float32Array,
    sounds: Iterable[Float32Array],
    embed: Embed,
    spec: WindowSpec = DEFAULT_WINDOWS,
    *,
    seed: int = 0,
    step: Callable[[int], None] | None = None,
) -> dict[str, Robustness]:
    """Ask the collection for each sound, altered in every way of `TABLE`.

    `numbers` are the items of the collection that the sounds belong to, `originals` [Q, D] the vectors of the same
    windows as indexed, `sounds` the samples of those windows (at most one window each, at the rate of `spec`), read one
    by one.
    """
    found: dict[str, list[tuple[int, float]]] = {name: [] for name in TABLE}

    def altered(case: tuple[int, Float32Array]) -> Float32Array:
        number, samples = case
        return np.stack(
            [
                fill_window(
                    alter(samples, np.random.default_rng([seed, number]), spec.sample_rate_hz), spec.window_samples
                )
                for alter in TABLE.values()
            ]
        )

    done = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for batch in batches(zip(numbers, sounds, strict=True), _AT_ONCE):
            # PyAV, soxr and numpy let go of the interpreter: the codecs of several sounds run at once.
            vectors = embed(np.concatenate(list(pool.map(altered, batch)))).reshape(len(batch), len(TABLE), -1)
            for (number, _), of_sound in zip(batch, vectors, strict=True):
                scores = collection.answers(of_sound)
                ranks = 1 + (scores > scores[:, number, None]).sum(1)
                cosines = of_sound @ originals[done]
                for name, rank, cosine in zip(TABLE, ranks.tolist(), cosines.tolist(), strict=True):
                    found[name].append((rank, cosine))
                done += 1
            if step is not None:
                step(len(batch))
    return {name: _summary(results, seed) for name, results in found.items() if results}


def _summary(results: list[tuple[int, float]], seed: int) -> Robustness:
    ranks, cosines = np.array([rank for rank, _ in results]), np.array([cosine for _, cosine in results])
    first = intervals({"first": (ranks == 1).astype(np.float64)}, seed=seed)["first"]
    return Robustness(
        n_sounds=len(results),
        first=first,
        median_rank=float(np.median(ranks)),
        worst_rank=int(ranks.max()),
        mean_cosine=float(cosines.mean()),
        lowest_cosine=float(cosines.min()),
    )
