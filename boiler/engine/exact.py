"""Exact search: every row is looked at. What answers while N is small, and within a filter of any size.

A few queries go through faiss's scan, which reads the mapped vectors once and keeps the best as it goes (measured at
10,000 rows of 64 numbers: 74 microseconds; numpy's product and partition 87). Many at a time go through one matrix
product; the best of each are then picked by comparing with a bound, which is several times cheaper than sorting.

Both work in float32 and take along whatever is within the rounding error of the k-th best; `nearest_of` settles the
rest. Neither starts threads of its own for one query.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import faiss
import numpy as np

from boiler.engine import Found, Rows, Vectors, nearest_of, nothing

FEW = 8  # queries; from here on one matrix product is quicker
SLACK = 6  # rows fetched beyond k, so that the rounding error of the k-th is nearly always covered at once
_GROUP = 32  # columns whose best stands for them when the bound is looked for
_BLOCK_SCORES = 1 << 22
_GATHERED = 1 << 16  # rows copied out of the map at a time


class Exact:
    """The truth. Nothing is built and nothing saved: the vectors are all it needs."""

    name: ClassVar[str] = "exact"

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = np.asarray(vectors)  # without the class of a memory map, whose slices cost four times as much
        # Twice what rounding can do to a product of unit vectors in float32, in any order of summation.
        self._margin = 2 * (vectors.shape[1] + 2) * 2.0**-24

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
        wanted = k + SLACK
        while 4 * wanted < len(self.vectors):
            scores, rows = faiss.knn(query, self.vectors, wanted, metric=faiss.METRIC_INNER_PRODUCT)
            covered = scores[0, k - 1] - scores[0] <= self._margin
            if not covered[-1]:  # all that could be among the k nearest are in
                candidates = rows[0][covered]
                return nearest_of(self.vectors, query, k, np.zeros_like(candidates), candidates)
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
        """The nearest of a few rows: copied out, part by part, and asked as if they were all."""
        k = min(k, len(among))
        parts = [
            (rows, Exact(self.vectors[rows]).query(queries, k))
            for rows in (among[at : at + _GATHERED] for at in range(0, max(len(among), 1), _GATHERED))
        ]
        rows = np.concatenate([own[found.rows] for own, found in parts], axis=1)
        distances = np.concatenate([found.distances for _, found in parts], axis=1)
        order = np.lexsort((rows, distances), axis=1)[:, :k]
        return Found(np.take_along_axis(rows, order, axis=1), np.take_along_axis(distances, order, axis=1))


def _joined(parts: list[Found]) -> Found:
    if len(parts) == 1:
        return parts[0]
    return Found(np.concatenate([part.rows for part in parts]), np.concatenate([part.distances for part in parts]))
