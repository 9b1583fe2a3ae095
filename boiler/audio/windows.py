"""Windows of a sound: fixed-length pieces of a stream, as encoders take them, each with its times.

`WindowSpec` gives their sampling rate, length and hop. Every encoder has one, an index stores the one it was made with,
and everything that decodes a sound for that index uses it. The defaults are those of boiler's own encoders and of
training.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from boiler.arrays import Float32Array

Samples: TypeAlias = Float32Array

SAMPLE_RATE_HZ = 16_000
WINDOW_SAMPLES = 2**17

# One step of 16 bits. A sound that never exceeds it is digital silence, or dither.
SILENCE_PEAK = 2.0**-15

Which = Literal["all", "first"]


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """How sounds are cut into windows.

    sample_rate_hz: of the samples; sounds are resampled to it
    window_samples: length of a window
    hop_s: seconds from the start of one window to the start of the next, at most a window's length
    which: `all` windows of a sound, or its `first` one only

    Raises: ValueError: a value out of range.

    >>> WindowSpec().window_s, WindowSpec().hop_s
    (8.192, 4.096)
    """

    sample_rate_hz: int = SAMPLE_RATE_HZ
    window_samples: int = WINDOW_SAMPLES
    hop_s: float = WINDOW_SAMPLES / SAMPLE_RATE_HZ / 2
    which: Which = "all"

    def __post_init__(self) -> None:
        if self.sample_rate_hz < 1 or self.window_samples < 1:
            raise ValueError(
                f"a window has at least one sample at 1 Hz or more, not {self.window_samples} at {self.sample_rate_hz}"
            )
        # A hop longer than the window would leave sound out.
        if not (0 < self.hop_s < math.inf and 0 < self.hop_samples <= self.window_samples):
            raise ValueError(f"hop_s must be above 0 and at most a window ({self.window_s:g} s), not {self.hop_s}")
        if self.which not in ("all", "first"):
            raise ValueError(f"windows are 'all' or 'first', not {self.which!r}")

    @property
    def window_s(self) -> float:
        """Seconds of a window."""
        return self.window_samples / self.sample_rate_hz

    @property
    def hop_samples(self) -> int:
        """Samples from the start of one window to the start of the next."""
        return round(self.hop_s * self.sample_rate_hz)

    def n_windows(self, n_samples: int) -> int:
        """The number of windows of a sound of `n_samples` (1 or more).

        >>> [WindowSpec().n_windows(n) for n in (16_000, 2**17 + 1, 2**17 + 65_536)]
        [1, 2, 2]
        """
        if self.which == "first":
            return 1
        return 1 + max(0, math.ceil((n_samples - self.window_samples) / self.hop_samples))

    def at_rate(self, sample_rate_hz: int) -> WindowSpec:
        """Windows of the same duration and overlap at another sampling rate."""
        samples = self.window_samples * sample_rate_hz // self.sample_rate_hz
        return replace(self, sample_rate_hz=sample_rate_hz, window_samples=samples)


DEFAULT_WINDOWS = WindowSpec()
"""8.192 s at 16 kHz, half overlapping, all of each sound."""


@dataclass(frozen=True, slots=True)
class Window:
    """A window of a sound.

    Shape: clip [T], T at most `window_samples`, less for a sound shorter than a window. Times are seconds from the
    start of the sound; `end_s` of a shorter sound is its own length.
    """

    clip: Samples
    window_samples: int
    start_s: float
    end_s: float
    silent: bool

    @property
    def samples(self) -> Samples:
        """The input of an encoder: the clip, repeated to fill the window. Not kept, as it may be much longer than the
        clip. Shape: [window_samples]"""
        if len(self.clip) == self.window_samples:
            return self.clip
        return fill_window(self.clip, self.window_samples)


def cut_windows(blocks: Iterable[Samples], spec: WindowSpec = DEFAULT_WINDOWS) -> Iterator[Window]:
    """Cut a streamed sound, at the rate of `spec`, into windows.

    No samples are left out: if the last window does not end with the sound, one more is added that does. A shorter
    sound is one window, repeated to fill it. With `which="first"` only the samples of the first window are read.
    """
    cutter = WindowCutter(spec)
    for block in blocks:
        yield from cutter.push(block)
        if cutter.satisfied:
            return
    yield from cutter.end()


class WindowCutter:
    """`cut_windows` for sound that is pushed block by block. Keeps at most two windows in memory."""

    def __init__(self, spec: WindowSpec = DEFAULT_WINDOWS) -> None:
        self._spec = spec
        self._held = np.empty(0, np.float32)  # the sound from sample `_start` on
        self._start = 0
        self._n = 0  # windows cut

    @property
    def satisfied(self) -> bool:
        """Whether no more samples are needed: only the first window was requested, and it has been returned."""
        return self._spec.which == "first" and self._n > 0

    def push(self, block: Samples) -> Iterator[Window]:
        """Add a block. Returns the windows that it completes."""
        if self.satisfied:
            return
        size, hop = self._spec.window_samples, self._spec.hop_samples
        self._held = np.concatenate((self._held, block))
        # A window is held until the next one is complete: the last one may need the end of it.
        while len(self._held) >= (hop if self._n else 0) + size and not self.satisfied:
            if self._n:
                self._held = self._held[hop:]
                self._start += hop
            self._n += 1
            yield self._window(self._held[:size], self._start)

    def end(self) -> Iterator[Window]:
        """End the sound. Returns the window that ends with it, unless it was returned already."""
        size = self._spec.window_samples
        if self.satisfied or not len(self._held):
            return
        if self._n == 0:
            yield self._window(self._held, 0)
        elif len(self._held) > size:
            yield self._window(self._held[-size:], self._start + len(self._held) - size)

    def _window(self, samples: Samples, start: int) -> Window:
        size, rate_hz = self._spec.window_samples, self._spec.sample_rate_hz
        return Window(samples.copy(), size, start / rate_hz, (start + len(samples)) / rate_hz, is_silent(samples))


def fill_window(samples: Samples, window_samples: int = WINDOW_SAMPLES) -> Samples:
    """Repeat shorter sounds and cut longer ones to a window. Shape: [T] with T > 0, to [window_samples]."""
    if samples.size == 0:
        raise ValueError("there are no samples to fill a window with")
    return np.resize(samples[:window_samples], window_samples)


def is_silent(samples: Samples) -> bool:
    """Whether no sample exceeds one step of 16 bits."""
    return bool(np.abs(samples).max(initial=0.0) <= SILENCE_PEAK)
