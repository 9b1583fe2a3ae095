"""Frames of a sound at a constant hop, as in OpenL3, and batches of frames across sounds.

Frame i starts at sample i * hop; with `center`, half a frame of zeros is prepended, so that its middle is there. The
end is padded with zeros to a whole hop, and a sound shorter than a frame to a whole frame, so that no sample is left
out.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from boiler.arrays import Float32Array
from boiler.errors import BoilerError

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Framing:
    """How sounds are cut into frames. `center`: the middle of the first frame, not its start, is at the first
    sample."""

    frame_samples: int
    hop_samples: int
    center: bool

    def n_frames(self, n_samples: int) -> int:
        """The number of frames of a sound of `n_samples`.

        >>> [Framing(48_000, 4_800, center).n_frames(48_000) for center in (True, False)]
        [6, 1]
        """
        padded = n_samples + (self.frame_samples // 2 if self.center else 0)
        return 1 + max(0, math.ceil((padded - self.frame_samples) / self.hop_samples))


class FrameCutter:
    """Cuts a sound that is given in blocks into frames. Keeps little more than a frame in memory.

    Attributes: `n_samples` and `peak` (maximum magnitude) of the blocks so far.
    """

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        self._held = np.zeros(framing.frame_samples // 2 if framing.center else 0, np.float32)
        self._held_from = 0  # position of the start of `_held` in the padded sound
        self._n_frames = 0
        self.n_samples = 0
        self.peak = 0.0

    def push(self, block: Float32Array) -> Float32Array:
        """Add a block. Returns the frames that it completes. Shape: [T] to [n, frame_samples]."""
        self.n_samples += len(block)
        self.peak = max(self.peak, float(np.abs(block).max(initial=0.0)))
        self._held = np.concatenate([self._held, block])
        size, hop = self._framing.frame_samples, self._framing.hop_samples
        complete = max(0, (self._held_from + len(self._held) - size) // hop + 1) - self._n_frames
        if complete <= 0:
            return np.empty((0, size), np.float32)
        begin = self._n_frames * hop - self._held_from
        rows = np.lib.stride_tricks.sliding_window_view(self._held[begin:], size)[::hop][:complete]
        frames: Float32Array = np.array(rows, np.float32)
        self._n_frames += complete
        passed = min(self._n_frames * hop - self._held_from, len(self._held))
        self._held = self._held[passed:].copy()
        self._held_from += passed
        return frames

    def end(self) -> Float32Array:
        """End the sound. Returns the last frame, padded with zeros, if it was not returned yet. Shape: [0 or 1, T]."""
        wanted = self._framing.n_frames(self.n_samples)
        if self._n_frames == wanted:
            return np.empty((0, self._framing.frame_samples), np.float32)
        last = np.zeros(self._framing.frame_samples, np.float32)
        begin = self._n_frames * self._framing.hop_samples - self._held_from
        rest = self._held[begin:] if begin < len(self._held) else self._held[:0]
        last[: len(rest)] = rest
        self._n_frames = wanted
        return last[None]


def in_batches(
    jobs: Iterable[tuple[Key, Iterator[Float32Array]]],
    run: Callable[[Float32Array], Float32Array],
    batch_size: int,
) -> Iterator[tuple[Key, Float32Array | BoilerError]]:
    """Run a model on the rows of many jobs, in batches that may have rows of several jobs.

    jobs: pairs of a key and an iterator over pieces [n, ...] of the rows
    Yields, in the order of the jobs: the key, and its results [N, D] or the error that its iterator raised.
    """
    batcher = _Batcher[Key](run, batch_size)
    for key, pieces in jobs:
        batcher.begin(key)
        try:
            for piece in pieces:
                batcher.add(piece)
        except BoilerError as error:
            batcher.fail(error)
        batcher.close()
        yield from batcher.complete()
    batcher.flush()
    yield from batcher.complete()


@dataclass
class _Job(Generic[Key]):
    key: Key
    results: list[Float32Array]
    waiting: int = 0
    closed: bool = False
    error: BoilerError | None = None


class _Batcher(Generic[Key]):
    def __init__(self, run: Callable[[Float32Array], Float32Array], batch_size: int) -> None:
        self._run = run
        self._batch_size = batch_size
        self._jobs: deque[_Job[Key]] = deque()
        self._rows: deque[tuple[_Job[Key], Float32Array]] = deque()

    def begin(self, key: Key) -> None:
        self._jobs.append(_Job(key, []))

    def add(self, piece: Float32Array) -> None:
        job = self._jobs[-1]
        self._rows.extend((job, row) for row in piece)
        job.waiting += len(piece)
        while len(self._rows) >= self._batch_size:
            self._embed(self._batch_size)

    def fail(self, error: BoilerError) -> None:
        self._jobs[-1].error = error

    def close(self) -> None:
        self._jobs[-1].closed = True

    def flush(self) -> None:
        while self._rows:
            self._embed(min(self._batch_size, len(self._rows)))

    def complete(self) -> Iterator[tuple[Key, Float32Array | BoilerError]]:
        while self._jobs and self._jobs[0].closed and (self._jobs[0].error or not self._jobs[0].waiting):
            job = self._jobs.popleft()
            yield job.key, job.error or np.concatenate(job.results)

    def _embed(self, count: int) -> None:
        taken = [self._rows.popleft() for _ in range(count)]
        wanted = [(job, row) for job, row in taken if job.error is None]
        if not wanted:
            return
        results = self._run(np.stack([row for _, row in wanted]))
        for (job, _), result in zip(wanted, results, strict=True):
            job.results.append(result[None])
            job.waiting -= 1
