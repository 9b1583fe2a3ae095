"""Finds where in a long recording a short sound occurs, by cross-correlation.

Both are whitened by the spectrum of the recording, half a minute at a time, which makes this the optimal detector of a
known sound in noise with a known spectrum (the matched filter, North 1943): frequencies at which the recording is loud
have little weight, and the sum over a second of sound detects signals below the noise. The peak is a few samples wide.

It finds the *same* sound, such as a sample that was mixed into a track: louder or quieter, with inverted phase, masked
by other sounds, through another codec or equaliser. It does not find other takes of the sound, nor a copy played at
another speed; a search by windows does.

>>> random = np.random.default_rng(0)
>>> query = random.normal(size=8_000).astype(np.float32)
>>> recording = random.normal(size=80_000).astype(np.float32)
>>> recording[32_000:40_000] += 0.5 * query  # 6 dB below the rest
>>> [match.start_s for match in find_occurrences(Pattern(query), [recording])]
[2.0]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy.fft

from boiler.arrays import Complex64Array, Float32Array
from boiler.audio.windows import SAMPLE_RATE_HZ, Samples

MIN_S, MAX_S = 0.05, 60.0
"""Minimum and maximum duration of the query. The peak of a shorter one is not higher than those of chance."""
MIN_CORRELATION = 0.12
"""Sounds that only resemble the query, another bell or kick, stay below it (up to .10 was seen)."""
MIN_CERTAINTY = 8.0
"""In standard deviations of the correlation in noise. The maximum over an hour of Gaussian noise, 58 million positions,
is 5.5, and real noise is not Gaussian."""
SURE_CORRELATION = 0.5
"""Above this the noise is ignored, because it cannot be estimated from a recording hardly longer than the query."""
MAX_CERTAINTY = 1_000.0
"""If the rest of a recording is digital silence, there is no noise to compare with."""
MIN_GAIN_DB = -40.0
"""Matches quieter than that, relative to the query, are chance similarities in near-silence."""
MIN_APART = 0.9  # of the query's length: closer matches are one, with side peaks a period away
MAX_PER_BLOCK = 16  # matches; if there are more, the best
_BLOCK = 1 << 18
_SMOOTH_HZ = 60.0  # bandwidth of the smoothing of the spectrum
_FLOOR = 1e-2  # of the mean power, so that empty bands (above a codec's cutoff) are not amplified
_GRAIN = 16  # samples per step of the running energy
_EDGE = 1e-3  # of the peak: both ends of the query below that are ignored


@dataclass(frozen=True, slots=True)
class PatternMatch:
    """One occurrence of the query.

    start_s: where the query starts in the recording
    correlation: 0 to 1; its square is the fraction of the energy there that is due to the query
    certainty: the correlation in standard deviations of its noise
    gain_db: level relative to the query
    """

    start_s: float
    correlation: float
    certainty: float
    gain_db: float


class Pattern:
    """A query. `samples` [T], mono at `sample_rate_hz`, which is also the rate of the recordings.

    Raises: ValueError: shorter than MIN_S or longer than MAX_S, or silent.
    """

    def __init__(self, samples: Samples, sample_rate_hz: int = SAMPLE_RATE_HZ) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.duration_s = len(samples) / sample_rate_hz
        loud = np.flatnonzero(np.abs(samples) > _EDGE * np.abs(samples).max(initial=0.0))
        if not len(loud):
            raise ValueError("it is silent: there is nothing to search for")
        self.offset = int(loud[0])
        """Samples of near-silence at the start, which are ignored."""
        sounding = samples[self.offset : int(loud[-1]) + 1]
        self.length = len(sounding)
        if not MIN_S <= self.length / sample_rate_hz <= MAX_S:
            sounds_s = f"{self.length / sample_rate_hz:.2f}"
            raise ValueError(f"it is {sounds_s} s long without silence: {MIN_S:g} to {MAX_S:g} s are allowed")
        # A power of two of at least twice the query's length, so that blocks overlap by half at most.
        self.block = max(_BLOCK, 1 << (2 * self.length - 1).bit_length())
        self.spectrum = np.conj(scipy.fft.rfft(sounding.astype(np.float32) / np.abs(sounding).max(), self.block))
        self.scale = float(np.abs(sounding).max())


def find_occurrences(pattern: Pattern, blocks: Iterable[Samples]) -> list[PatternMatch]:
    """Every occurrence of the whole query, in order of time; if some overlap, only the best of them.

    `blocks`: the recording at the rate of the pattern, in blocks of any length; memory does not grow with its length.
    """
    found: list[PatternMatch] = []
    apart_s = MIN_APART * pattern.length / pattern.sample_rate_hz
    for first, part in _overlapping(blocks, pattern.block, pattern.length):
        for one in _in_block(pattern, first, part, apart_s):
            if found and one.start_s - found[-1].start_s < apart_s:
                if one.correlation > found[-1].correlation:
                    found[-1] = one
            else:
                found.append(one)
    return found


def _overlapping(blocks: Iterable[Samples], size: int, length: int) -> Iterator[tuple[int, Samples]]:
    """Overlapping parts of `size` samples with their positions: at every position, the query fits into one of them."""
    held = np.empty(size, np.float32)
    n_held = first = 0
    for block in blocks:
        at = 0
        while at < len(block):
            taken = min(len(block) - at, size - n_held)
            held[n_held : n_held + taken] = block[at : at + taken]
            n_held, at = n_held + taken, at + taken
            if n_held == size:
                yield first, held
                first += size - length + 1
                n_held = length - 1
                held[:n_held] = held[size - n_held :].copy()
    if n_held >= length:
        yield first, held[:n_held]


def _in_block(pattern: Pattern, first: int, part: Samples, apart_s: float) -> list[PatternMatch]:
    places = len(part) - pattern.length + 1
    if not part.any():
        return []
    spectrum = scipy.fft.rfft(part, pattern.block)
    weights = _whitening(spectrum, pattern.sample_rate_hz)
    spectrum *= weights
    sought = pattern.spectrum * weights
    correlation = scipy.fft.irfft(spectrum * sought, pattern.block)[:places]
    energy = _running_energy(scipy.fft.irfft(spectrum, pattern.block)[: len(part)], pattern.length)
    energy_sought = 2 * float(np.vdot(sought, sought).real) / pattern.block
    height = np.abs(correlation) / np.sqrt(energy * energy_sought)
    noise = float(np.median(height[:: max(1, places // 8_192)])) / 0.6745
    found = []
    apart = round(apart_s * pattern.sample_rate_hz)
    for _ in range(MAX_PER_BLOCK):
        at = int(height.argmax())
        if height[at] < min(max(MIN_CERTAINTY * noise, MIN_CORRELATION), SURE_CORRELATION):
            break
        gain_db = 20 * float(np.log10(abs(float(correlation[at])) / energy_sought / pattern.scale))
        start_s = (first + at - pattern.offset) / pattern.sample_rate_hz
        # Whitening spreads energy beyond the edges, which can push it above 1.
        strength = min(float(height[at]), 1.0)
        if gain_db >= MIN_GAIN_DB:
            certainty = float(height[at]) / max(noise, float(height[at]) / MAX_CERTAINTY)
            found.append(PatternMatch(start_s, strength, certainty, gain_db))
        height[max(0, at - apart) : at + apart + 1] = 0
    return sorted(found, key=lambda one: one.start_s)


def _whitening(spectrum: Complex64Array, sample_rate_hz: int) -> Float32Array:
    """One over the smoothed magnitude. Shape: [F] to [F]."""
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    band = max(1, round(_SMOOTH_HZ * 2 * len(spectrum) / sample_rate_hz))
    bands = np.add.reduceat(power, np.arange(0, len(power), band), dtype=np.float64)
    bands /= np.diff(np.append(np.arange(0, len(power), band), len(power)))
    middle = np.minimum((np.arange(len(bands)) + 0.5) * band, len(power) - 1)
    weights = 1 / np.sqrt(bands + _FLOOR * bands.mean())
    # Interpolated: steps from band to band would ring through the whole block.
    smooth: Float32Array = np.interp(np.arange(len(power)), middle, weights).astype(np.float32)
    return smooth


def _running_energy(samples: Float32Array, length: int) -> Float32Array:
    """The energy of `length` samples from each position on, in steps of `_GRAIN`. Shape: [T] to [T - length + 1]."""
    places = len(samples) - length + 1
    grains = -(-len(samples) // _GRAIN)
    padded = np.zeros(grains * _GRAIN, np.float32)
    np.square(samples, out=padded[: len(samples)])
    sums = np.concatenate(([0.0], np.cumsum(padded.reshape(grains, _GRAIN).sum(axis=1), dtype=np.float64)))
    begins = np.arange(-(-places // _GRAIN))
    energy = sums[np.minimum(begins + max(1, length // _GRAIN), grains)] - sums[begins]
    # A floor, so that near-silence does not match near-silence.
    energy += _FLOOR * energy.mean()
    return np.repeat(energy.astype(np.float32), _GRAIN)[:places]
