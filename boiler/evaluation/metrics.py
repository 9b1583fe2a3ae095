"""How good a ranking is: pure functions on plain numpy arrays, nothing of boiler's, nothing of any collection's.

Conventions
-----------
*Gains* are what an evaluation knows: ``gains[q, r]`` in [0, 1] is how right the answer at rank r (0 first) to query q
is. With one label an item it is 1 or 0; with several it is the share of tags in common, |a & b| / |a | b| (Jaccard).
Items that must not answer (the query itself, its group) are not in the ranking: where that leaves queries with fewer
candidates than others, the row ends in gains of 0 and ``candidates[q]`` says how many there are.

Every measure gives one number a query, so that means, classes, intervals and comparisons can be taken afterwards.
All are higher-is-better and lie in [0, 1].

Measures
--------
* ``P@k``      mean gain of the first k answers (of all of them, where there are fewer than k)
* ``R@k``      gain within the first k, as a share of all the gain there is
* ``MRR``      1 / rank of the first answer with any gain
* ``mAP``      average precision over the whole ranking; graded: each precision counts by the gain of its rank
* ``nDCG@k``   gain discounted by 1 / log2(rank + 1), over that of the best order; ``nDCG`` over the whole ranking

With gains of 0 and 1 these are the usual definitions (Manning, Raghavan and Schuetze, *Introduction to Information
Retrieval*, chapter 8; Jaervelin and Kekaelaeinen 2002 for nDCG).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from boiler.arrays import BoolArray, Float32Array, Float64Array, FloatArray, Int64Array, IntArray

KS = (1, 5, 10)


def shared_labels(queries: IntArray, items: IntArray) -> Float32Array:
    """Gain 1 where query and item have the same label, else 0.

    Shape: [Q], [N] -> [Q, N]
    """
    return np.asarray(queries[:, None] == items[None, :], np.float32)


def shared_tags(queries: BoolArray, items: BoolArray) -> Float32Array:
    """Gain for several labels an item: the share of their tags that two items have in common. No tag, no gain.

    Shape: [Q, L], [N, L] -> [Q, N], L the number of tags there are

    >>> shared_tags(np.array([[True, True, False]]), np.array([[True, True, False], [True, False, True]]))
    array([[1.        , 0.33333334]], dtype=float32)
    """
    of_query, of_item = queries.astype(np.float32), items.astype(np.float32)
    both = of_query @ of_item.T
    either = of_query.sum(1)[:, None] + of_item.sum(1)[None, :] - both
    return np.asarray(both / np.maximum(either, 1), np.float32)


def precision_at(gains: FloatArray, k: int, candidates: IntArray) -> Float64Array:
    """Shape: gains [Q, R], candidates [Q] -> [Q]"""
    return np.asarray(gains[:, :k].sum(1, dtype=np.float64) / np.clip(candidates, 1, k), np.float64)


def recall_at(gains: FloatArray, k: int) -> Float64Array:
    """Shape: [Q, R], the whole ranking -> [Q]. A query without any gain gets 0."""
    total = gains.sum(1, dtype=np.float64)
    return np.asarray(gains[:, :k].sum(1, dtype=np.float64) / np.where(total > 0, total, 1), np.float64)


def reciprocal_rank(gains: FloatArray) -> Float64Array:
    """Shape: [Q, R] -> [Q]"""
    hit = gains > 0
    return np.where(hit.any(1), 1.0 / (hit.argmax(1) + 1.0), 0.0)


def average_precision(gains: FloatArray) -> Float64Array:
    """Precision at each rank, averaged with the gains as weights.

    Shape: [Q, R], the whole ranking -> [Q]

    >>> average_precision(np.array([[1.0, 0.0, 1.0, 0.0]]))  # (1/1 + 2/3) / 2
    array([0.83333333])
    """
    precision = np.cumsum(gains, axis=1, dtype=np.float64)
    total = precision[:, -1].copy() if gains.shape[1] else np.zeros(len(gains))
    precision /= np.arange(1, gains.shape[1] + 1)
    return np.asarray(np.einsum("qr,qr->q", precision, gains) / np.where(total > 0, total, 1), np.float64)


def discounts(ranks: int) -> Float64Array:
    """1 / log2(rank + 1) for ranks 1, 2, ... Shape: [ranks]"""
    return np.asarray(1.0 / np.log2(np.arange(2, ranks + 2)), np.float64)


def ndcg(gains: FloatArray, best: FloatArray) -> Float64Array:
    """Discounted gain over that of the best order. For ``nDCG@k``, give the first k columns of both.

    Shape: gains [Q, R], best [Q, R]: the same gains, greatest first (of the whole ranking) -> [Q]
    """
    weights = discounts(gains.shape[1])
    ideal = best @ weights
    return np.asarray((gains @ weights) / np.where(ideal > 0, ideal, 1), np.float64)


def measures(gains: FloatArray, candidates: IntArray, ks: Sequence[int] = KS) -> dict[str, Float64Array]:
    """All of the measures by their names, from whole rankings.

    Shape: gains [Q, R], candidates [Q] -> each [Q]
    """
    best = -np.sort(-gains, axis=1)
    found = {f"P@{k}": precision_at(gains, k, candidates) for k in ks}
    found |= {f"R@{k}": recall_at(gains, k) for k in ks}
    found |= {f"nDCG@{k}": ndcg(gains[:, :k], best[:, :k]) for k in ks}
    return found | {"nDCG": ndcg(gains, best), "MRR": reciprocal_rank(gains), "mAP": average_precision(gains)}


def measures_of_hits(hits: BoolArray, candidates: IntArray, ks: Sequence[int] = KS) -> dict[str, Float64Array]:
    """`measures` for gains of 0 and 1, several times faster: it looks at the hits alone.

    Shape: hits [Q, R], candidates [Q] -> each [Q]
    """
    n_queries, n_ranks = hits.shape
    queries, places = np.divmod(np.flatnonzero(hits), max(n_ranks, 1))
    totals = hits.sum(1)
    starts = np.cumsum(totals) - totals
    nth = np.arange(1, len(queries) + 1) - starts[queries]  # the how many-th hit of its query
    weights = discounts(n_ranks)
    reach = np.concatenate([[0.0], np.cumsum(weights)])  # [r]: the discounts of the first r ranks
    some = np.maximum(totals, 1)

    def summed(values: Float64Array | None, within: BoolArray) -> Float64Array:
        chosen = None if values is None else values[within]
        return np.bincount(queries[within], chosen, minlength=n_queries).astype(np.float64)

    def discounted(k: int) -> Float64Array:
        ideal = reach[np.minimum(totals, k)]
        return summed(weights[places], places < k) / np.where(totals > 0, ideal, 1)

    firsts = {k: summed(None, places < k) for k in ks}
    found = {f"P@{k}": firsts[k] / np.clip(candidates, 1, k) for k in ks}
    found |= {f"R@{k}": firsts[k] / some for k in ks}
    found |= {f"nDCG@{k}": discounted(k) for k in ks}
    found["nDCG"] = discounted(n_ranks)
    found["MRR"] = summed(1 / (places + 1), nth == 1)
    found["mAP"] = summed(nth / (places + 1), nth > 0) / some
    return found


def chance(gains: FloatArray, candidates: IntArray, ks: Sequence[int] = KS) -> dict[str, Float64Array]:
    """What `measures` gives on average when the candidates come in random order: exact, not drawn.

    Over all orders, a rank holds each candidate equally often and two ranks each pair, which gives every measure but
    MRR in closed form; there, the rank of the first of R relevant among C candidates has the negative hypergeometric
    distribution.

    Shape: gains [Q, R], candidates [Q] -> each [Q]
    """
    n = np.maximum(candidates, 1).astype(np.float64)
    total = gains.sum(1, dtype=np.float64)
    squares = np.square(gains, dtype=np.float64).sum(1)
    mean, reachable = total / n, np.where(total > 0, 1.0, 0.0)
    best = -np.sort(-gains, axis=1)
    weights = discounts(gains.shape[1])
    dcg_reach = np.concatenate([[0.0], np.cumsum(weights)])  # [r]: the discounts of the first r ranks

    def expected_ndcg(k: int) -> Float64Array:
        ideal = best[:, :k] @ weights[:k]
        return np.asarray(mean * dcg_reach[np.minimum(candidates, k)] / np.where(ideal > 0, ideal, 1), np.float64)

    expected = {f"P@{k}": mean for k in ks}
    expected |= {f"R@{k}": reachable * np.minimum(k, n) / n for k in ks}
    expected |= {f"nDCG@{k}": expected_ndcg(k) for k in ks}
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, gains.shape[1] + 1))])[candidates]
    pairs = (total**2 - squares) / np.maximum(n * (n - 1), 1)  # mean product of the gains of two different candidates
    expected["nDCG"] = expected_ndcg(gains.shape[1])
    expected["MRR"] = _expected_reciprocal_rank((gains > 0).sum(1), candidates)
    expected["mAP"] = (squares / n * harmonic + pairs * (n - harmonic)) / np.where(total > 0, total, 1)
    return expected


def _expected_reciprocal_rank(relevant: IntArray, candidates: IntArray) -> Float64Array:
    cases, inverse = np.unique(np.stack([relevant, candidates], 1), axis=0, return_inverse=True)
    means = np.zeros(len(cases))
    for place, (hits, n) in enumerate(cases.tolist()):
        if hits == 0:
            continue
        misses = np.arange(n - hits, dtype=np.float64)
        left = np.arange(n, hits, -1, dtype=np.float64)  # candidates left at ranks 1, 2, ...
        none_before = np.concatenate([[1.0], np.cumprod(1 - hits / left)]) if len(misses) else np.ones(1)
        first_here = none_before * hits / np.concatenate([left, [hits]])
        means[place] = (first_here / np.arange(1, len(first_here) + 1)).sum()
    return np.asarray(means[inverse.reshape(-1)], np.float64)


@dataclass(frozen=True)
class Interval:
    """A mean over queries, and between which bounds it would fall, `level` of the times, with other queries."""

    mean: float
    low: float
    high: float


def intervals(
    by_query: Mapping[str, Float64Array], *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Percentile bootstrap over queries (Efron 1979): the same resamples for every measure, drawn from `seed`.

    Shape: each [Q] -> one Interval each. Without queries all bounds are NaN.
    """
    values = np.stack(list(by_query.values()), 1).astype(np.float64) if by_query else np.zeros((0, 0))
    n = len(values)
    if n == 0:
        return {name: Interval(float("nan"), float("nan"), float("nan")) for name in by_query}
    draw = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    for turn in range(resamples):
        means[turn] = np.bincount(draw.integers(n, size=n), minlength=n) @ values / n
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    centre = values.mean(0)
    return {name: Interval(float(centre[i]), float(low[i]), float(high[i])) for i, name in enumerate(by_query)}


