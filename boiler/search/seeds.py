"""Seeds: what a query can be made of, and how several seeds are combined.

========================  ===========================================================================================
`ByVector(values)`        a vector of the index's encoder: list, array or tensor, of any norm except zero
`ByItem(id_or_n)`         an item of the index, or a part of it (`start_s`, `end_s`)
`BySound(source)`         a sound, as a path, bytes or file object; or a part of it
`BySamples(samples, …)`   decoded samples and their sampling rate; or a part of them
`ByWindows(vectors, …)`   the vectors of a sound's windows, embedded before
`ByText(text)`            words, as in `dog barking -indoor`, if the index can be searched in words
`ByPicture(source)`       what a picture shows, under the same condition
========================  ===========================================================================================

A single seed searches with each of its windows, and an item counts by its best match. Several seeds are combined into
one vector, the weighted sum of their directions (Rocchio 1971): results are near to those of positive weight and far
from those of negative weight. "Like these two, less like that one":

>>> query = [ByItem("rain/a.wav"), ByItem("rain/b.wav"), ByItem("wind/c.wav", weight=-0.5)]

Words and pictures have no vector: with them, an item counts by the weighted mean of how well it matches the words and
of its similarity to the combined sounds (`boiler.search.words`).

Items that are seeds are left out of the results. A query can also be given as an id, number, path, bytes or vector, or
as a list of these (`to_seeds`).
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import soxr

from boiler import engine
from boiler.arrays import AnyArray, Float32Array
from boiler.audio import stream
from boiler.errors import QueryError, WrongEncoderError
from boiler.store.header import Header

MAX_WINDOWS = 256
"""A sound of more windows (about 17 minutes in windows of 8 s) searches with this many, evenly spaced."""
MIN_LENGTH = 1e-3
"""A weighted sum of unit vectors with a smaller norm, relative to the sum of the weights, is mostly rounding error."""


@dataclass(frozen=True)
class ByVector:
    """A vector [D]. `weight`, as in every kind of seed: negative if results should be unlike it. `encoder`: the encoder
    that made it, see `check_encoder`; None: it is not checked."""

    values: Any
    weight: float = 1.0
    encoder: str | None = None


@dataclass(frozen=True)
class ByItem:
    """An item by its id or number. A part of it is embedded again, from the file of the sound."""

    id_or_n: str | int
    start_s: float = 0.0
    end_s: float | None = None
    weight: float = 1.0

    @property
    def whole(self) -> bool:
        """Whether it is the whole item and not a part."""
        return self.start_s == 0.0 and self.end_s is None


@dataclass(frozen=True)
class BySound:
    """A sound, in the index or not: a path, the bytes of a file, or a file object; or its part in seconds."""

    source: stream.Source
    start_s: float = 0.0
    end_s: float | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class BySamples:
    """Samples, float [T] (mono) or [T, channels], and their sampling rate."""

    samples: Any
    sample_rate_hz: int
    start_s: float = 0.0
    end_s: float | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class ByWindows:
    """The windows of a sound, embedded before, so that repeated queries need not embed it again.

    vectors: [W, D]; times: (start_s, end_s) of each window; source: the sound itself, needed to explain a match
    """

    vectors: Any
    times: Sequence[tuple[float, float]]
    source: stream.Source | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class ByText:
    """Words that describe a sound; those with a minus are avoided. See `boiler.crossmodal.text_query`."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class ByPicture:
    """What a picture shows: a path, the bytes of a file, a picture of Pillow, or pixels, uint8 [H, W, 3]. See
    `boiler.crossmodal.picture_query`."""

    source: Any
    weight: float = 1.0


Seed: TypeAlias = ByPicture | ByText | ByVector | ByItem | BySound | BySamples | ByWindows
QueryInput: TypeAlias = Seed | str | int | os.PathLike[str] | bytes | AnyArray | Sequence[Any]
"""A query as a caller gives it: a `Seed`, or what `to_seed` turns into one, or a list of these."""


