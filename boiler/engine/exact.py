"""Exact search: every row is looked at. What answers while N is small, and within a filter of any size.

While they are not many, the rows are compared as bytes first (numkong: products of whole numbers, many in one
instruction): what rounding to bytes can do to a product is known, so whatever could be among the nearest is taken
along, a few dozen rows, and the vectors themselves decide. Measured at 10,000 rows of 64 numbers, beside other work: 31
microseconds for one query, 20 for each of eight at a time; by numpy's product 46 and 56.

More rows, and those of a filter, go through faiss's scan, which reads the vectors once and keeps the best as it goes;
many queries at a time through one matrix product. The best are picked by comparing with a bound, which is several times
cheaper than sorting.

All take along whatever is within the rounding error of the k-th best; `rerank` has the last word. A scan stays on the
thread that asks: left alone, faiss spreads one query over all cores, whose threads wait for each other by spinning
(measured at 10,000 rows on two busy cores: 8,830 microseconds of processor time a query, kept to its thread 91).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

import faiss
import numkong
import numpy as np

from boiler.arrays import Float32Array, Float64Array, Int64Array
from boiler.engine import Neighbours, empty_neighbours, rerank, rerank_candidates

FEW = 8  # queries; from here on one matrix product is quicker than scans
SLACK = 6  # rows fetched beyond k, so that the rounding error of the k-th is nearly always covered at once
_BLOCK_SCORES = 1 << 22
_GATHERED = 1 << 16  # rows copied out of the map at a time
_MOST_BYTES = 1 << 24  # kept in each process, of rows rounded up to _LEAST_BYTES
_LEAST_BYTES = 128  # of a row: numkong fills rows up to its registers' size
_LARGEST = 127


_kept = threading.local()


def _keep_to_this_thread() -> None:
    """OpenMP counts its threads for each thread that calls it."""
    if not getattr(_kept, "done", False):
        faiss.omp_set_num_threads(1)
        _kept.done = True


class Exact:
    """The truth. Nothing is saved: the vectors are all it needs. `once`: it is asked once, and no copy pays."""

    name: ClassVar[str] = "exact"

    def __init__(self, vectors: Float32Array, *, once: bool = False) -> None:
        # Without the class of a memory map, whose slices cost four times as much.
        self.vectors: Float32Array = np.ascontiguousarray(vectors, np.float32)
        # Twice what rounding can do to a product of unit vectors in float32, in any order of summation.
        self._margin = 2 * (vectors.shape[1] + 2) * 2.0**-24
        self._small = not once and len(vectors) * max(vectors.shape[1], _LEAST_BYTES) <= _MOST_BYTES
        self._making = threading.Lock()
        self._kept_bytes: _Bytes | None = None

    @property
    def _bytes(self) -> _Bytes:
        if self._kept_bytes is None:
            with self._making:
                if self._kept_bytes is None:
                    self._kept_bytes = _Bytes(self.vectors)
        return self._kept_bytes

    @classmethod
    def build(cls, vectors: Float32Array) -> Self:
        return cls(vectors)

    def save(self, path: Path) -> None:
        """Nothing to write."""

    @classmethod
    def load(cls, path: Path, vectors: Float32Array) -> Self:
        return cls(vectors)

    def query(self, queries: Float32Array, k: int, among: Int64Array | None = None) -> Neighbours:
        """The nearest rows of each query; with `among` (rising row numbers), the nearest of those rows."""
        if among is not None:
            return self._query_among(queries, k, among)
        k = min(k, len(self.vectors))
        if not k or not len(queries):
            return empty_neighbours(len(queries), k)
        queries = np.ascontiguousarray(queries, np.float32)
        if self._small and 4 * (k + SLACK) < len(self.vectors):
            return self._in_blocks(self._by_bytes, queries, k)
        if min(len(queries), _BLOCK_SCORES // len(self.vectors)) < FEW:
            return _joined([self._scan(query[None], k) or self._product(query[None], k) for query in queries])
        return self._in_blocks(self._product, queries, k)

    def _scan(self, query: Float32Array, k: int, among: Int64Array | None = None) -> Neighbours | None:
        """One query; None where so many rows are equally near that a product is quicker."""
        n = len(self.vectors) if among is None else len(among)
        wanted = k + SLACK
        while 4 * wanted < n:
            scores, rows = self._best(query, wanted, among)
            covered = scores[0, k - 1] - scores[0] <= self._margin
            if not covered[-1]:  # all that could be among the k nearest are in
                return rerank_candidates(self.vectors, query, k, None, rows[0][covered])
            wanted *= 4
        return None

    def _by_bytes(self, queries: Float32Array, k: int) -> Neighbours:
        """One query or many."""
        return _nearest_scored(self.vectors, queries, k, *self._bytes.products(queries, self._margin))

    def _best(self, query: Float32Array, wanted: int, among: Int64Array | None) -> tuple[Float32Array, Int64Array]:
        """The rows of highest product. Shape: -> [1, wanted] twice"""
        _keep_to_this_thread()
        if among is None:
            best_of_all: tuple[Float32Array, Int64Array] = faiss.knn(
                query, self.vectors, wanted, metric=faiss.METRIC_INNER_PRODUCT
            )
            return best_of_all
        # Looked at where they lie, by their numbers: copying them out takes up to ten times as long.
        scores, rows = np.empty((1, wanted), np.float32), np.empty((1, wanted), np.int64)
        x, y, best, ids = (faiss.swig_ptr(one) for one in (np.ascontiguousarray(query), self.vectors, scores, rows))
        chosen: Any = faiss.IDSelectorArray(len(among), faiss.swig_ptr(among))
        scan: Any = faiss.knn_inner_product
        scan(x, y, self.vectors.shape[1], 1, len(self.vectors), wanted, best, ids, chosen)
        return scores, rows

    def _product(self, queries: Float32Array, k: int) -> Neighbours:
        """Many queries."""
        slack = np.full(len(queries), self._margin)
        return _nearest_scored(self.vectors, queries, k, queries @ self.vectors.T, slack)

    def _query_among(self, queries: Float32Array, k: int, among: Int64Array) -> Neighbours:
        """The nearest of some rows. A few queries scan them; for many they are copied out, part by part, and asked as
        if they were all."""
        k = min(k, len(among))
        if not k or not len(queries):
            return empty_neighbours(len(queries), k)
        if len(queries) < FEW:
            among = np.ascontiguousarray(among, np.int64)
            found = [self._scan(query[None], k, among) for query in queries]
            if all(one is not None for one in found):
                return _joined([one for one in found if one is not None])
        parts = [
            (rows, Exact(self.vectors[rows], once=True).query(queries, k))
            for rows in (among[at : at + _GATHERED] for at in range(0, max(len(among), 1), _GATHERED))
        ]
        rows = np.concatenate([own[found.rows] for own, found in parts], axis=1)
        distances = np.concatenate([found.distances for _, found in parts], axis=1)
        order = np.lexsort((rows, distances), axis=1)[:, :k]
        return Neighbours(np.take_along_axis(rows, order, axis=1), np.take_along_axis(distances, order, axis=1))

    def _in_blocks(self, find: Callable[[Float32Array, int], Neighbours], queries: Float32Array, k: int) -> Neighbours:
        """As many queries at a time as there is room for the products of."""
        k = min(k, len(self.vectors))
        size = max(1, _BLOCK_SCORES // len(self.vectors))
        return _joined([find(queries[at : at + size], k) for at in range(0, len(queries), size)])


class _Bytes:
    """Rows rounded to bytes, and the length of what that loses of one at most."""

    def __init__(self, vectors: Float32Array) -> None:
        self._step = float(np.abs(vectors).max()) / _LARGEST or 1.0
        rounded = np.empty(vectors.shape, np.int8)
        lost = 0.0
        for at in range(0, len(vectors), _GATHERED):
            part = vectors[at : at + _GATHERED] / np.float32(self._step)
            rounded[at : at + _GATHERED] = whole = np.rint(part)
            part -= whole
            lost = max(lost, float(np.einsum("ij,ij->i", part, part).max()))
        self._lost = 1.001 * lost**0.5 * self._step  # a little more: it was worked out in float32
        self._packed = numkong.dots_pack(rounded, "int8")

    def products(self, queries: Float32Array, margin: float) -> tuple[Any, Float64Array]:
        """Of each query with each row, in whole numbers: [Q, N]; and how far from the k-th highest one of the k nearest
        can be, where products that differ by `margin` may be the same: [Q].
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


def _joined(parts: list[Neighbours]) -> Neighbours:
    if len(parts) == 1:
        return parts[0]
    return Neighbours(np.concatenate([part.rows for part in parts]), np.concatenate([part.distances for part in parts]))
