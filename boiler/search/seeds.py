"""What can be asked with, and how several things asked with become one question.

========================  ===========================================================================================
`ByVector(values)`        a vector of the index's encoder: list, array or tensor, of any length but zero
`ByItem(id_or_n)`         an item of the index; with `start_s` and `end_s` a part of it
`BySound(source)`         a sound: path, bytes or file object; or a part of it
`BySamples(samples, …)`   a sound that is decoded already, with its rate; or a part of it
`ByWindows(vectors, …)`   a sound that is embedded already: its windows
========================  ===========================================================================================

One of them asks with each of its windows, and the best match counts. Several of them make one vector: the weighted sum
of their directions (Rocchio 1971), so that what is near to all of those with positive weight, and far from those with
negative weight, comes first. "Like these two, less like that one":

>>> question = [ByItem("rain/a.wav"), ByItem("rain/b.wav"), ByItem("wind/c.wav", weight=-0.5)]

Items asked with are left out of the answer.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr

from boiler import engine
from boiler.arrays import Float32Array
from boiler.audio import stream
from boiler.errors import QueryError

MOST_WINDOWS = 256
"""A sound of more windows than this (some 17 minutes in windows of 8 s) asks with so many of them, evenly spread."""
LEAST_LENGTH = 1e-3
"""Of a weighted sum: below this, what is left of the directions is mostly rounding."""


@dataclass(frozen=True)
class ByVector:
    """A vector [D], and how much it counts: below 0, what the answers should be unlike."""

    values: Any
    weight: float = 1.0


@dataclass(frozen=True)
class ByItem:
    """An item by its id or number. A part of it is embedded anew, which needs the folder of the sounds."""

    id_or_n: str | int
    start_s: float = 0.0
    end_s: float | None = None
    weight: float = 1.0

    @property
    def whole(self) -> bool:
        """Whether all of it asks."""
        return self.start_s == 0.0 and self.end_s is None


@dataclass(frozen=True)
class BySound:
    """A sound that need not be in the index."""

    source: stream.Source
    start_s: float = 0.0
    end_s: float | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class BySamples:
    """Samples, float [T] mono or [T, channels], and how many there are a second."""

    samples: Any
    sample_rate_hz: int
    start_s: float = 0.0
    end_s: float | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class ByWindows:
    """A sound that is embedded already, so that it is asked with often and embedded once: the vectors of its windows
    [W, D], and of each when it is, (start_s, end_s). `source`: where the sound can be read again, to be explained."""

    vectors: Any
    times: Sequence[tuple[float, float]]
    source: stream.Source | None = None
    weight: float = 1.0


Seed = ByVector | ByItem | BySound | BySamples | ByWindows
QueryInput = Seed | Sequence[Seed]


def to_seeds(question: QueryInput) -> list[Seed]:
    """The seeds of a question, whose weights make sense.

    Raises: QueryError: none, something else, a weight that is 0 or no number, or all of them negative.
    """
    seeds = [question] if isinstance(question, Seed) else list(question)
    for seed in seeds:
        if not isinstance(seed, Seed):
            raise QueryError(
                "a question is made of ByVector, ByItem, BySound, BySamples and ByWindows,"
                f" not of {type(seed).__name__}"
            )
        if not math.isfinite(seed.weight) or seed.weight == 0:
            raise QueryError(f"a weight is a number other than 0, not {seed.weight}: leave the seed out instead")
    if not any(seed.weight > 0 for seed in seeds):
        raise QueryError("nothing is asked for: give one seed at least that has a weight above 0")
    return seeds


def combined(directions: Sequence[Float32Array], weights: Sequence[float]) -> Float32Array:
    """The one vector that several make. `directions`: for each seed its windows, [W, D] of unit length.

    Raises: QueryError: they cancel each other out.
    """
    total = np.zeros(directions[0].shape[1])
    for windows, weight in zip(directions, weights, strict=True):
        total += weight * engine.normalize(windows.astype(np.float64).mean(axis=0))
    if np.linalg.norm(total) < LEAST_LENGTH * sum(abs(weight) for weight in weights):
        raise QueryError(
            "the seeds cancel each other out: nothing is left to ask for. Change a weight, or leave one out"
        )
    return engine.normalize(total)


def evenly_spaced(windows: Sequence[Any]) -> list[Any]:
    """All of the windows; of very many, some, evenly spread."""
    count = min(len(windows), MOST_WINDOWS)
    return [windows[at * len(windows) // count] for at in range(count)]


def part_checked(start_s: float, end_s: float | None) -> None:
    """Raises: QueryError: a part that does not begin at 0 or later, or does not end after it begins."""
    good = 0 <= start_s < math.inf and (end_s is None or start_s < end_s < math.inf)
    if not good:
        raise QueryError(f"a part of a sound begins at 0 or later and ends after it begins: not {start_s} to {end_s} s")


def unit_vector(query: Any, dim: int) -> Float32Array:
    """The query as a unit vector [D].

    Raises: QueryError: not D numbers, not finite, or without a direction.
    """
    if hasattr(query, "detach"):  # a tensor, whatever its device and whether it is being differentiated
        query = query.detach().cpu().double().numpy()
    try:
        vector = np.asarray(query)
    except ValueError as error:
        raise QueryError(f"a vector is a row of {dim} numbers; this one is ragged") from error
    if vector.ndim == 2 and len(vector) == 1:  # as an encoder gives it for one window
        vector = vector[0]
    if vector.ndim != 1:
        raise QueryError(f"a vector is a row of {dim} numbers; this one has the shape {list(vector.shape)}")
    if len(vector) != dim:
        raise QueryError(
            f"the vector has {len(vector)} numbers, this index has {dim}: embed with the encoder of this index"
        )
    if vector.dtype.kind not in "fiu":
        raise QueryError(f"a vector is a row of {dim} numbers; this one is of {vector.dtype}")
    wide = vector.astype(np.float64)
    square = float(np.vdot(wide, wide))  # which does not warn of what the next line refuses
    if 1e-200 < square < 1e200:  # as nearly always: finite numbers, with a direction, whose squares are numbers, too
        return np.asarray(wide / math.sqrt(square), np.float32)
    if not np.isfinite(vector).all():
        raise QueryError("the vector has numbers that are NaN or infinite")
    found = engine.normalize(vector)
    if not found.any():
        raise QueryError("the vector is all zeros: it has no direction to compare")
    return found


def windows_of(seed: ByWindows, dim: int) -> Float32Array:
    """The windows as unit vectors [W, D].

    Raises: QueryError: as `unit_vector`; none, or not for each of them its begin and end.
    """
    try:
        vectors = [unit_vector(vector, dim) for vector in seed.vectors]
        times = [(float(start_s), float(end_s)) for start_s, end_s in seed.times]
    except (TypeError, ValueError) as error:
        raise QueryError(f"a sound has vectors, and for each the seconds from and to which it is: {error}") from error
    if not vectors or len(vectors) != len(times):
        raise QueryError(f"a sound has a time for each of its windows: {len(vectors)} and {len(times)} were given")
    for start_s, end_s in times:
        part_checked(start_s, end_s)
    return np.stack(vectors)


def checked_k(k: Any) -> int:
    """`k` as an int.

    Raises: QueryError: not a whole number from 1 on.
    """
    try:
        whole = 0 if isinstance(k, bool | np.bool_) else operator.index(k)
    except TypeError:
        whole = 0
    if whole < 1:
        raise QueryError(f"k is a whole number from 1 on, not {k!r}")
    return int(whole)


def samples_of(seed: BySamples, sample_rate_hz: int) -> stream.Samples:
    """The part asked for of the samples: mono, at `sample_rate_hz`.

    Raises: QueryError: not samples, none, not finite, or a rate that cannot be.
    """
    part_checked(seed.start_s, seed.end_s)
    samples = np.asarray(seed.samples)
    if samples.ndim not in (1, 2) or samples.dtype.kind != "f":
        raise QueryError(
            f"samples are float, [T] or [T, channels], not {samples.dtype} of shape {list(samples.shape)}: bring whole"
            " numbers to -1 to 1 first"
        )
    rate = seed.sample_rate_hz
    if not 4_000 <= rate <= 768_000:
        raise QueryError(f"sample_rate_hz is from 4,000 to 768,000, not {rate}")
    last = None if seed.end_s is None else round(seed.end_s * rate)
    samples = samples[round(seed.start_s * rate) : last]
    if not samples.size:
        raise QueryError("there are no samples in the part asked for")
    if not np.isfinite(samples).all():
        raise QueryError("some samples are NaN or infinite")
    mono = np.asarray(samples if samples.ndim == 1 else samples.mean(axis=1), np.float32)
    if rate == sample_rate_hz:
        return mono
    resampled: stream.Samples = soxr.resample(mono, rate, sample_rate_hz)
    return resampled