def to_seeds(query: QueryInput) -> list[Seed]:
    """The seeds of a query, with valid weights.

    Raises: QueryError: no seeds, something else, a weight that is 0 or not finite, or no weight above 0.

    >>> [type(seed).__name__ for seed in to_seeds(["rain/a.wav", 7, b"RIFF...", [0.1, 0.9]])]
    ['ByItem', 'ByItem', 'BySound', 'ByVector']
    """
    values = [query] if _is_vector(query) or not isinstance(query, list | tuple) else query
    seeds = [to_seed(value) for value in values]
    for seed in seeds:
        if not math.isfinite(seed.weight) or seed.weight == 0:
            raise QueryError(f"a weight is a finite number other than 0, not {seed.weight}: leave the seed out instead")
    if not any(seed.weight > 0 for seed in seeds):
        raise QueryError("a query needs at least one seed with a weight above 0")
    return seeds


def to_seed(value: Any) -> Seed:
    """Convert a value to a seed: an int is the number of an item; a str is the path of a file if there is such a file,
    else the id of an item; a path, bytes or a file object is a sound; an array, a tensor or a list of numbers a vector.

    Raises: QueryError: anything else.
    """
    if isinstance(value, Seed):
        return value
    if isinstance(value, str):
        return BySound(value) if os.path.isfile(value) else ByItem(value)  # noqa: PTH113  # Path raises for long names
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return ByItem(int(value))
    if isinstance(value, os.PathLike | bytes) or hasattr(value, "read"):
        return BySound(value)
    if _is_vector(value):
        return ByVector(value)
    raise QueryError(
        "a query is an id, a number, a path, bytes, a vector, or ByItem, ByPicture, BySound, BySamples, ByText,"
        f" ByVector or ByWindows of boiler.api.nearest, or a list of these; not {type(value).__name__}"
    )


def _is_vector(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(one, float | np.floating) for one in value)
    return hasattr(value, "shape") and not isinstance(value, np.generic)


def combine(windows_of_seeds: Sequence[Float32Array], weights: Sequence[float]) -> Float32Array:
    """The weighted sum of the directions of several seeds, at unit length; a seed's direction is that of the mean of
    its windows [W, D].

    Raises: QueryError: the sum is (nearly) zero.
    """
    total = np.zeros(windows_of_seeds[0].shape[1])
    for windows, weight in zip(windows_of_seeds, weights, strict=True):
        total += weight * engine.normalize(windows.astype(np.float64).mean(axis=0))
    if np.linalg.norm(total) < MIN_LENGTH * sum(abs(weight) for weight in weights):
        raise QueryError("the seeds cancel each other out: change a weight, or leave a seed out")
    return engine.normalize(total)


