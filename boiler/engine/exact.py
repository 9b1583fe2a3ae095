"""Exact search: every row is looked at. What answers while N is small, and within a filter of any size.

A few queries go through faiss's scan, which reads the vectors once and keeps the best as it goes (measured at 10,000
rows of 64 numbers: 74 microseconds; numpy's product and partition 87). While they are not many, it reads a copy in half
precision, which fits a processor's cache (52). Many at a time go through one matrix product; the best of each are then
picked by comparing with a bound, which is several times cheaper than sorting.

All take along whatever is within the rounding error of the k-th best; `nearest_of` settles the rest. A scan stays on
the thread that asks: left alone, faiss spreads one query over all cores, whose threads wait for each other by spinning
(measured at 10,000 rows on two busy cores: 8,830 microseconds of processor time a query, kept to its thread 91).
"""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import Any, ClassVar, Self

import faiss
import numpy as np
import numpy.typing as npt

from boiler.engine import Found, Rows, Vectors, nearest_of, nothing

FEW = 8  # queries; from here on one matrix product is quicker
SLACK = 6  # rows fetched beyond k, so that the rounding error of the k-th is nearly always covered at once
_GROUP = 32  # columns whose best stands for them when the bound is looked for
_BLOCK_SCORES = 1 << 22
MANY = 16  # a filter that leaves a larger share than 1/16 is applied after a scan of all rows
MOST_SCANNED = 4_096  # rows of one scan: beyond, keeping the best costs more than copying
_GATHERED = 1 << 16  # rows copied out of the map at a time
_MOST_HALVED = 1 << 23  # numbers, of which the copy in half precision takes 16 MB in each process


_kept = threading.local()


def _keep_to_this_thread() -> None:
    """OpenMP counts its threads for each thread that calls it."""
    if not getattr(_kept, "done", False):
        faiss.omp_set_num_threads(1)
        _kept.done = True


class Exact:
    """The truth. Nothing is saved: the vectors are all it needs. `once`: it is asked once, and no copy pays."""

    name: ClassVar[str] = "exact"

    def __init__(self, vectors: Vectors, *, once: bool = False) -> None:
        self.vectors = np.asarray(vectors)  # without the class of a memory map, whose slices cost four times as much
        # Twice what rounding can do to a product of unit vectors in float32, in any order of summation.
        self._margin = 2 * (vectors.shape[1] + 2) * 2.0**-24
        self._halves = not once and vectors.size <= _MOST_HALVED

    @functools.cached_property
    def _halved(self) -> tuple[Any, float]:
        """The vectors in half precision, and twice what that can do to a product with a unit vector."""
        halves = faiss.IndexScalarQuantizer(
            self.vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        halves.train(self.vectors)
        halves.add(self.vectors)
        lost = self.vectors - self.vectors.astype(np.float16)
        return halves, 2 * float(np.sqrt(np.einsum("ij,ij->i", lost, lost, dtype=np.float64).max()))

    @classmethod
    def build(cls, vectors: Vectors) -> Self:
        return cls(vectors)

    def save(self, path: Path) -> None:
        """Nothing to write."""

    @classmethod
    def load(cls, path: Path, vectors: Vectors) -> Self:
        return cls(vectors)

    def query(self, queries: Vectors, k: int, among: Rows | None = None) -> Found:
        """The nearest rows of each query; with `among` (rising row numbers), the nearest of those rows."""
        if among is not None:
            return self._query_among(queries, k, among)
        k = min(k, len(self.vectors))
        if not k or not len(queries):
            return nothing(len(queries), k)
        if len(queries) < FEW:
            return _joined([self._scan(query[None], k) for query in queries])
        size = max(1, _BLOCK_SCORES // len(self.vectors))
        return _joined([self._product(queries[at : at + size], k) for at in range(0, len(queries), size)])

    def _scan(self, query: Vectors, k: int) -> Found:
        """One query."""
        _keep_to_this_thread()
        index, margin = None, self._margin
        if self._halves:
            index, more = self._halved
            margin += more
        wanted = k + SLACK
        while 4 * wanted < len(self.vectors):
            if index is None:
                scores, rows = faiss.knn(query, self.vectors, wanted, metric=faiss.METRIC_INNER_PRODUCT)
            else:
                scores, rows = index.search(query, wanted)
            covered = scores[0, k - 1] - scores[0] <= margin
            if not covered[-1]:  # all that could be among the k nearest are in
                candidates = rows[0][covered]
                return nearest_of(self.vectors, query, k, None, candidates)
            wanted *= 4
        return self._product(query, k)

    def _product(self, queries: Vectors, k: int) -> Found:
        """Many queries."""
        scores = queries @ self.vectors.T
        groups = -(-scores.shape[1] // _GROUP)
        if groups >= 2 * k:
            # The k-th of the groups' best is at most the k-th of all.
            best = np.maximum.reduceat(scores, np.arange(0, scores.shape[1], _GROUP), axis=1)
            bound = np.partition(best, groups - k, axis=1)[:, groups - k]
        else:
            bound = np.partition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k]
        asked, candidates = np.nonzero(scores >= (bound - self._margin)[:, None])
        return nearest_of(self.vectors, queries, k, asked, candidates)

    def _query_among(self, queries: Vectors, k: int, among: Rows) -> Found:
        """The nearest of some rows. Many of all: everything is scanned, and what does not count is passed over. Else
        they are copied out, part by part, and asked as if they were all."""
        k = min(k, len(among))
        if not k or not len(queries):
            return nothing(len(queries), k)
        if len(among) * MANY > len(self.vectors) and len(queries) < FEW:
            counts = np.zeros(len(self.vectors), np.bool_)
            counts[among] = True
            found = [self._scan_among(query[None], k, counts, len(among)) for query in queries]
            if all(one is not None for one in found):
                return _joined([one for one in found if one is not None])
        parts = [
            (rows, Exact(self.vectors[rows], once=True).query(queries, k))
            for rows in (among[at : at + _GATHERED] for at in range(0, max(len(among), 1), _GATHERED))
        ]
        rows = np.concatenate([own[found.rows] for own, found in parts], axis=1)
        distances = np.concatenate([found.distances for _, found in parts], axis=1)
        order = np.lexsort((rows, distances), axis=1)[:, :k]
        return Found(np.take_along_axis(rows, order, axis=1), np.take_along_axis(distances, order, axis=1))

    def _scan_among(self, query: Vectors, k: int, counts: npt.NDArray[np.bool_], n: int) -> Found | None:
        """One query, by a scan of everything for so many more that k of them count; None where that does not pay."""
        wanted = (k + SLACK) * len(self.vectors) // n * 2
        while wanted < min(MOST_SCANNED, len(self.vectors)):
            scores, rows = faiss.knn(query, self.vectors, wanted, metric=faiss.METRIC_INNER_PRODUCT)
            good = np.flatnonzero(counts[rows[0]])
            if len(good) >= k and scores[0, good[k - 1]] - scores[0, -1] > self._margin:
                covered = good[scores[0, good[k - 1]] - scores[0, good] <= self._margin]
                return nearest_of(self.vectors, query, k, None, rows[0, covered])
            wanted *= 4
        return None


def _joined(parts: list[Found]) -> Found:
    if len(parts) == 1:
        return parts[0]
    return Found(np.concatenate([part.rows for part in parts]), np.concatenate([part.distances for part in parts]))