def by_class(labels: IntArray, values: Float64Array, n_labels: int) -> Float64Array:
    """Mean of `values` over the queries of each label; NaN for a label without queries.

    Shape: labels [Q], values [Q] -> [n_labels]
    """
    counts = np.bincount(labels, minlength=n_labels)
    sums = np.bincount(labels, weights=values, minlength=n_labels)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def confusion(asked: IntArray, answered: IntArray, n_labels: int) -> Float64Array:
    """Of the answers to queries of one label, the share that has each label. Answers below 0 are none.

    Shape: asked [Q], answered [Q, k] -> [n_labels, n_labels], rows (what was asked) sum to 1, or 0 without answers
    """
    valid = answered >= 0
    pairs = (asked[:, None] * n_labels + answered)[valid]
    counts = np.bincount(pairs, minlength=n_labels**2).reshape(n_labels, n_labels).astype(np.float64)
    return np.asarray(counts / np.maximum(counts.sum(1, keepdims=True), 1), np.float64)


def vote(neighbours: IntArray) -> Int64Array:
    """The label that most of the k neighbours have; of several, the one met first. -1 is no neighbour.

    Shape: labels of the neighbours, nearest first [Q, k] -> [Q]
    """
    agreeing = (neighbours[:, :, None] == neighbours[:, None, :]).sum(2)
    agreeing = np.where(neighbours >= 0, agreeing, 0)
    return np.asarray(neighbours[np.arange(len(neighbours)), agreeing.argmax(1)], np.int64)


