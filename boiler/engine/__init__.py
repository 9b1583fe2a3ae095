"""Search engines: rows of vectors in, the nearest rows of a query out. The contract, and the table of names.

Vectors are float32 of unit length, row numbers are 0 to N-1. Distance is angular, `sqrt(2 (1 - cos))`: 0 the same,
smaller is nearer, 2 the opposite. An engine finds candidates in its own way and passes them to
`rerank_candidates`, which computes the distance of each in float64 and breaks ties by row: all engines return the same distances for the same
rows, and a vector is at distance 0 from itself. `exact` is the truth that the others are held to.

An engine is built once and asked often; there is no insert and no delete. Queries may come from several threads at a
time. The vectors are the memory-mapped file of a generation: no engine copies them.

>>> import numpy as np
>>> from boiler import engine
>>> vectors = engine.normalize(np.eye(3))
>>> found = engine.find("exact").build(vectors).query(vectors[:1], k=2)
>>> found.rows.tolist(), found.distances.round(3).tolist()
([[0, 1]], [[0.0, 1.4140000343322754]])
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol, Self, cast

import numpy as np
import numpy.typing as npt

from boiler.arrays import Float32Array, Int64Array
from boiler.engine import rerank
from boiler.errors import UnknownNameError

TABLE: dict[str, str] = {
    "exact": "boiler.engine.exact:Exact",
    "annoy": "boiler.engine.annoy:Annoy",
    "hnsw": "boiler.engine.hnsw:HNSW",
}
"""Name to where its class stands. Imported when asked for."""


class Neighbours(NamedTuple):
    """The nearest rows of each query, nearest first, equal ones by row.

    Shape: rows int64 [Q, k], distances float32 [Q, k]; `min(k, N)` columns.
    """

    rows: Int64Array
    distances: Float32Array


class Engine(Protocol):
    """What every engine is."""

    name: ClassVar[str]

    @classmethod
    def build(cls, vectors: Float32Array) -> Self:
        """An engine over `vectors` [N, D], unit length."""

    def query(self, queries: Float32Array, k: int) -> Neighbours:
        """The `min(k, N)` nearest rows of each of `queries` [Q, D], unit length; k at least 1."""

    def save(self, path: Path) -> None:
        """Write what `load` needs beside the vectors. `path` must not be in use by anyone."""

    @classmethod
    def load(cls, path: Path, vectors: Float32Array) -> Self:
        """What was saved, over the same vectors.

        Raises: ModelDirError: the file is not there, damaged, or of other vectors.
        """


def find(name: str) -> type[Engine]:
    """The class of that name.

    Raises: UnknownNameError.
    """
    if name not in TABLE:
        raise UnknownNameError("engine", name, TABLE)
    module, _, class_name = TABLE[name].partition(":")
    return cast(type[Engine], getattr(importlib.import_module(module), class_name))


def normalize(vectors: npt.ArrayLike) -> Float32Array:
    """The vectors at unit length. Worked out in float64 from the largest number of each: neither 1e-30 nor 1e300
    loses its direction. A vector of zeros has none and stays as it is.

    Shape: [..., D] -> float32 [..., D]

    >>> normalize([[3e300, 4e300]]).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    wide = np.asarray(vectors, np.float64)
    largest = np.abs(wide).max(axis=-1, keepdims=True, initial=0.0)
    wide = wide / np.where(largest > 0, largest, 1.0)
    norms = np.sqrt(np.einsum("...i,...i->...", wide, wide))[..., None]
    return (wide / np.where(norms > 0, norms, 1.0)).astype(np.float32)


def rerank_candidates(
    vectors: Float32Array, queries: Float32Array, k: int, asked: Int64Array | None, candidates: Int64Array
) -> Neighbours:
    """The k nearest among candidates that are at least k for each query; no candidate twice for one query.

    The distance is the length of the difference, which for unit vectors is `sqrt(2 (1 - cos))` and stays accurate
    where the cosine is nearly 1.

    Shape: vectors [N, D], queries [Q, D], asked [C] (which query, rising; None of one query), candidates [C] (which
    row) -> [Q, k]

    Raises: ValueError: vectors or queries are not float32, or the vectors not in rows (C order); or a query has fewer
    than k candidates.
    """
    found = empty_neighbours(len(queries), k)
    asked = None if asked is None else np.ascontiguousarray(asked)
    rerank.nearest(vectors, np.ascontiguousarray(queries), asked, np.ascontiguousarray(candidates), *found)
    return found


def empty_neighbours(n_queries: int, k: int) -> Neighbours:
    """The answer where there is no query, or no row; and the room that one is written into."""
    return Neighbours(np.zeros((n_queries, k), np.int64), np.zeros((n_queries, k), np.float32))
