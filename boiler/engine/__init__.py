"""Search engines: vectors in, the nearest rows of a query out. The contract, and the table of engines.

Vectors are float32 of unit length; rows are numbered 0 to N-1. Distance is angular, `sqrt(2 (1 - cos))`: 0 is the same
direction, 2 the opposite, smaller is nearer. An engine finds candidates in its own way and passes them to
`rerank_candidates`, which computes each distance in float64 and breaks ties by row number: all engines return the same
distance for the same row, and a vector is at distance 0 from itself. `exact` is the ground truth the others are tested
against.

An engine is built once and queried from several threads at a time; there is no insert and no delete. Vectors are the
memory-mapped file of a generation, so no engine copies them.

A new engine is a class like `Engine`: add it to `ENGINES`, or name it as `module:Class` wherever an engine is named.
`boiler.engine.selection` decides which engines an index gets.

>>> import numpy as np
>>> from boiler import engine
>>> vectors = engine.normalize(np.eye(3))
>>> kind = engine.find_engine("exact")
>>> found = kind.build(vectors, engine.parse_parameters(kind, {})).query(vectors[:1], k=2)
>>> found.rows.tolist(), found.distances.round(3).tolist()
([[0, 1]], [[0.0, 1.4140000343322754]])
"""

from __future__ import annotations

import dataclasses
import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, ClassVar, NamedTuple, Protocol, Self, get_args, get_type_hints

import numpy as np
import numpy.typing as npt

from boiler.arrays import Float32Array, Int64Array
from boiler.deprecated import module_getattr
from boiler.errors import EngineError, UnknownNameError

try:
    from boiler.engine import rerank
except ImportError:  # installed without a compiler, or compiled for another platform
    from boiler.engine import rerank_numpy as rerank  # type: ignore[no-redef]

RERANK = "numpy" if rerank.__name__.endswith("_numpy") else "compiled"
"""How candidates are reranked: by the module compiled from rerank.c, or by numpy, which takes longer."""

ENGINES: dict[str, str] = {
    "exact": "boiler.engine.exact:Exact",
    "annoy": "boiler.engine.annoy:Annoy",
    "hnsw": "boiler.engine.hnsw:HNSW",
    "milvus": "boiler.engine.milvus:Milvus",
}
"""Name to `module:Class`; the module is imported when the engine is first used."""

TOLERANCE = 1e-6
"""Distances that differ by less count as equal when recall is measured."""


class Neighbours(NamedTuple):
    """The nearest rows of each query, nearest first, ties by row number.

    Shape: rows int64 [Q, k], distances float32 [Q, k]; `min(k, N)` columns.
    """

    rows: Int64Array
    distances: Float32Array


class Engine(Protocol):
    """What every engine provides."""

    name: ClassVar[str]
    """Lower-case word; also the name of the engine's file in a generation."""

    Parameters: ClassVar[type[Any]]
    """A frozen dataclass, each field of type int, float, str or bool (or `| None`: chosen while building) and with a
    default. `ValueError` from it is shown to the user. A field called `seed` defaults to the seed of the index."""

    @property
    def parameters(self) -> Any:
        """The parameters in use. After `build`, the values it chose have replaced None. Saved in `boiler.json`."""

    @property
    def recall_at_10(self) -> float | None:
        """The recall measured while building; None if it was not."""

    @classmethod
    def build(cls, vectors: Float32Array, parameters: Any) -> Self:
        """Build an engine over `vectors` [N, D], of unit length."""

    def query(self, queries: Float32Array, k: int) -> Neighbours:
        """The `min(k, N)` nearest rows of each of `queries` [Q, D], of unit length; k is at least 1."""

    def save(self, path: Path) -> None:
        """Write to the file `path` what `load` needs besides the vectors. No process may have `path` open."""

    @classmethod
    def load(cls, path: Path, vectors: Float32Array, parameters: Any) -> Self:
        """Open what was saved for the same vectors, with the saved parameters.

        Raises: ModelDirError: the file is missing, damaged, or was built from other vectors.
        """


class HostedEngine(ABC):
    """An `Engine` whose vectors are elsewhere: a search reads none of the mapped ones, filters included. A query waits
    for a server: it may take long, and raises ModelDirError while the server is away."""

    @abstractmethod
    def query_among(self, queries: Float32Array, k: int, among: Int64Array) -> Neighbours:
        """As `query`, of these rows only, ascending: `min(k, len(among))` of them."""

    @classmethod
    @abstractmethod
    def make_current(cls, path: Path, parameters: Any) -> None:
        """The generation that was saved to `path` is the current one from now on.

        Raises: ModelDirError: the server does not answer, or refuses.
        """

    @classmethod
    @abstractmethod
    def drop(cls, path: Path) -> None:
        """Delete what was saved to `path`, as far as it is elsewhere. A failure is logged."""