@dataclass(frozen=True)
class Hubness:
    """Whether the same few items answer everything.

    `skewness` of the k-occurrence (how many of the other items have an item among their k nearest): 0 is even, above
    1.4 many speak of hubs (Radovanovic, Nanopoulos and Ivanovic, JMLR 11, 2010). `never` is the share of items that
    no query returns; `most` the largest number of answers one item gives.
    """

    k: int
    skewness: float
    never: float
    most: int


def hubness(neighbours: IntArray, n_items: int) -> Hubness:
    """Shape: every item's k nearest, itself left out, as item numbers, -1 for none [N, k]"""
    occurrence = np.bincount(neighbours[neighbours >= 0], minlength=n_items).astype(np.float64)
    centred = occurrence - occurrence.mean()
    spread = np.sqrt(np.mean(centred**2))
    skewness = float(np.mean(centred**3) / spread**3) if spread > 0 else 0.0
    return Hubness(neighbours.shape[1], skewness, float(np.mean(occurrence == 0)), int(occurrence.max(initial=0)))


def engine_recall(
    queries: FloatArray, vectors: FloatArray, found: IntArray, exact: IntArray, *, tolerance: float = 1e-5
) -> float:
    """How much of the truth an approximate engine finds: the share of its answers that are as near as the k-th exact
    one. Distances are worked out again here, so an engine is not believed; ties count as found.

    Shape: queries [Q, D], vectors [N, D], both of unit length; found, exact: rows [Q, k], -1 for none
    """

    def cosines(rows: IntArray) -> Float64Array:
        near = np.einsum("qd,qkd->qk", queries.astype(np.float64), vectors[np.maximum(rows, 0)].astype(np.float64))
        return np.where(rows >= 0, near, -np.inf)

    wanted = cosines(exact)
    worst = np.where(np.isfinite(wanted), wanted, np.inf).min(1, keepdims=True)
    distinct = np.ones(found.shape, bool)  # the same row twice is one answer
    for place in range(1, found.shape[1]):
        distinct[:, place] = (found[:, :place] != found[:, place : place + 1]).all(1)
    hits = (distinct & (cosines(found) >= worst - tolerance)).sum(1)
    asked = np.isfinite(wanted).sum(1)
    return float(np.mean(np.minimum(hits, asked) / np.maximum(asked, 1)))


