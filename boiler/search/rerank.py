"""Choosing and reordering candidates. Plain arrays in, positions out; candidates come nearest first.

`dedup` merges near-duplicates, `limit_groups` caps the results of a group, `diversify` prefers results that differ from
those before, `csls` ranks hubs lower. None of them reads the index.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from boiler.arrays import BoolArray, FloatArray, Int64Array

_NONE: Int64Array = np.zeros(0, np.int64)
_BLOCK = 256  # candidates that are compared with all others at a time
_ROUNDING = 1e-5  # more than the rounding error of a float32 product of unit vectors

MAX_DURATION_DIFFERENCE = 0.05
"""Sounds whose durations differ by more than this fraction of the longer one are not duplicates of each other."""


def equally_long(one_s: FloatArray | float, other_s: FloatArray) -> BoolArray:
    """Whether two durations differ by at most `MAX_DURATION_DIFFERENCE` of the longer one.

    >>> equally_long(1.0, np.array([0.96, 1.04, 1.2])).tolist()
    [True, True, False]
    """
    return np.asarray(np.abs(other_s - one_s) <= MAX_DURATION_DIFFERENCE * np.maximum(other_s, one_s))


def dedup(vectors: FloatArray, durations_s: FloatArray, max_distance: float) -> tuple[Int64Array, list[Int64Array]]:
    """The candidates without near-duplicates, and for each the near-duplicates that were merged into it.

    Two are near-duplicates when they are nearer than `max_distance` (angular) and equally long. The nearest candidate
    represents the others; each is compared with the representative alone, so a chain of small steps is not merged.

    Shape: vectors [C, D] of unit length, durations_s [C] -> [K], and K times [..]

    >>> kept, merged = dedup(np.array([[1.0, 0], [0, 1], [1, 0]]), np.array([2.0, 2.0, 2.0]), 0.1)
    >>> kept.tolist(), [some.tolist() for some in merged]
    ([0, 1], [[2], []])
    """
    remaining = np.arange(len(vectors))
    kept: list[int] = []
    merged: list[Int64Array] = []
    # Near ones are found by a matrix product of the next candidates with all others, with a margin for its rounding
    # error, and then measured. The number of these candidates grows while few of them are merged into each other.
    least_cosine = 1 - max_distance**2 / 2 - _ROUNDING
    block = 1
    while len(remaining):
        n_kept = len(kept)
        near = vectors[remaining[:block]] @ vectors[remaining].T >= least_cosine
        alone = np.count_nonzero(near, axis=1) <= 1  # near to nothing but itself
        waiting = np.ones(len(remaining), np.bool_)
        for at, position in enumerate(remaining[:block].tolist()):
            if not waiting[at]:
                continue
            waiting[at] = False
            kept.append(position)
            merged.append(_NONE)
            if not alone[at]:
                others = np.flatnonzero(near[at] & waiting)
                later = remaining[others]
                same = np.linalg.norm(vectors[later] - vectors[position], axis=1) < max_distance
                same &= equally_long(durations_s[position], durations_s[later])
                waiting[others[same]] = False
                merged[-1] = later[same]
        remaining = remaining[waiting]
        block = min(2 * block, _BLOCK) if 2 * (len(kept) - n_kept) > block else max(block // 2, 1)
    return np.array(kept, np.int64), merged


def limit_groups(groups: Sequence[Hashable | None], limit: int) -> Int64Array:
    """The first `limit` candidates of each group. Candidates without a group (None) are all kept.

    >>> limit_groups(["dog", "dog", None, "cat", None, "dog"], 1).tolist()
    [0, 2, 3, 4]
    """
    seen: Counter[Hashable] = Counter()
    kept = []
    for position, group in enumerate(groups):
        if group is not None:
            seen[group] += 1
        if group is None or seen[group] <= limit:
            kept.append(position)
    return np.array(kept, np.int64)


def diversify(similarities: FloatArray, vectors: FloatArray, k: int, diversity: float) -> Int64Array:
    """k candidates by maximal marginal relevance: each next one has the highest `(1 - diversity)` times its similarity
    to the query minus `diversity` times its similarity to the most similar one chosen before. At 0 the order does not
    change; at 1 only the difference counts. The first is always the nearest.

    Shape: similarities [C], vectors [C, D] of unit length -> [min(k, C)]
    Source: Carbonell and Goldstein, SIGIR 1998.
    """
    chosen: list[int] = []
    relevance = (1 - diversity) * np.asarray(similarities, np.float64)
    nearest_chosen = np.full(len(vectors), -np.inf, np.asarray(vectors).dtype)
    scores = np.asarray(similarities, np.float64)
    for _ in range(min(k, len(vectors))):
        best = int(np.argmax(scores))  # of equal scores the first, which is the nearest
        chosen.append(best)
        relevance[best] = -np.inf
        np.maximum(nearest_chosen, vectors @ vectors[best], out=nearest_chosen)
        scores = relevance - diversity * nearest_chosen
    return np.array(chosen, np.int64)


def csls(similarities: FloatArray, mean_neighbour_similarities: FloatArray) -> Int64Array:
    """The candidates ordered by cross-domain similarity local scaling: twice the similarity to the query minus the mean
    similarity of the candidate to its own nearest neighbours. So a hub, which is near to everything, ranks lower.

    Shape: [C], [C] -> [C]
    Source: Lample et al., "Word translation without parallel data", ICLR 2018, section 2.3. The query's own mean is the
    same for all candidates, so it is left out.
    """
    scores = 2 * np.asarray(similarities, np.float64) - mean_neighbour_similarities
    return np.argsort(-scores, kind="stable").astype(np.int64)
