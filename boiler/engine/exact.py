"""Exact search: every row is compared. It answers while the index is small, and within any filter.

Small indexes compare rows as int8 first (numkong: int8 dot products). The error of rounding to int8 is bounded, so
every row that could be among the nearest is kept, a few dozen, and ranked again by its exact distance. Measured at
10,000 rows of 64 components on a busy machine: 31 microseconds for one query, 20 for each of eight; with numpy's matrix
product 46 and 56.

Larger indexes, and the rows of a filter, use the scan of faiss, which reads the vectors once and keeps the best so far;
many queries use one matrix product. The nearest are then selected by a threshold, which is several times cheaper than
sorting.

All methods keep every row within the rounding error of the k-th best, and rerank these by exact distance. A scan runs
on
the calling thread only: by default faiss distributes one query over all cores, whose threads spin while they wait for
each other (10,000 rows on two busy cores: 8,830 microseconds of CPU time per query; on one thread 91).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import faiss
import numkong
import numpy as np

from boiler.arrays import Float32Array, Float64Array, Int64Array
from boiler.engine import Neighbours, empty_neighbours, rerank, rerank_candidates

PRODUCT_FROM_QUERIES = 8
"""From this many queries on, one matrix product is faster than scans."""
OVER_FETCH = 6
"""Rows that a scan fetches beyond k: usually enough to cover the rounding error of the k-th."""
_BLOCK_SCORES = 1 << 22  # scores in memory at a time
_COPIED_ROWS = 1 << 16  # rows copied out of the memory map at a time
_MAX_BYTES = 1 << 24  # of int8 rows kept in each process, at least _ROW_BYTES each
_ROW_BYTES = 128  # numkong pads rows to the size of a register
_INT8_MAX = 127

_thread = threading.local()


def _use_one_thread() -> None:
    """Limit OpenMP to one thread, which is a setting of the calling thread."""
    if not getattr(_thread, "limited", False):
        faiss.omp_set_num_threads(1)
        _thread.limited = True


@dataclass(frozen=True)
class ExactParameters:
    """Exact search has no parameters."""


class Exact:
    """Exact search over vectors. It saves nothing, because it needs the vectors only.

    `once`: it will be queried only once, so converting the rows to int8 is not worth the time.
    """

    name: ClassVar[str] = "exact"
    Parameters: ClassVar[type[ExactParameters]] = ExactParameters

    def __init__(self, vectors: Float32Array, *, once: bool = False) -> None:
        self.parameters = ExactParameters()
        self.recall_at_10: float | None = 1.0
        # A plain array over the memory map: slicing an `np.memmap` takes four times as long.
        self.vectors: Float32Array = np.ascontiguousarray(vectors, np.float32)
        # Twice the largest rounding error of a float32 product of unit vectors, in any order of summation.
        self._margin = 2 * (vectors.shape[1] + 2) * 2.0**-24
        self._small = not once and len(vectors) * max(vectors.shape[1], _ROW_BYTES) <= _MAX_BYTES
        self._lock = threading.Lock()
        self._int8: _Int8Rows | None = None

    @property
    def _int8_rows(self) -> _Int8Rows:
        if self._int8 is None:
            with self._lock:
                if self._int8 is None:
                    self._int8 = _Int8Rows(self.vectors)
        return self._int8

    @classmethod
    def build(cls, vectors: Float32Array, parameters: ExactParameters) -> Self:
        return cls(vectors)

    def save(self, path: Path) -> None:
        """Write nothing."""

    @classmethod
    def load(cls, path: Path, vectors: Float32Array, parameters: ExactParameters) -> Self:
        return cls(vectors)

    def query(self, queries: Float32Array, k: int, among: Int64Array | None = None) -> Neighbours:
        """The nearest rows of each query; with `among` (row numbers, ascending), the nearest of those rows."""
        if among is not None:
            return self._query_among(queries, k, among)
        k = min(k, len(self.vectors))
        if not k or not len(queries):
            return empty_neighbours(len(queries), k)
        queries = np.ascontiguousarray(queries, np.float32)
        if self._small and 4 * (k + OVER_FETCH) < len(self.vectors):
            return self._in_blocks(self._by_int8, queries, k)
        if min(len(queries), _BLOCK_SCORES // len(self.vectors)) < PRODUCT_FROM_QUERIES:
            return _concatenated([self._scan(query[None], k) or self._by_product(query[None], k) for query in queries])
        return self._in_blocks(self._by_product, queries, k)

    def _scan(self, query: Float32Array, k: int, among: Int64Array | None = None) -> Neighbours | None:
        """The nearest of one query; None if so many rows are equally near that a product is faster."""
        n = len(self.vectors) if among is None else len(among)
        wanted = k + OVER_FETCH
        while 4 * wanted < n:
            scores, rows = self._highest(query, wanted, among)
            within = scores[0, k - 1] - scores[0] <= self._margin
            if not within[-1]:  # every row that could be among the nearest has been fetched
                return rerank_candidates(self.vectors, query, k, None, rows[0][within])
            wanted *= 4
        return None

    def _highest(self, query: Float32Array, wanted: int, among: Int64Array | None) -> tuple[Float32Array, Int64Array]:
        """The products of one query with the rows of highest product, and these rows. Shape: [1, wanted] each"""
        _use_one_thread()
        if among is None:
            highest: tuple[Float32Array, Int64Array] = faiss.knn(
                query, self.vectors, wanted, metric=faiss.METRIC_INNER_PRODUCT
            )
            return highest
        # A selector reads the rows in place; copying them takes up to ten times as long.
        scores, rows = np.empty((1, wanted), np.float32), np.empty((1, wanted), np.int64)
        x, y, best, ids = (faiss.swig_ptr(one) for one in (np.ascontiguousarray(query), self.vectors, scores, rows))
        selector: Any = faiss.IDSelectorArray(len(among), faiss.swig_ptr(among))
        scan: Any = faiss.knn_inner_product
        scan(x, y, self.vectors.shape[1], 1, len(self.vectors), wanted, best, ids, selector)
        return scores, rows

    def _by_int8(self, queries: Float32Array, k: int) -> Neighbours:
        return _nearest_scored(self.vectors, queries, k, *self._int8_rows.products(queries, self._margin))

    def _by_product(self, queries: Float32Array, k: int) -> Neighbours:
        slack = np.full(len(queries), self._margin)
        return _nearest_scored(self.vectors, queries, k, queries @ self.vectors.T, slack)

    def _query_among(self, queries: Float32Array, k: int, among: Int64Array) -> Neighbours:
        """Scan the rows for a few queries; for many, copy the rows block by block and search each block like a whole
        index."""
        k = min(k, len(among))
        if not k or not len(queries):
            return empty_neighbours(len(queries), k)
        if len(queries) < PRODUCT_FROM_QUERIES:
            among = np.ascontiguousarray(among, np.int64)
            scanned = [self._scan(query[None], k, among) for query in queries]
            if all(one is not None for one in scanned):
                return _concatenated([one for one in scanned if one is not None])
        parts = [
            (part, Exact(self.vectors[part], once=True).query(queries, k))
            for part in (among[at : at + _COPIED_ROWS] for at in range(0, max(len(among), 1), _COPIED_ROWS))
        ]
        rows = np.concatenate([part[found.rows] for part, found in parts], axis=1)
        distances = np.concatenate([found.distances for _, found in parts], axis=1)
        order = np.lexsort((rows, distances), axis=1)[:, :k]
        return Neighbours(np.take_along_axis(rows, order, axis=1), np.take_along_axis(distances, order, axis=1))

    def _in_blocks(
        self, search: Callable[[Float32Array, int], Neighbours], queries: Float32Array, k: int
    ) -> Neighbours:
        """Search for as many queries at a time as `_BLOCK_SCORES` allows."""
        size = max(1, _BLOCK_SCORES // len(self.vectors))
        return _concatenated([search(queries[at : at + size], k) for at in range(0, len(queries), size)])


class _Int8Rows:
    """Rows rounded to int8, and the largest norm of a rounding error."""

    def __init__(self, vectors: Float32Array) -> None:
        self._step = float(np.abs(vectors).max()) / _INT8_MAX or 1.0
        rounded = np.empty(vectors.shape, np.int8)
        largest = 0.0
        for at in range(0, len(vectors), _COPIED_ROWS):
            part = vectors[at : at + _COPIED_ROWS] / np.float32(self._step)
            rounded[at : at + _COPIED_ROWS] = whole = np.rint(part)
            part -= whole
            largest = max(largest, float(np.einsum("ij,ij->i", part, part).max()))
        self._lost = 1.001 * largest**0.5 * self._step  # a little more: it is computed in float32
        self._packed = numkong.dots_pack(rounded, "int8")

    def products(self, queries: Float32Array, margin: float) -> tuple[Any, Float64Array]:
        """The integer products of queries and rows, and the slack of each query: a row whose product is lower than the
        k-th highest by more than the slack is not among the k nearest. `margin`: the difference up to which products of
        the vectors themselves count as equal.

        Shape: queries [Q, D] -> int32 [Q, N], float64 [Q]
        """
        rounded, slack = np.empty(queries.shape, np.int8), np.empty(len(queries))
        rerank.rounded(queries, self._step, self._lost, margin, rounded, slack)
        return numkong.dots_packed(rounded, self._packed), slack


def _nearest_scored(
    vectors: Float32Array, queries: Float32Array, k: int, scores: Any, slack: Float64Array
) -> Neighbours:
    found = empty_neighbours(len(queries), k)
    rerank.nearest_scored(vectors, queries, scores, slack, *found)
    return found


def _concatenated(parts: list[Neighbours]) -> Neighbours:
    if len(parts) == 1:
        return parts[0]
    return Neighbours(np.concatenate([part.rows for part in parts]), np.concatenate([part.distances for part in parts]))
