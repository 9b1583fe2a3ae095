"""Where in a long recording a short sound occurs: the recording is correlated with it, sample by sample.

Both are whitened by the recording's own spectrum of that half minute, which is what makes this the best detector of a
known sound in noise of a known colour (the matched filter, North 1943): what the recording is full of counts little,
and the sum over a whole second of sound finds what no ear would hear. The peak is as narrow as a few samples.

What is found is *that* sound, as when a sample was mixed into a track: louder or quieter, turned upside down, covered
by others, through another codec or equaliser. Not found are other takes of the same thing, and what was played at
another speed; for those there is a search by windows.

>>> random = np.random.default_rng(0)
>>> sought = random.normal(size=8_000).astype(np.float32)
>>> recording = random.normal(size=80_000).astype(np.float32)
>>> recording[32_000:40_000] += 0.5 * sought  # 6 dB below the rest
>>> [found.start_s for found in occurrences(Pattern(sought), [recording])]
[2.0]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy.fft

from boiler.arrays import Complex64Array, Float32Array
from boiler.audio.windows import SAMPLE_RATE_HZ, Samples

LEAST_S, MOST_S = 0.05, 60.0
"""Of the sound sought. A shorter one has too little in it to be told from chance."""
LEAST_CORRELATION = 0.12
"""Below it are sounds that only resemble the one sought: another bell, another kick (up to .10 was seen)."""
LEAST_CERTAINTY = 8.0
"""So many times the noise of the correlation; the highest of the 58 million places of an hour of Gaussian noise is at
5.5, and real noise is not Gaussian."""
SURE_CORRELATION = 0.5
"""From here on no noise need be known, which a recording hardly longer than the sound does not show."""
MOST_CERTAINTY = 1_000.0
"""Where the rest of a recording is digital silence there is no noise at all to compare with."""
LEAST_GAIN_DB = -40.0
"""What is said to be quieter than that, beside the sound as it was given, is a chance likeness in near-silence."""
OVERLAP = 0.9  # of the sound: nearer to each other are no two of it, but one, and its harmonics a period later
MOST_A_BLOCK = 16  # occurrences; of more than that in half a minute the best
_BLOCK = 1 << 18
_SMOOTH_HZ = 60.0  # the width of a band in which a spectrum counts as flat
_FLOOR = 1e-2  # of the mean power, so that empty bands (above what a codec kept) are not blown up
_GRAIN = 16  # samples whose energy is summed together
_EDGE = 1e-3  # of the peak: what is below that at both ends of the sound sought is not looked for


@dataclass(frozen=True, slots=True)
class Occurrence:
    """`start_s` is where the sound sought begins in the recording. `correlation`: 0 to 1, how much of what sounds there
    is the sound sought (in energy, its square). `certainty`: how many times the noise of the correlation that is.
    `gain_db`: how much louder than the sound sought."""

    start_s: float
    correlation: float
    certainty: float
    gain_db: float


class Pattern:
    """A sound to look for. `samples` [T], mono at `sample_rate_hz`, which is also the rate of the recordings.

    Raises: ValueError: shorter than LEAST_S or longer than MOST_S, or silent.
    """

    def __init__(self, samples: Samples, sample_rate_hz: int = SAMPLE_RATE_HZ) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.duration_s = len(samples) / sample_rate_hz
        loud = np.flatnonzero(np.abs(samples) > _EDGE * np.abs(samples).max(initial=0.0))
        if not len(loud):
            raise ValueError("it is silent: there is nothing to look for")
        self.offset = int(loud[0])
        """Samples of near-silence before the part that is looked for."""
        sounding = samples[self.offset : int(loud[-1]) + 1]
        self.length = len(sounding)
        if not LEAST_S <= self.length / sample_rate_hz <= MOST_S:
            sounds_s = f"{self.length / sample_rate_hz:.2f}"
            raise ValueError(f"it sounds for {sounds_s} s: what is looked for has {LEAST_S:g} to {MOST_S:g} s")
        # A power of two at least twice the sound, so that half of each block at most is looked at again.
        self.block = max(_BLOCK, 1 << (2 * self.length - 1).bit_length())
        self.spectrum = np.conj(scipy.fft.rfft(sounding.astype(np.float32) / np.abs(sounding).max(), self.block))
        self.scale = float(np.abs(sounding).max())


def occurrences(pattern: Pattern, blocks: Iterable[Samples]) -> list[Occurrence]:
    """Every place where the sound occurs whole, in the order of time; of two that overlap the better one.

    `blocks`: the recording, in pieces of any length; memory does not grow with it.
    """
    found: list[Occurrence] = []
    apart_s = OVERLAP * pattern.length / pattern.sample_rate_hz
    for first, part in _overlapping(blocks, pattern.block, pattern.length):
        for one in _in_block(pattern, first, part, apart_s):
            if found and one.start_s - found[-1].start_s < apart_s:
                if one.correlation > found[-1].correlation:
                    found[-1] = one
            else:
                found.append(one)
    return found


def _overlapping(blocks: Iterable[Samples], size: int, length: int) -> Iterator[tuple[int, Samples]]:
    """Parts of `size` samples, each beginning where the last place of the one before ended; and where it begins."""
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


def _in_block(pattern: Pattern, first: int, part: Samples, apart_s: float) -> list[Occurrence]:
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
    for _ in range(MOST_A_BLOCK):
        at = int(height.argmax())
        if height[at] < min(max(LEAST_CERTAINTY * noise, LEAST_CORRELATION), SURE_CORRELATION):
            break
        gain_db = 20 * float(np.log10(abs(float(correlation[at])) / energy_sought / pattern.scale))
        start_s = (first + at - pattern.offset) / pattern.sample_rate_hz
        # What whitening spreads beyond the edges makes 1 a little more.
        strength = min(float(height[at]), 1.0)
        if gain_db >= LEAST_GAIN_DB:
            certainty = float(height[at]) / max(noise, float(height[at]) / MOST_CERTAINTY)
            found.append(Occurrence(start_s, strength, certainty, gain_db))
        height[max(0, at - apart) : at + apart + 1] = 0
    return sorted(found, key=lambda one: one.start_s)


def _whitening(spectrum: Complex64Array, sample_rate_hz: int) -> Float32Array:
    """One over the magnitude of each band. Shape: [F] -> [F]"""
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    band = max(1, round(_SMOOTH_HZ * 2 * len(spectrum) / sample_rate_hz))
    bands = np.add.reduceat(power, np.arange(0, len(power), band), dtype=np.float64)
    bands /= np.diff(np.append(np.arange(0, len(power), band), len(power)))
    middle = np.minimum((np.arange(len(bands)) + 0.5) * band, len(power) - 1)
    weights = 1 / np.sqrt(bands + _FLOOR * bands.mean())
    # Without steps from band to band, which would ring through the whole block.
    smooth: Float32Array = np.interp(np.arange(len(power)), middle, weights).astype(np.float32)
    return smooth


def _running_energy(samples: Float32Array, length: int) -> Float32Array:
    """The energy of the `length` samples from each place on, to `_GRAIN` samples. Shape: [T] -> [T - length + 1]"""
    places = len(samples) - length + 1
    grains = -(-len(samples) // _GRAIN)
    padded = np.zeros(grains * _GRAIN, np.float32)
    np.square(samples, out=padded[: len(samples)])
    sums = np.concatenate(([0.0], np.cumsum(padded.reshape(grains, _GRAIN).sum(axis=1), dtype=np.float64)))
    begins = np.arange(-(-places // _GRAIN))
    energy = sums[np.minimum(begins + max(1, length // _GRAIN), grains)] - sums[begins]
    # Where next to nothing sounds, next to nothing is not a match.
    energy += _FLOOR * energy.mean()
    return np.repeat(energy.astype(np.float32), _GRAIN)[:places]