def find_engine(name: str) -> type[Engine]:
    """The class of an engine, by its name in `ENGINES` or as `module:Class`.

    Raises: UnknownNameError: no such name. EngineError: the class cannot be imported, or is not an engine.
    """
    if ":" not in name and name not in ENGINES:
        raise UnknownNameError("engine", name, ENGINES)
    module, _, class_name = ENGINES.get(name, name).partition(":")
    try:
        kind = getattr(importlib.import_module(module), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        advice = f"pip install 'boiler[{name}]'" if name in ENGINES else "install it, or add it to PYTHONPATH"
        raise EngineError(f"the engine {name} cannot be imported ({error}): {advice}") from error
    _check_engine(name, kind)
    return kind  # type: ignore[no-any-return]  # checked one line above


def _check_engine(spec: str, kind: Any) -> None:
    wanted = ("name", "Parameters", "build", "query", "save", "load")
    if missing := [one for one in wanted if not hasattr(kind, one)]:
        raise EngineError(f"{spec} is not an engine: it has no {', '.join(missing)} (see boiler.engine.Engine)")
    settings: Any = getattr(kind.Parameters, "__dataclass_params__", None)
    if settings is None or not settings.frozen:
        raise EngineError(f"{spec} is not an engine: its Parameters are not a frozen dataclass")
    if not re.fullmatch("[a-z][a-z0-9_]*", kind.name) or (kind.name in ENGINES and spec not in ENGINES):
        raise EngineError(
            f"{spec}: an engine needs a lower-case name that no other engine has, not {kind.name!r}; boiler has its own"
            f" {', '.join(ENGINES)}"
        )


def parse_parameters(kind: type[Engine], options: Mapping[str, Any], *, seed: int = 0) -> Any:
    """An engine's `Parameters` from options by name; values may be text, as from a command line.

    `seed` is that of the index, used where the engine has a parameter of that name and `options` does not set it.

    Raises: UnknownNameError: an option the engine does not have. EngineError: a value of another type or out of range.

    >>> parse_parameters(find_engine("annoy"), {"n_trees": "20"}, seed=7)
    AnnoyParameters(n_trees=20, search_k=None, seed=7)
    """
    types = get_type_hints(kind.Parameters)
    known = [one.name for one in dataclasses.fields(kind.Parameters)]
    for key in options:
        if key not in known:
            raise UnknownNameError(f"option of the engine {kind.name}", key, known)
    values = {key: _parse_value(f"the engine {kind.name}: {key}", value, types[key]) for key, value in options.items()}
    if "seed" in known:
        values.setdefault("seed", seed)
    try:
        return kind.Parameters(**values)
    except ValueError as error:
        raise EngineError(f"the engine {kind.name}: {error}") from error


def _parse_value(what: str, value: Any, hint: Any) -> Any:
    choices = get_args(hint) or (hint,)
    if value is None and NoneType in choices:
        return None
    wanted = next(one for one in choices if one is not NoneType)
    if type(value) is wanted:
        return value
    try:
        if isinstance(value, str):
            return {"true": True, "false": False}[value.lower()] if wanted is bool else wanted(value)
        if wanted is float and type(value) is int:
            return float(value)
    except (ValueError, KeyError):
        pass
    raise EngineError(f"{what} must be of type {wanted.__name__}, not {value!r}")


def normalize(vectors: npt.ArrayLike) -> Float32Array:
    """Scale vectors to unit length. A zero vector has no direction and stays zero.

    Computed in float64, relative to the largest component of each vector, so that neither 1e-30 nor 1e300 underflows or
    overflows.

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
    vectors: Float32Array, queries: Float32Array, k: int, query_of: Int64Array | None, candidates: Int64Array
) -> Neighbours:
    """The k nearest of the candidate rows of each query, by exact distance.

    `query_of`: the query that each candidate belongs to, ascending; None for a single query. Every query needs at least
    k different candidates.

    The distance is the length of the difference, which for unit vectors is `sqrt(2 (1 - cos))` and stays accurate where
    the cosine is nearly 1.

    Shape: vectors [N, D], queries [Q, D], query_of [C], candidates [C] -> [Q, k]

    Raises: ValueError: vectors or queries are not float32, the vectors are not in C order, or a query has fewer than k
    candidates.
    """
    found = empty_neighbours(len(queries), k)
    query_of = None if query_of is None else np.ascontiguousarray(query_of)
    rerank.nearest(vectors, np.ascontiguousarray(queries), query_of, np.ascontiguousarray(candidates), *found)
    return found


def empty_neighbours(n_queries: int, k: int) -> Neighbours:
    """Zero-filled arrays for the result, to be written into; the result itself if there are no queries or no rows."""
    return Neighbours(np.zeros((n_queries, k), np.int64), np.zeros((n_queries, k), np.float32))


def recall(found: Neighbours, truth: Neighbours) -> float:
    """The fraction of `found` that is at least as near as the last of the true neighbours: rows at the same distance
    are equally good. 0 if there are fewer neighbours than in `truth`, 1 if `truth` is empty.

    >>> truth = Neighbours(np.array([[4, 7]]), np.float32([[0.1, 0.2]]))
    >>> recall(Neighbours(np.array([[4, 9]]), np.float32([[0.1, 0.3]])), truth)
    0.5
    """
    if found.rows.shape != truth.rows.shape:
        return 0.0
    if not truth.rows.size:
        return 1.0
    return float((found.distances <= truth.distances[:, -1:] + TOLERANCE).mean())


__getattr__ = module_getattr(__name__, {"find": "find_engine"})
