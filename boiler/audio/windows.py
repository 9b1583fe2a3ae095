"""Windows of a sound: what an encoder takes, cut from a stream, each with its times.

A window is `WINDOW_SAMPLES` samples. A shorter sound is repeated to fill one; a longer one is cut with a hop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from boiler.audio.stream import SAMPLE_RATE_HZ, Samples

WINDOW_SAMPLES = 2**17
WINDOW_S = WINDOW_SAMPLES / SAMPLE_RATE_HZ  # 8.192
HOP_S = WINDOW_S / 2

# One step of 16 bits. What never leaves it is digital silence, or the dither of it.
SILENCE_PEAK = 2.0**-15

Which = Literal["all", "first"]


@dataclass(frozen=True, slots=True)
class Window:
    """A piece of a sound as encoders take it.

    Shape: samples [WINDOW_SAMPLES]. Times are seconds from the beginning of the sound; a sound shorter than a window is
    repeated to fill it, and `end_s` is then the sound's own length.
    """

    samples: Samples
    start_s: float
    end_s: float
    silent: bool


def windows(blocks: Iterable[Samples], *, which: Which = "all", hop_s: float = HOP_S) -> Iterator[Window]:
    """Cut a streamed sound into windows, `hop_s` seconds from one beginning to the next, at most a window's length.

    No sound is left out: where the last hop does not end with the sound, one more window does. A shorter sound is one
    window, repeated to fill it. `which="first"`: only the first window, and no more is read than it needs.

    Raises: ValueError: a hop that is not above 0 and at most WINDOW_S, or another `which`.
    """
    cutter = Cutter(which, hop_s)

    def cutting() -> Iterator[Window]:
        for block in blocks:
            yield from cutter.push(block)
            if cutter.satisfied:
                return
        yield from cutter.end()

    return cutting()


class Cutter:
    """`windows` for sound that is handed over piece by piece. Holds at most two windows of it.

    Raises: ValueError: as `windows`.
    """

    def __init__(self, which: Which = "all", hop_s: float = HOP_S) -> None:
        self._hop = round(hop_s * SAMPLE_RATE_HZ)
        if not 0 < self._hop <= WINDOW_SAMPLES:
            raise ValueError(f"a hop is above 0 and at most {WINDOW_S} s, so that no sound is left out; not {hop_s}")
        if which not in ("all", "first"):
            raise ValueError(f"windows are 'all' or 'first', not {which!r}")
        self._which = which
        self._held = np.empty(0, np.float32)  # the sound from sample `_begins` on
        self._begins = 0
        self._n = 0

    @property
    def satisfied(self) -> bool:
        """No more sound is needed: the first window was all that was asked for."""
        return self._which == "first" and self._n > 0

    def push(self, block: Samples) -> Iterator[Window]:
        """The windows that are whole now."""
        if self.satisfied:
            return
        self._held = np.concatenate((self._held, block))
        # A window is held until the next one is whole: the last one may need the end of it.
        while len(self._held) >= (self._hop if self._n else 0) + WINDOW_SAMPLES and not self.satisfied:
            if self._n:
                self._held = self._held[self._hop :]
                self._begins += self._hop
            self._n += 1
            yield _window(self._held[:WINDOW_SAMPLES], self._begins)

    def end(self) -> Iterator[Window]:
        """The sound has ended: the window that ends with it, unless that is out already."""
        if self.satisfied or not len(self._held):
            return
        if self._n == 0:
            yield _window(self._held, 0)
        elif len(self._held) > WINDOW_SAMPLES:
            yield _window(self._held[-WINDOW_SAMPLES:], self._begins + len(self._held) - WINDOW_SAMPLES)


def fill(samples: Samples) -> Samples:
    """A window of it: repeated when shorter, cut when longer. Shape: [T] with T > 0, to [WINDOW_SAMPLES]."""
    if samples.size == 0:
        raise ValueError("there is no sample to fill a window with")
    return np.resize(samples[:WINDOW_SAMPLES], WINDOW_SAMPLES)


def is_silent(samples: Samples) -> bool:
    """Nothing in it is above one step of 16 bits."""
    return bool(np.abs(samples).max(initial=0.0) <= SILENCE_PEAK)


def _window(samples: Samples, begins: int) -> Window:
    filled = fill(samples) if len(samples) < WINDOW_SAMPLES else samples.copy()
    end_s = (begins + len(samples)) / SAMPLE_RATE_HZ
    return Window(filled, begins / SAMPLE_RATE_HZ, end_s, is_silent(samples))
