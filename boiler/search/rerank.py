"""Better lists: what to show of the nearest, in which order. Plain arrays in, positions out.

The candidates come nearest first. `folded` puts what is nearly the same sound into one, `capped` lets no group fill
the list, `diverse` prefers what is unlike the ones before, `without_hubs` sets back what is near to everything. None
of them changes anything in the index.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from boiler.arrays import FloatArray, Int64Array

SAME_LENGTH = 0.05
"""Sounds whose lengths differ by more than this share are not copies of each other."""


def folded(vectors: FloatArray, durations_s: FloatArray, nearer_than: float) -> tuple[Int64Array, list[Int64Array]]:
    """Near-duplicates put together: the first of each kind, and for each of those the others of its kind.

    Two are of a kind when their vectors are nearer than that (angular) and their lengths within `SAME_LENGTH`. The
    nearest candidate stands for its kind, so a chain of small steps does not become one kind.

    Shape: vectors [C, D] of unit length, durations_s [C] -> [K], and K times [..]

    >>> kept, others = folded(np.array([[1.0, 0], [0, 1], [1, 0]]), np.array([2.0, 2.0, 2.0]), 0.1)
    >>> kept.tolist(), [some.tolist() for some in others]
    ([0, 1], [[2], []])
    """
    open_ = np.ones(len(vectors), np.bool_)
    kept: list[int] = []
    others: list[Int64Array] = []
    for position in range(len(vectors)):
        if not open_[position]:
            continue
        rest = position + 1 + np.flatnonzero(open_[position + 1 :])
        near = np.linalg.norm(vectors[rest] - vectors[position], axis=1) < nearer_than
        mine = durations_s[position]
        near &= np.abs(durations_s[rest] - mine) <= SAME_LENGTH * np.maximum(durations_s[rest], mine)
        open_[rest[near]] = False
        kept.append(position)
        others.append(rest[near])
    return np.array(kept, np.int64), others


def capped(groups: Sequence[Hashable | None], most: int) -> Int64Array:
    """The candidates, of each group the first `most` alone. None is no group: those all stay.

    >>> capped(["dog", "dog", None, "cat", None, "dog"], 1).tolist()
    [0, 2, 3, 4]
    """
    seen: Counter[Hashable] = Counter()
    kept = []
    for position, group in enumerate(groups):
        if group is not None:
            seen[group] += 1
        if group is None or seen[group] <= most:
            kept.append(position)
    return np.array(kept, np.int64)


def diverse(similarities: FloatArray, vectors: FloatArray, k: int, diversity: float) -> Int64Array:
    """k candidates by maximal marginal relevance: each next one is the best by `(1 - diversity)` times its similarity
    to the query less `diversity` times its similarity to the most similar one chosen before. 0 keeps the order; at 1
    only difference counts. The first is always the nearest.

    Shape: similarities [C], vectors [C, D] of unit length -> [min(k, C)]
    Source: Carbonell and Goldstein, SIGIR 1998.
    """
    chosen: list[int] = []
    nearest_chosen = np.full(len(vectors), -np.inf)
    worth = np.asarray(similarities, np.float64)
    while len(chosen) < min(k, len(vectors)):
        if chosen:
            scores = (1 - diversity) * worth - diversity * nearest_chosen
            scores[chosen] = -np.inf
            best = int(np.argmax(scores))  # of equals the first, which is the nearest
        else:
            best = int(np.argmax(worth))
        chosen.append(best)
        nearest_chosen = np.maximum(nearest_chosen, vectors @ vectors[best])
    return np.array(chosen, np.int64)


def without_hubs(similarities: FloatArray, own: FloatArray) -> Int64Array:
    """The candidates in the order of twice their similarity to the query less `own`, the mean similarity of each to its
    own nearest neighbours: what is near to everything has to be nearer to be taken (CSLS).

    Shape: [C], [C] -> [C]
    Source: Lample et al., "Word translation without parallel data", ICLR 2018, section 2.3.
    """
    return np.argsort(-(2 * np.asarray(similarities, np.float64) - own), kind="stable").astype(np.int64)
