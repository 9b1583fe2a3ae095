"""Every item asked for every other: whole rankings in blocks, memory flat, and who may not answer.

Items are compared by the cosine of their vectors; of an item with several windows the best one speaks for it, as in
a search. Ties are broken by the item's number, so that the same vectors give the same figures everywhere.

Left out of a query's answers are the query itself and the items of its groups: those that have the same non-negative
number in any of the columns of `groups` (same recording, same speaker, same fold).

50,000 items mean 2.5 thousand million pairs. Score and item number are packed into one 64-bit key, whose plain sort is
several times faster than sorting numbers through the scores, and settles the ties besides; blocks keep to
8 MiB of keys, and two threads share the work (numpy sorts and multiplies without holding the interpreter).
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

Part = TypeVar("Part")
BLOCK_KEYS = 1 << 20  # of 8 bytes
_NUMBER = (1 << 32) - 1


@dataclass(frozen=True)
class Collection:
    """What is ranked.

    `vectors` [N, D], unit length, an item each: the queries. `windows` [W, D], where items have several, in the
    order of the items, `first` [N] the first of each; without them the vectors answer too. `groups` [N, G] or [N]:
    who must not answer for whom.
    """

    vectors: Float32Array
    groups: IntArray | None = None
    windows: Float32Array | None = None
    first: IntArray | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def answers(self, queries: Float32Array) -> Float32Array:
        """The cosine of each item with each query. Shape: [Q, D] -> [Q, N]"""
        if self.windows is None or self.first is None:
            return queries @ self.vectors.T
        return np.maximum.reduceat(queries @ self.windows.T, self.first, axis=1)

    def barred(self, queries: IntArray) -> BoolArray:
        """Who must not answer. Shape: [Q] -> [Q, N]"""
        out = np.asarray(queries[:, None] == np.arange(len(self))[None, :])
        if self.groups is not None:
            for group in self.groups.reshape(len(self), -1).T:
                out |= (group[queries, None] == group[None, :]) & (group[queries, None] >= 0)
        return out

    def _keys(self, queries: IntArray) -> tuple[Int64Array, Int64Array]:
        """Keys whose ascending order is the ranking, barred ones last: [Q, N]; and how many may answer: [Q]."""
        barred = self.barred(queries)
        far = -self.answers(self.vectors[queries])
        far += 0.0  # -0.0 becomes 0.0: they are one score, and must be one key
        far[barred] = np.inf
        bits = far.view(np.int32)
        bits ^= (bits >> 31) & 0x7FFFFFFF  # the order of the floats, as integers
        keys = bits.astype(np.int64)
        keys <<= 32
        keys |= np.arange(len(self), dtype=np.int64)
        return keys, (~barred).sum(1)


@dataclass(frozen=True)
class Scores:
    """One number a query for each measure of `metrics`, and what chance would give.

    `queries` [Q] are the items asked; `unanswerable` those left out of it because nothing that may answer them is
    right. `neighbours` [Q, k] are the first answers, -1 for none.
    """

    queries: Int64Array
    by_query: dict[str, Float64Array]
    chance: dict[str, Float64Array]
    neighbours: Int64Array
    unanswerable: Int64Array


def score(
    collection: Collection,
    labels: IntArray | BoolArray,
    *,
    ks: Sequence[int] = metrics.KS,
    queries: IntArray | None = None,
    step: Callable[[int], None] | None = None,
) -> Scores:
    """Every query's whole ranking, measured.

    Shape: labels [N], an integer an item, or [N, L], whether an item has each of L tags. `queries`: which items to
    ask for, all by default. `step` is told how many more queries are done.
    """
    asked = np.arange(len(collection)) if queries is None else np.asarray(queries)
    tags = labels.astype(np.bool_) if labels.ndim == 2 else None
    # Small numbers: the table that a sorted block is looked up in then stays in the processor's cache.
    small = np.uint16 if len(labels) < 2**16 else np.uint32
    kinds = np.unique(labels, return_inverse=True)[1].astype(small) if tags is None else np.zeros(0, small)

    def work(block: IntArray) -> _Part:
        keys, candidates = collection._keys(block)
        keys.sort(axis=1)
        keys &= _NUMBER
        allowed = np.arange(len(collection))[None, :] < candidates[:, None]
        if tags is None:
            hits = (kinds.take(keys) == kinds[block, None]) & allowed
            right = hits.any(1)
            hits, candidates = hits[right], candidates[right]
            found, expected, n_hits = metrics.measures_of_hits(hits, candidates, ks), {}, hits.sum(1)
        else:
            gains = np.take_along_axis(metrics.shared_tags(tags[block], tags), keys, axis=1)
            gains[~allowed] = 0
            right = gains.any(1)
            gains, candidates = gains[right], candidates[right]
            found, expected = metrics.measures(gains, candidates, ks), metrics.chance(gains, candidates, ks)
            n_hits = (gains > 0).sum(1)
        first = np.where(allowed[:, : max(ks)], keys[:, : max(ks)], -1)[right]
        return _Part(right, found, expected, first, n_hits, candidates)

    parts = list(_in_blocks(work, asked, collection, step))
    if not parts:
        return Scores(np.zeros(0, np.int64), {}, {}, np.zeros((0, max(ks)), np.int64), np.zeros(0, np.int64))
    right = np.concatenate([part.right for part in parts])
    if tags is None:
        expected = _chance_of_hits(
            np.concatenate([part.hits for part in parts]), np.concatenate([part.candidates for part in parts]), ks
        )
    else:
        expected = _joined([part.chance for part in parts])
    return Scores(
        queries=asked[right].astype(np.int64),
        by_query=_joined([part.by_query for part in parts]),
        chance=expected,
        neighbours=np.concatenate([part.first for part in parts]),
        unanswerable=asked[~right].astype(np.int64),
    )


class _Part(NamedTuple):
    """What one block of queries gives: `right`, which of them can be answered; the rest for those alone."""

    right: BoolArray
    by_query: dict[str, Float64Array]
    chance: dict[str, Float64Array]
    first: IntArray
    hits: IntArray
    candidates: IntArray


def _joined(parts: list[dict[str, Float64Array]]) -> dict[str, Float64Array]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _chance_of_hits(hits: IntArray, candidates: IntArray, ks: Sequence[int]) -> dict[str, Float64Array]:
    """`metrics.chance` for gains of 0 and 1: it hangs on two numbers, so each pair of them is worked out once."""
    cases, which = np.unique(np.stack([hits, candidates], 1), axis=0, return_inverse=True)
    size = max(1, BLOCK_KEYS // max(int(candidates.max(initial=0)), 1))
    parts = []
    for start in range(0, len(cases), size):
        some = cases[start : start + size]
        gains = np.arange(some[:, 1].max())[None, :] < some[:, :1]
        parts.append(metrics.chance(gains.astype(np.float32), some[:, 1], ks))
    return {name: values[which.reshape(-1)] for name, values in _joined(parts).items()} if parts else {}


def neighbours(
    collection: Collection, k: int, *, queries: IntArray | None = None, step: Callable[[int], None] | None = None
) -> Int64Array:
    """The k nearest items of each query, nearest first, -1 where there are no more that may answer.

    Shape: -> [Q, k]
    """
    asked = np.arange(len(collection)) if queries is None else np.asarray(queries)
    kept = min(k, len(collection))

    def work(block: IntArray) -> Int64Array:
        keys, candidates = collection._keys(block)
        if kept < len(collection):
            keys = np.partition(keys, kept - 1, axis=1)[:, :kept]
        found = np.sort(keys, axis=1) & _NUMBER
        found[np.arange(kept)[None, :] >= candidates[:, None]] = -1
        return np.pad(found, ((0, 0), (0, k - kept)), constant_values=-1)

    parts = list(_in_blocks(work, asked, collection, step))
    return np.concatenate(parts) if parts else np.zeros((0, k), np.int64)


def knn_accuracy(
    collection: Collection, labels: IntArray, folds: IntArray, k: int = 5, *, n_folds: int | None = None
) -> Float64Array:
    """Accuracy of the vote of the k nearest items outside the query's own fold, fold by fold.

    Shape: labels [N], folds [N] from 0, negative: of no fold, answers but is not asked -> [folds]
    """
    columns = [folds] if collection.groups is None else [folds, *collection.groups.reshape(len(collection), -1).T]
    apart = Collection(collection.vectors, np.stack(columns, 1), collection.windows, collection.first)
    asked = np.flatnonzero(folds >= 0)
    near = neighbours(apart, k, queries=asked)
    answers = metrics.vote(np.where(near >= 0, labels[near], -1))
    right = (answers == labels[asked]).astype(np.float64)
    return metrics.by_class(folds[asked], right, n_folds or int(folds.max(initial=-1)) + 1)


def _in_blocks(
    work: Callable[[IntArray], Part], asked: IntArray, collection: Collection, step: Callable[[int], None] | None
) -> Iterator[Part]:
    """`work` over blocks of the queries on a few threads; the parts in order, no more under way than there are
    threads and one."""
    width = len(collection) if collection.windows is None else max(len(collection), len(collection.windows))
    size = max(1, BLOCK_KEYS // max(width, 1))
    blocks = [asked[start : start + size] for start in range(0, len(asked), size)]
    workers = min(os.cpu_count() or 1, 8)
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(blocks), workers):
            turn = blocks[start : start + workers]
            for block, part in zip(turn, pool.map(work, turn), strict=True):
                if step is not None:
                    step(len(block))
                yield part