@dataclass(frozen=True)
class Words:
    """How a codebook is used: `perplexity` = exp(entropy of the words over all sounds), between 1 (one word says it
    all) and `size`; `used`, the words that occur; `per_sound`, the mean perplexity of one sound's bag."""

    size: int
    perplexity: float
    used: int
    per_sound: float


def words(counts: FloatArray, *, least: float = 0.0) -> Words:
    """Shape: how often each sound uses each word [N, K]; only the proportions within a sound count, so bags of any
    length will do, and each sound weighs the same. A sound without any word is left out. A word is used when its share
    of all is above `least` times the even share 1 / K: where words are assigned softly, none is quite at 0.

    >>> round(words(np.array([[2, 2, 0], [0, 8, 0]])).perplexity, 3)
    1.755
    """
    totals = counts.sum(1, keepdims=True, dtype=np.float64)
    shares = (counts / np.where(totals > 0, totals, 1))[totals[:, 0] > 0]
    if not len(shares):
        return Words(counts.shape[1], 1.0, 0, 1.0)

    def perplexity(p: Float64Array) -> Float64Array:
        return np.asarray(np.exp(-(p * np.log(np.where(p > 0, p, 1))).sum(-1)))

    whole = shares.mean(0)
    return Words(
        counts.shape[1],
        float(perplexity(whole)),
        int((whole > least / counts.shape[1]).sum()),
        float(perplexity(shares).mean()),
    )