def evenly_spaced(windows: Sequence[Any]) -> list[Any]:
    """The windows, or `MAX_WINDOWS` of them at even distances if there are more."""
    count = min(len(windows), MAX_WINDOWS)
    return [windows[at * len(windows) // count] for at in range(count)]


def check_span(start_s: float, end_s: float | None) -> None:
    """Raises: QueryError: a part of a sound that starts before 0, or does not end after its start."""
    valid = 0 <= start_s < math.inf and (end_s is None or start_s < end_s < math.inf)
    if not valid:
        raise QueryError(
            f"a part of a sound starts at 0 s or later and ends after its start: not {start_s} to {end_s} s"
        )


def unit_vector(query: Any, dim: int) -> Float32Array:
    """The vector of a query, [D], at unit length.

    Raises: QueryError: not D finite numbers, or all zeros.
    """
    if hasattr(query, "detach"):  # a torch tensor on any device, with or without gradient
        query = query.detach().cpu().double().numpy()
    try:
        vector = np.asarray(query)
    except ValueError as error:
        raise QueryError(f"a vector has {dim} numbers; this is not a rectangular array") from error
    if vector.ndim == 2 and len(vector) == 1:  # [1, D], as an encoder returns for one window
        vector = vector[0]
    if vector.ndim != 1:
        raise QueryError(f"a vector has {dim} numbers; this one has the shape {list(vector.shape)}")
    if len(vector) != dim:
        raise QueryError(
            f"the vector has {len(vector)} numbers, this index has {dim}: embed with the encoder of this index"
        )
    if vector.dtype.kind not in "fiu":
        raise QueryError(f"a vector has {dim} numbers; this one has the type {vector.dtype}")
    wide = vector.astype(np.float64)
    square = float(np.vdot(wide, wide))  # unlike np.sum it does not warn about NaN and overflow
    if 1e-200 < square < 1e200:  # fast path
        return np.asarray(wide / math.sqrt(square), np.float32)
    if not np.isfinite(vector).all():
        raise QueryError("the vector holds NaN or infinite numbers")
    found = engine.normalize(vector)
    if not found.any():
        raise QueryError("the vector is all zeros, which has no direction to compare")
    return found


def check_encoder(encoder: str | None, header: Header) -> None:
    """Check that a vector was made by the encoder of the index. Vectors of two encoders may have the same length: their
    distances would mean nothing.

    encoder: the sha256 of the `encoder.pt` that made the vector (`Header.encoder_sha256`), or its name, which does not
        tell two trainings apart; None: not checked

    Raises: WrongEncoderError: another one; the message names that of the index.
    """
    if encoder is not None and encoder not in (header.encoder, header.encoder_sha256 or header.encoder):
        own = f"{header.encoder}{f' (sha256 {header.encoder_sha256})' if header.encoder_sha256 else ''}"
        raise WrongEncoderError(
            f"the vector is of the encoder {encoder[:100]!r}, this index of {own}: embed with that one"
        )


def window_vectors(seed: ByWindows, dim: int) -> Float32Array:
    """The vectors of the windows, [W, D], at unit length.

    Raises: QueryError: as `unit_vector`; no windows, or not one time span for each.
    """
    try:
        vectors = [unit_vector(vector, dim) for vector in seed.vectors]
        times = [(float(start_s), float(end_s)) for start_s, end_s in seed.times]
    except (TypeError, ValueError) as error:
        raise QueryError(f"ByWindows needs a vector and (start_s, end_s) for each window: {error}") from error
    if not vectors or len(vectors) != len(times):
        raise QueryError(f"ByWindows needs a time span for each window, not {len(times)} for {len(vectors)}")
    for start_s, end_s in times:
        check_span(start_s, end_s)
    return np.stack(vectors)


def checked_k(k: Any) -> int:
    """`k` as an int.

    Raises: QueryError: not an integer of at least 1.
    """
    try:
        whole = 0 if isinstance(k, bool | np.bool_) else operator.index(k)
    except TypeError:
        whole = 0
    if whole < 1:
        raise QueryError(f"k is a whole number of at least 1, not {k!r}")
    return int(whole)


def mono_samples(seed: BySamples, sample_rate_hz: int) -> stream.Samples:
    """The samples of the seed or of its part, mixed to mono and resampled. Shape: [T]

    Raises: QueryError: not float samples, none, not finite, or a sampling rate out of range.
    """
    check_span(seed.start_s, seed.end_s)
    samples = np.asarray(seed.samples)
    if samples.ndim not in (1, 2) or samples.dtype.kind != "f":
        raise QueryError(
            f"samples are float, [T] or [T, channels], not {samples.dtype} of shape {list(samples.shape)}: scale"
            " integers to -1 to 1 first"
        )
    rate = seed.sample_rate_hz
    if not 4_000 <= rate <= 768_000:
        raise QueryError(f"sample_rate_hz is from 4,000 to 768,000, not {rate}")
    last = None if seed.end_s is None else round(seed.end_s * rate)
    samples = samples[round(seed.start_s * rate) : last]
    if not samples.size:
        raise QueryError("this part of the sound has no samples")
    if not np.isfinite(samples).all():
        raise QueryError("some samples are NaN or infinite")
    mono = np.asarray(samples if samples.ndim == 1 else samples.mean(axis=1), np.float32)
    if rate == sample_rate_hz:
        return mono
    resampled: stream.Samples = soxr.resample(mono, rate, sample_rate_hz)
    return resampled
