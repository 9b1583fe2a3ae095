"""Rank every item against every other, in blocks of bounded memory, with groups excluded from each other's answers.

Items are compared by the cosine of their vectors; for an item of several windows its best window counts, as in a
search. Ties are broken by item number, so the same vectors give the same results on every machine.

Excluded from a query's answers are the query itself and the items of its groups: those with the same non-negative index
in any column of `groups` (same recording, same speaker, same fold).

50,000 items are 2.5 billion pairs. Similarity and item number are packed into one 64-bit key: sorting those is
several times faster than an argsort, and breaks the ties. A block holds 8 MiB of keys, and several threads share the
blocks (numpy releases the GIL while it sorts and multiplies).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from boiler.arrays import BoolArray, Float32Array, Float64Array, Int64Array, IntArray
from boiler.evaluation import metrics

BlockResult = TypeVar("BlockResult")
BLOCK_KEYS = 1 << 20  # of 8 bytes
_NUMBER_MASK = (1 << 32) - 1


@dataclass(frozen=True)
class Collection:
    """The items to rank.

    vectors: [N, D], one of unit length per item; the queries, and the candidates if there are no `windows`
    groups: [N] or [N, G], group indices, negative for none
    windows: [W, D], the windows of the items, in the order of the items
    first: [N], the first window of each item
    """

    vectors: Float32Array
    groups: IntArray | None = None
    windows: Float32Array | None = None
    first: IntArray | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def similarities(self, queries: Float32Array) -> Float32Array:
        """The cosine of each query with each item. Shape: [Q, D] -> [Q, N]"""
        if self.windows is None or self.first is None:
            return queries @ self.vectors.T
        return np.maximum.reduceat(queries @ self.windows.T, self.first, axis=1)

    def excluded(self, queries: IntArray) -> BoolArray:
        """Which items are excluded from the answers of each query. Shape: item numbers [Q] -> [Q, N]"""
        excluded = np.asarray(queries[:, None] == np.arange(len(self))[None, :])
        if self.groups is not None:
            for group in self.groups.reshape(len(self), -1).T:
                excluded |= (group[queries, None] == group[None, :]) & (group[queries, None] >= 0)
        return excluded

    def _keys(self, queries: IntArray) -> tuple[Int64Array, Int64Array]:
        """Keys [Q, N], whose ascending order is the ranking with excluded items last; and numbers of candidates [Q]."""
        excluded = self.excluded(queries)
        far = -self.similarities(self.vectors[queries])
        far += 0.0  # turns -0.0 into 0.0: equal similarities must have equal keys
        far[excluded] = np.inf
        bits = far.view(np.int32)
        bits ^= (bits >> 31) & 0x7FFFFFFF  # integers in the order of the floats
        keys = bits.astype(np.int64)
        keys <<= 32
        keys |= np.arange(len(self), dtype=np.int64)
        return keys, (~excluded).sum(1)


@dataclass(frozen=True)
class Scores:
    """The measures of `boiler.evaluation.metrics` for each query.

    queries: [Q], items with at least one relevant candidate
    by_query: each measure [Q]
    chance: the expected value of each measure in a random order [Q]
    neighbours: [Q, k], the first answers, -1 for none
    unanswerable: the items that have no relevant candidate
    """

    queries: Int64Array
    by_query: dict[str, Float64Array]
    chance: dict[str, Float64Array]
    neighbours: Int64Array
    unanswerable: Int64Array


def score_queries(
    collection: Collection,
    labels: IntArray | BoolArray,
    *,
    ks: Sequence[int] = metrics.KS,
    queries: IntArray | None = None,
    advance: Callable[[int], None] | None = None,
) -> Scores:
    """Rank all items for each query, and measure the rankings.

    Arguments:
        labels: class indices [N], or a tag matrix [N, L].
        ks: cut-offs.
        queries: item numbers, by default all.
        advance: called with the number of queries done since the last call.
    """
    query_items = np.arange(len(collection)) if queries is None else np.asarray(queries)
    tags = labels.astype(np.bool_) if labels.ndim == 2 else None
    # Small integers, so that the table in which the sorted numbers are looked up fits into the cache.
    small = np.uint16 if len(labels) < 2**16 else np.uint32
    classes = np.unique(labels, return_inverse=True)[1].astype(small) if tags is None else np.zeros(0, small)

    def work(block: IntArray) -> _BlockScores:
        keys, candidates = collection._keys(block)
        keys.sort(axis=1)
        keys &= _NUMBER_MASK
        allowed = np.arange(len(collection))[None, :] < candidates[:, None]
        if tags is None:
            hits = (classes.take(keys) == classes[block, None]) & allowed
            answerable = hits.any(1)
            hits, candidates = hits[answerable], candidates[answerable]
            found, expected, n_hits = metrics.measure_hits(hits, candidates, ks), {}, hits.sum(1)
        else:
            gains = np.take_along_axis(metrics.shared_tags(tags[block], tags), keys, axis=1)
            gains[~allowed] = 0
            answerable = gains.any(1)
            gains, candidates = gains[answerable], candidates[answerable]
            found, expected = metrics.measure_gains(gains, candidates, ks), metrics.chance(gains, candidates, ks)
            n_hits = (gains > 0).sum(1)
        first = np.where(allowed[:, : max(ks)], keys[:, : max(ks)], -1)[answerable]
        return _BlockScores(answerable, found, expected, first, n_hits, candidates)

    parts = list(_in_blocks(work, query_items, collection, advance))
    if not parts:
        return Scores(np.zeros(0, np.int64), {}, {}, np.zeros((0, max(ks)), np.int64), np.zeros(0, np.int64))
    answerable = np.concatenate([part.answerable for part in parts])
    if tags is None:
        expected = _chance_of_hits(
            np.concatenate([part.hits for part in parts]), np.concatenate([part.candidates for part in parts]), ks
        )
    else:
        expected = _joined([part.chance for part in parts])
    return Scores(
        queries=query_items[answerable].astype(np.int64),
        by_query=_joined([part.by_query for part in parts]),
        chance=expected,
        neighbours=np.concatenate([part.first for part in parts]),
        unanswerable=query_items[~answerable].astype(np.int64),
    )


class _BlockScores(NamedTuple):
    """The scores of one block of queries: `answerable`, which of them have a relevant candidate; the other fields are
    for those only."""

    answerable: BoolArray
    by_query: dict[str, Float64Array]
    chance: dict[str, Float64Array]
    first: IntArray
    hits: IntArray
    candidates: IntArray


def _joined(parts: list[dict[str, Float64Array]]) -> dict[str, Float64Array]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _chance_of_hits(hits: IntArray, candidates: IntArray, ks: Sequence[int]) -> dict[str, Float64Array]:
    """`metrics.chance` for gains of 0 and 1. It depends on the numbers of hits and of candidates only, so it is
    computed once per distinct pair of these."""
    cases, which = np.unique(np.stack([hits, candidates], 1), axis=0, return_inverse=True)
    size = max(1, BLOCK_KEYS // max(int(candidates.max(initial=0)), 1))
    parts = []
    for start in range(0, len(cases), size):
        some = cases[start : start + size]
        gains = np.arange(some[:, 1].max())[None, :] < some[:, :1]
        parts.append(metrics.chance(gains.astype(np.float32), some[:, 1], ks))
    return {name: values[which.reshape(-1)] for name, values in _joined(parts).items()} if parts else {}


def neighbours(
    collection: Collection, k: int, *, queries: IntArray | None = None, advance: Callable[[int], None] | None = None
) -> Int64Array:
    """The k nearest items of each query, nearest first, -1 where there are no more candidates.

    Shape: -> [Q, k]
    """
    query_items = np.arange(len(collection)) if queries is None else np.asarray(queries)
    kept = min(k, len(collection))

    def work(block: IntArray) -> Int64Array:
        keys, candidates = collection._keys(block)
        if kept < len(collection):
            keys = np.partition(keys, kept - 1, axis=1)[:, :kept]
        found = np.sort(keys, axis=1) & _NUMBER_MASK
        found[np.arange(kept)[None, :] >= candidates[:, None]] = -1
        return np.pad(found, ((0, 0), (0, k - kept)), constant_values=-1)

    parts = list(_in_blocks(work, query_items, collection, advance))
    return np.concatenate(parts) if parts else np.zeros((0, k), np.int64)


def knn_accuracy(
    collection: Collection, labels: IntArray, folds: IntArray, k: int = 5, *, n_folds: int | None = None
) -> Float64Array:
    """Accuracy of a majority vote of the k nearest items outside of the query's fold, by fold.

    Shape: labels [N]; folds [N] from 0, negative for an item that is a candidate but not a query -> [folds]
    """
    columns = [folds] if collection.groups is None else [folds, *collection.groups.reshape(len(collection), -1).T]
    other_folds = Collection(collection.vectors, np.stack(columns, 1), collection.windows, collection.first)
    queries = np.flatnonzero(folds >= 0)
    near = neighbours(other_folds, k, queries=queries)
    predicted = metrics.majority_vote(np.where(near >= 0, labels[near], -1))
    correct = (predicted == labels[queries]).astype(np.float64)
    return metrics.mean_by_class(folds[queries], correct, n_folds or int(folds.max(initial=-1)) + 1)


def _in_blocks(
    work: Callable[[IntArray], BlockResult],
    queries: IntArray,
    collection: Collection,
    advance: Callable[[int], None] | None,
) -> Iterator[BlockResult]:
    """`work(block)` for each block of the queries, in order; several threads each work on one block at a time."""
    width = len(collection) if collection.windows is None else max(len(collection), len(collection.windows))
    size = max(1, BLOCK_KEYS // max(width, 1))
    blocks = [queries[start : start + size] for start in range(0, len(queries), size)]
    workers = min(os.cpu_count() or 1, 8)
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(blocks), workers):
            running = blocks[start : start + workers]
            for block, result in zip(running, pool.map(work, running), strict=True):
                if advance is not None:
                    advance(len(block))
                yield result
