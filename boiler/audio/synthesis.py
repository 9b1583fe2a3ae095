"""Synthetic sounds of known kinds, for the demo and for tests: no recordings are needed, and every label is correct.

Sounds of a kind vary widely in pitch, length, level and background noise, so that no loudness, length or single
frequency identifies a kind. The same seed gives the same sounds.

>>> made = synthesize("bell", np.random.default_rng(1))
>>> made.dtype, made.ndim, bool(np.abs(made).max() <= 1)
(dtype('float32'), 1, True)
"""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np

from boiler.arrays import Float32Array, FloatArray
from boiler.errors import UnknownNameError

RATE_HZ = 22_050
"""Not the rate of boiler's encoders, so that the demo has to resample, as with real sounds."""

Random = np.random.Generator


def _times(rng: Random, low_s: float, high_s: float) -> FloatArray:
    """Sample times of a random length, log-uniform between the two."""
    return np.arange(int(_log_uniform(rng, low_s, high_s) * RATE_HZ)) / RATE_HZ


def _log_uniform(rng: Random, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _phase(frequency_hz: FloatArray) -> FloatArray:
    """The running phase, in radians, of a frequency that may change with every sample."""
    return 2 * np.pi * np.cumsum(frequency_hz) / RATE_HZ


def _filtered(sound: FloatArray, gain: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """The sound with each of its frequencies multiplied by `gain(frequency in Hz)`."""
    frequencies_hz = np.fft.rfftfreq(len(sound), 1 / RATE_HZ)
    return np.fft.irfft(np.fft.rfft(sound) * gain(frequencies_hz), len(sound))


def _band(centre_hz: float, width_hz: float) -> Callable[[FloatArray], FloatArray]:
    """A resonance: 1 at its centre, about 0.5 at half the width to either side."""
    return lambda f: 1 / (1 + (2 * (f - centre_hz) / width_hz) ** 2)


def _faded(sound: FloatArray, in_s: float, out_s: float) -> FloatArray:
    """The sound with a linear fade at both ends."""
    t = np.arange(len(sound)) / RATE_HZ
    return np.asarray(sound * np.minimum(1, t / in_s) * np.minimum(1, t[::-1] / out_s))


def _repeated(
    rng: Random, total: FloatArray, every_s: float, jitter: float, one: Callable[[], FloatArray]
) -> FloatArray:
    """Events repeated every `every_s`, each early or late by up to `jitter` (0 to 1) of the interval."""
    out = np.zeros(len(total))
    start_s = rng.uniform(0, min(every_s, 0.3 * len(out) / RATE_HZ))
    while (start := int(start_s * RATE_HZ)) < len(out):
        event = one()[: len(out) - start]
        out[start : start + len(event)] += event
        start_s += every_s * (1 + jitter * rng.uniform(-1, 1))
    return out


def pluck(rng: Random) -> FloatArray:
    """A plucked string: noise in a delay line with a low-pass filter (Karplus and Strong, 1983)."""
    t = _times(rng, 0.8, 4)
    period = int(RATE_HZ / _log_uniform(rng, 80, 700))
    loop = rng.uniform(-1, 1, period)
    keep = 0.5 ** (period / RATE_HZ / rng.uniform(0.2, 1.0))
    out = np.empty(len(t))
    for start in range(0, len(t), period):
        out[start : start + period] = loop[: len(t) - start]
        loop = keep * 0.5 * (loop + np.roll(loop, 1))
    return out


def organ(rng: Random) -> FloatArray:
    """Steady harmonics of a chord, with random drawbars."""
    t = _times(rng, 0.8, 6)
    root_hz = _log_uniform(rng, 90, 500)
    chord = [1.0, *rng.choice([1.25, 1.2, 1.5, 4 / 3], size=int(rng.integers(0, 3)), replace=False)]
    bars = rng.uniform(0.2, 1, 8) * np.array([1, 1, 0.8, 0.7, 0.4, 0.4, 0.2, 0.2])
    multiples = np.array([0.5, 1, 1.5, 2, 3, 4, 5, 6])
    out = np.zeros(len(t))
    for ratio in chord:
        for level, multiple in zip(bars, multiples, strict=True):
            out += level * np.sin(2 * np.pi * root_hz * ratio * multiple * t + rng.uniform(0, 6.28))
    return _faded(out, 0.02, 0.05)


def bell(rng: Random) -> FloatArray:
    """Inharmonic partials, the high ones decaying first."""
    t = _times(rng, 1, 6)
    strike_hz = _log_uniform(rng, 200, 1500)
    partials = np.array([0.5, 1, 1.2, 1.5, 2, 2.5, 2.67, 3, 4, 5.3]) * (1 + rng.normal(0, 0.01, 10))
    decay_s = rng.uniform(0.5, 2.5) / np.sqrt(partials)
    levels = rng.uniform(0.3, 1, 10)
    return np.asarray(
        sum(
            level * np.exp(-t / decay) * np.sin(2 * np.pi * strike_hz * partial * t)
            for level, decay, partial in zip(levels, decay_s, partials, strict=True)
        )
    )


def kick(rng: Random) -> FloatArray:
    """A bass drum: a tone of falling pitch after a click."""
    t = np.arange(int(0.5 * RATE_HZ)) / RATE_HZ
    low_hz, fall_s, decay_s = rng.uniform(38, 75), rng.uniform(0.02, 0.06), rng.uniform(0.08, 0.25)
    click = rng.uniform(0, 0.4)

    def one() -> FloatArray:
        tone = np.sin(_phase(low_hz + rng.uniform(100, 300) * np.exp(-t / fall_s))) * np.exp(-t / decay_s)
        return tone + click * rng.normal(0, 1, len(t)) * np.exp(-t / 0.003)

    return _repeated(rng, _times(rng, 0.6, 5), rng.uniform(0.3, 0.8), 0.05, one)


def snare(rng: Random) -> FloatArray:
    """A snare drum: a short tone and a longer burst of noise."""
    t = np.arange(int(0.4 * RATE_HZ)) / RATE_HZ
    head_hz, rattle_s, tone = rng.uniform(150, 280), rng.uniform(0.05, 0.16), rng.uniform(0.3, 1)

    def one() -> FloatArray:
        rattle = _filtered(rng.normal(0, 1, len(t)), lambda f: f / (f + 1500)) * np.exp(-t / rattle_s)
        return rattle + tone * np.sin(2 * np.pi * head_hz * t) * np.exp(-t / 0.05)

    return _repeated(rng, _times(rng, 0.6, 5), rng.uniform(0.3, 0.9), 0.05, one)


def hihat(rng: Random) -> FloatArray:
    """A hi-hat: short bursts of high-pass noise."""
    t = np.arange(int(0.3 * RATE_HZ)) / RATE_HZ
    edge_hz, decay_s = rng.uniform(5000, 8000), _log_uniform(rng, 0.015, 0.09)

    def one() -> FloatArray:
        return _filtered(rng.normal(0, 1, len(t)), lambda f: 1 / (1 + (edge_hz / (f + 1)) ** 8)) * np.exp(-t / decay_s)

    return _repeated(rng, _times(rng, 0.6, 5), rng.uniform(0.12, 0.3), 0.05, one)


def sweep(rng: Random) -> FloatArray:
    """Narrow-band noise whose centre glides up or down."""
    t = _times(rng, 1, 6)
    begin_hz, end_hz = rng.permutation([_log_uniform(rng, 200, 600), _log_uniform(rng, 2500, 8000)])
    path = begin_hz * (end_hz / begin_hz) ** (t / t[-1])
    slow = np.repeat(rng.normal(0, 1, len(t) // 40 + 1), 40)[: len(t)]
    width = _filtered(slow, lambda f: 1.0 * (f < rng.uniform(80, 250)))
    return np.asarray(width * np.sin(_phase(path)))


def chirp(rng: Random) -> FloatArray:
    """A bird: short calls of bending pitch."""
    call_s, base_hz, bend = (
        rng.uniform(0.05, 0.25),
        rng.uniform(1800, 5000),
        rng.uniform(0.1, 0.5) * rng.choice([-1, 1]),
    )
    warble_hz, t = rng.uniform(0, 40), np.arange(int(call_s * RATE_HZ)) / RATE_HZ

    def one() -> FloatArray:
        pitch = base_hz * (1 + bend * t / call_s + 0.05 * np.sin(2 * np.pi * warble_hz * t)) * rng.uniform(0.93, 1.07)
        return np.asarray(np.sin(_phase(pitch)) * np.sin(np.pi * t / call_s) ** 2)

    return _repeated(rng, _times(rng, 1, 6), call_s * rng.uniform(1.3, 4), 0.3, one)


def vowel(rng: Random) -> FloatArray:
    """A sung vowel: a glottal pulse train through three formants."""
    t = _times(rng, 0.4, 3)
    pitch_hz = rng.uniform(85, 280) * (
        1 + 0.02 * np.sin(2 * np.pi * rng.uniform(4, 7) * t) + rng.uniform(-0.2, 0.2) * t / t[-1]
    )
    source = 2 * (np.cumsum(pitch_hz) / RATE_HZ % 1) - 1
    vowels_hz = [(730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410)]
    throat = rng.uniform(0.88, 1.18)
    formants = [_band(f * throat, 60 + 0.06 * f) for f in vowels_hz[rng.integers(len(vowels_hz))]]
    sung = _filtered(source, lambda f: formants[0](f) + 0.6 * formants[1](f) + 0.3 * formants[2](f))
    return _faded(sung, 0.05, 0.1)


def engine(rng: Random) -> FloatArray:
    """A motor: firing strokes of varying speed through a resonance."""
    t = _times(rng, 1.5, 9)
    wander = _filtered(rng.normal(0, 1, len(t)), lambda f: 1.0 * (f < 1))
    rate_hz = rng.uniform(18, 70) * (1 + 0.15 * wander / (np.abs(wander).max() + 1e-9))
    strokes = np.maximum(0, np.sin(_phase(rate_hz))) ** rng.uniform(4, 14)
    body = _band(rng.uniform(90, 400), rng.uniform(100, 300))
    rough = strokes * (1 + rng.uniform(0.2, 0.8) * rng.normal(0, 1, len(t)))
    return _filtered(rough - rough.mean(), lambda f: body(f) + 0.1 / (1 + f / 800))


def rain(rng: Random) -> FloatArray:
    """Rain: hiss and many small drops."""
    t = _times(rng, 2, 9)
    drops = (rng.uniform(0, 1, len(t)) < rng.uniform(60, 400) / RATE_HZ) * rng.exponential(1, len(t))
    pitch_hz = rng.uniform(1500, 5000)
    splash = _filtered(drops, _band(pitch_hz, pitch_hz))
    hiss = _filtered(rng.normal(0, 1, len(t)), lambda f: f / (f + 800) / (1 + (f / 7000) ** 2))
    return np.asarray(splash / splash.std() * rng.uniform(0.4, 1.2) + hiss / hiss.std())


def wind(rng: Random) -> FloatArray:
    """Wind: low noise of varying level."""
    t = _times(rng, 2, 9)
    howl = _band(rng.uniform(200, 700), rng.uniform(80, 250))
    blown = _filtered(rng.normal(0, 1, len(t)), lambda f: howl(f) + 0.3 / (1 + (f / 120) ** 2))
    gust = _filtered(rng.normal(0, 1, len(t)), lambda f: 1.0 * (f < rng.uniform(0.3, 1.5)))
    return np.asarray(blown * (0.3 + np.abs(gust) / (np.abs(gust).max() + 1e-9)))


def siren(rng: Random) -> FloatArray:
    """A siren: a tone that rises and falls, or alternates between two pitches."""
    t = _times(rng, 1.5, 8)
    turn = 2 * np.pi * rng.uniform(0.4, 3) * t
    wave_form = np.sin(turn) if rng.uniform() < 0.5 else np.sign(np.sin(turn))
    pitch_hz = _log_uniform(rng, 500, 1100) * 2 ** (rng.uniform(0.15, 0.5) * wave_form)
    phase = _phase(pitch_hz)
    return np.sin(phase) + 0.4 * np.sin(2 * phase) + rng.uniform(0, 0.4) * np.sin(3 * phase)


def tick(rng: Random) -> FloatArray:
    """A clock: dry clicks at an even pace, alternating slightly."""
    t = np.arange(int(0.05 * RATE_HZ)) / RATE_HZ
    ring_hz, decay_s = rng.uniform(1800, 4500), rng.uniform(0.002, 0.01)
    sides = iter(range(1_000_000))

    def one() -> FloatArray:
        shade = 1 + 0.12 * (next(sides) % 2)
        return np.exp(-t / decay_s) * (np.sin(2 * np.pi * ring_hz * shade * t) + 0.5 * rng.normal(0, 1, len(t)))

    return _repeated(rng, _times(rng, 2, 8), rng.uniform(0.25, 1.0), 0.0, one)


def bow(rng: Random) -> FloatArray:
    """A bowed string: a sawtooth with a slow attack and vibrato, through the resonances of a body."""
    t = _times(rng, 0.8, 5)
    pitch_hz = _log_uniform(rng, 120, 800) * (
        1 + rng.uniform(0.004, 0.012) * np.sin(2 * np.pi * rng.uniform(4.5, 6.5) * t)
    )
    source = 2 * (np.cumsum(pitch_hz) / RATE_HZ % 1) - 1 + 0.05 * rng.normal(0, 1, len(t))
    body = [_band(f * rng.uniform(0.9, 1.1), 0.4 * f) for f in (290, 550, 1100, 2600)]
    resonant = _filtered(source, lambda f: np.asarray(0.15 + sum(band(f) for band in body)))
    return _faded(resonant, rng.uniform(0.08, 0.3), 0.05)


def drip(rng: Random) -> FloatArray:
    """Dripping water: short tones of rising pitch."""
    t = np.arange(int(0.12 * RATE_HZ)) / RATE_HZ
    bubble_hz = rng.uniform(500, 1500)

    def one() -> FloatArray:
        rise = bubble_hz * rng.uniform(0.8, 1.3) * (1 + 6 * t)
        return rng.uniform(0.4, 1) * np.sin(_phase(rise)) * np.exp(-t / rng.uniform(0.015, 0.035))

    return _repeated(rng, _times(rng, 2, 7), rng.uniform(0.2, 0.8), 0.6, one)


KINDS: dict[str, Callable[[Random], FloatArray]] = {
    kind.__name__: kind
    for kind in (
        pluck, organ, bell, kick, snare, hihat, sweep, chirp, vowel, engine, rain, wind, siren, tick, bow, drip,
    )
}  # fmt: skip
"""Every kind by its name."""


def synthesize(kind: str, rng: Random) -> Float32Array:
    """One sound of a kind, with noise 12 to 45 dB below it, and a peak between 0.05 and 0.95.

    Shape: [T] at `RATE_HZ`. Raises: UnknownNameError.
    """
    if kind not in KINDS:
        raise UnknownNameError("kind of sound", kind, KINDS)
    sound = KINDS[kind](rng)
    tint = rng.uniform(0, 1.2)
    noise = _filtered(rng.normal(0, 1, len(sound)), lambda f: (np.maximum(f, 20) / 20) ** -tint)
    noise *= sound.std() / noise.std() * 10 ** (-rng.uniform(12, 45) / 20)
    mixed = sound + noise
    return np.asarray(mixed / np.abs(mixed).max() * _log_uniform(rng, 0.05, 0.95), dtype=np.float32)


def write_collection(folder: Path, *, per_kind: int = 20, seed: int = 0) -> list[Path]:
    """Write `per_kind` sounds of every kind as `folder/<kind>/<kind>_<number>.wav` (16 bit, mono). Returns the paths.

    Existing files are kept, so that a second call is fast.
    """
    paths = []
    for index, kind in enumerate(KINDS):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(per_kind):
            path = folder / kind / f"{kind}_{number:03}.wav"
            if not path.exists():
                write_wav(path, synthesize(kind, np.random.default_rng((seed, index, number))))
            paths.append(path)
    return paths


def write_wav(path: Path, samples: Float32Array) -> None:
    """16-bit mono WAV at `RATE_HZ`."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE_HZ)
        out.writeframes((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())
