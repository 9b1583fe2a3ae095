"""`rerank.c` in numpy, for installations without the compiled module: the same results, more slowly.

The same three functions, with the same checks; see `rerank.pyi` for what they do. Distances are computed in float64 in
another order of summation, so they may differ in the last bit of a float32. An exact search of 10,000 rows takes 3 to 4
times as long (`python -m exp.benchmarks.search --engines exact`: 217 against 57 us, mean of three runs).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from boiler.arrays import AnyArray, Float32Array, Float64Array, Int8Array, Int64Array

_GROUPS = 512
_INT8_MAX = 127
_FLOAT32, _FLOAT64, _INT8, _INT32, _INT64 = (np.dtype(one) for one in ("f4", "f8", "i1", "i4", "i8"))


def nearest(
    vectors: Float32Array,
    queries: Float32Array,
    query_of: Int64Array | None,
    candidates: Int64Array,
    rows: Int64Array,
    distances: Float32Array,
) -> None:
    _check("vectors", vectors, 2, _FLOAT32)
    _check("queries", queries, 2, _FLOAT32)
    if query_of is not None:
        _check("query_of", query_of, 1, _INT64)
    _check("candidates", candidates, 1, _INT64)
    _check_result(rows, distances)
    n_queries, k = rows.shape
    if (
        queries.shape != (n_queries, vectors.shape[1])
        or k < 1
        or (n_queries != 1 if query_of is None else query_of.shape != candidates.shape)
    ):
        raise ValueError("the shapes do not match")
    if len(candidates) and not 0 <= candidates.min() <= candidates.max() < len(vectors):
        raise IndexError("a candidate is not a row")
    if query_of is None:
        _write_nearest(vectors, queries[0], candidates, rows[0], distances[0])
        return
    if len(query_of) and (query_of[0] < 0 or query_of[-1] >= n_queries or (np.diff(query_of) < 0).any()):
        raise IndexError("query_of is not ascending, or not a query")
    ends = np.searchsorted(query_of, np.arange(n_queries), side="right")
    begin = 0
    for at, end in enumerate(ends):
        _write_nearest(vectors, queries[at], candidates[begin:end], rows[at], distances[at])
        begin = end


def nearest_scored(
    vectors: Float32Array,
    queries: Float32Array,
    scores: Any,
    slack: Float64Array,
    rows: Int64Array,
    distances: Float32Array,
) -> None:
    _check("vectors", vectors, 2, _FLOAT32)
    _check("queries", queries, 2, _FLOAT32)
    scores = np.asarray(scores) if hasattr(scores, "__buffer__") or hasattr(scores, "__array_interface__") else scores
    _check("scores", scores, 2, _INT32, _FLOAT32)
    _check("slack", slack, 1, _FLOAT64)
    _check_result(rows, distances)
    (n_queries, k), n = rows.shape, len(vectors)
    if (
        queries.shape != (n_queries, vectors.shape[1])
        or scores.shape != (n_queries, n)
        or slack.shape != (n_queries,)
        or not 1 <= k <= n
    ):
        raise ValueError("the shapes do not match")
    if not (slack >= 0).all():
        raise ValueError("a slack is negative or NaN")
    for at, own in enumerate(scores):
        _write_nearest(
            vectors, queries[at], np.flatnonzero(own >= _threshold(own, k, slack[at])), rows[at], distances[at]
        )


def _threshold(scores: AnyArray, k: int, slack: float) -> Any:
    """A score that every row within `slack` of the k-th highest reaches, and few others.

    The k-th highest of the maxima of many groups is at most the k-th highest of all, and cheaper to find.
    """
    n_groups = max(8 * k, _GROUPS)
    if len(scores) >= 2 * n_groups:
        size = len(scores) // n_groups
        scores = scores[: size * n_groups].reshape(size, n_groups)
        scores = scores.max(axis=0) if scores.dtype == _INT32 else np.fmax.reduce(scores)
    kth = np.partition(scores, len(scores) - k)[len(scores) - k]
    if scores.dtype == _INT32:
        return np.int32(max(np.floor(float(kth) - slack), np.iinfo(np.int32).min))  # int32, as the scores: faster
    return np.nextafter(np.float32(float(kth) - slack), np.float32(-np.inf))


def rounded(
    queries: Float32Array, step: float, lost: float, margin: float, whole: Int8Array, slack: Float64Array
) -> None:
    step, lost, margin = (1.0 * one for one in (step, lost, margin))  # a TypeError for text
    _check("queries", queries, 2, _FLOAT32)
    _check("whole", whole, 2, _INT8, written=True)
    _check("slack", slack, 1, _FLOAT64, written=True)
    if whole.shape != queries.shape or slack.shape != queries.shape[:1] or not step > 0:
        raise ValueError("the shapes do not match, or the step is not positive")
    wide = queries.astype(np.float64)
    largest = np.abs(wide).max(axis=1, initial=0.0)
    own = np.where(largest > 0, largest, _INT8_MAX) / _INT8_MAX
    finite = np.isfinite(largest)
    if not finite.all():
        wide, own = np.where(finite[:, None], wide, 0.0), np.where(finite, own, 1.0)
    steps = wide / own[:, None]
    whole[:] = nearest_whole = np.rint(steps)
    steps -= nearest_whole
    # The inequality of Cauchy and Schwarz, as in rerank.c.
    error = own * np.sqrt(np.einsum("ij,ij->i", steps, steps))
    slack[:] = np.where(finite, (2 * (lost + (1 + lost) * error) + margin) / (own * step), np.nan)


def _write_nearest(
    vectors: Float32Array, query: Float32Array, candidates: Int64Array, rows: Int64Array, distances: Float32Array
) -> None:
    k = len(rows)
    if len(candidates) < k:
        raise ValueError("a query has fewer candidates than neighbours, or scores that are NaN")
    apart = vectors[candidates].astype(np.float64) - query
    length = np.sqrt(np.einsum("ij,ij->i", apart, apart)).astype(np.float32)
    order = np.lexsort((candidates, length))[:k]
    rows[:], distances[:] = candidates[order], length[order]


def _check_result(rows: Int64Array, distances: Float32Array) -> None:
    _check("rows", rows, 2, _INT64, written=True)
    _check("distances", distances, 2, _FLOAT32, written=True)
    if rows.shape != distances.shape:
        raise ValueError("the shapes do not match")


def _check(name: str, array: AnyArray, ndim: int, *types: np.dtype[Any], written: bool = False) -> None:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name}: a numpy array is expected, not {type(array).__name__}")
    if array.ndim != ndim or array.dtype not in types or not array.flags.aligned:
        raise ValueError(
            f"{name}: an aligned array of {ndim} dimensions of {' or '.join(map(str, types))} is expected, not of"
            f" {array.ndim} of the format '{array.dtype.char}'"
        )
    if not array.flags.c_contiguous:
        raise ValueError(f"{name}: the array is not contiguous")
    if written and not array.flags.writeable:
        raise ValueError(f"{name}: the array is read-only")
