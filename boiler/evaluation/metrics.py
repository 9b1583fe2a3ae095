"""Measures of a ranking: pure functions of numpy arrays.

Conventions
-----------
``gains[q, r]`` in [0, 1] is the relevance of the answer at rank r (from 0) to query q. With single labels it is 1 or 0;
with tags it is their Jaccard index, |a & b| / |a | b|. Excluded items (the query itself, its group) are not in the
ranking. ``candidates[q]`` is the number of candidates of a query; if it is less than R, the row is padded with gains
of 0.

Every measure gives one number per query, from which means, classes, intervals and paired differences follow. All are in
[0, 1], and higher is better.

Measures
--------
With g[r] the gain at rank r = 1 ... R, and C the number of candidates:

* ``P@k``     sum of g[1..k] / min(k, C)
* ``R@k``     sum of g[1..k] / sum of g[1..R]
* ``MRR``     1 / r of the first r with g[r] > 0
* ``mAP``     sum over r of (g[r] * P@r) / sum of g[1..R]: average precision, each rank weighted by its gain
* ``nDCG@k``  sum over r <= k of g[r] / log2(r + 1), over the same sum for the best order; ``nDCG`` is for k = R

With gains of 0 and 1 these are the usual definitions. Sources: Manning, Raghavan and Schuetze, *Introduction to
Information Retrieval* (2008), chapter 8; for nDCG, Jaervelin and Kekaelaeinen, ACM TOIS 20(4), 2002.
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
    """Jaccard index of the tags of query and item; 0 where neither has a tag.

    Shape: [Q, L], [N, L] -> [Q, N], with L different tags

    >>> shared_tags(np.array([[True, True, False]]), np.array([[True, True, False], [True, False, True]]))
    array([[1.        , 0.33333334]], dtype=float32)
    """
    of_query, of_item = queries.astype(np.float32), items.astype(np.float32)
    both = of_query @ of_item.T
    either = of_query.sum(1)[:, None] + of_item.sum(1)[None, :] - both
    return np.asarray(both / np.maximum(either, 1), np.float32)


def precision_at(gains: FloatArray, k: int, candidates: IntArray) -> Float64Array:
    """P@k. Shape: gains [Q, R], candidates [Q] -> [Q]"""
    return np.asarray(gains[:, :k].sum(1, dtype=np.float64) / np.clip(candidates, 1, k), np.float64)


def recall_at(gains: FloatArray, k: int) -> Float64Array:
    """R@k; 0 for a query without any gain. Shape: gains of the whole ranking [Q, R] -> [Q]"""
    total = gains.sum(1, dtype=np.float64)
    return np.asarray(gains[:, :k].sum(1, dtype=np.float64) / np.where(total > 0, total, 1), np.float64)


def reciprocal_rank(gains: FloatArray) -> Float64Array:
    """Reciprocal rank of the first answer with any gain; 0 without one. Shape: [Q, R] -> [Q]"""
    hit = gains > 0
    return np.where(hit.any(1), 1.0 / (hit.argmax(1) + 1.0), 0.0)


def average_precision(gains: FloatArray) -> Float64Array:
    """Precision at each rank, averaged with the gains as weights.

    Shape: gains of the whole ranking [Q, R] -> [Q]

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
    """Discounted gain over that of the best order. For nDCG@k, give the first k columns of both.

    Shape: gains [Q, R]; best [Q, R], the gains of the whole ranking in descending order -> [Q]
    """
    weights = discounts(gains.shape[1])
    ideal = best @ weights
    return np.asarray((gains @ weights) / np.where(ideal > 0, ideal, 1), np.float64)


def measure_gains(gains: FloatArray, candidates: IntArray, ks: Sequence[int] = KS) -> dict[str, Float64Array]:
    """All measures by name, from whole rankings.

    Shape: gains [Q, R], candidates [Q] -> each [Q]
    """
    best = -np.sort(-gains, axis=1)
    found = {f"P@{k}": precision_at(gains, k, candidates) for k in ks}
    found |= {f"R@{k}": recall_at(gains, k) for k in ks}
    found |= {f"nDCG@{k}": ndcg(gains[:, :k], best[:, :k]) for k in ks}
    return found | {"nDCG": ndcg(gains, best), "MRR": reciprocal_rank(gains), "mAP": average_precision(gains)}


def measure_hits(hits: BoolArray, candidates: IntArray, ks: Sequence[int] = KS) -> dict[str, Float64Array]:
    """`measure_gains` for gains of 0 and 1, several times faster, since it visits only the hits.

    Shape: hits [Q, R], candidates [Q] -> each [Q]
    """
    n_queries, n_ranks = hits.shape
    queries, places = np.divmod(np.flatnonzero(hits), max(n_ranks, 1))
    totals = hits.sum(1)
    starts = np.cumsum(totals) - totals
    nth = np.arange(1, len(queries) + 1) - starts[queries]  # number of each hit among those of its query, from 1
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
    """The exact expectation of `measure_gains` over all orders of the candidates.

    In a random order, each rank holds each candidate with equal probability, and each pair of ranks each pair of
    candidates, which gives every measure but MRR in closed form. The rank of the first of R relevant among C candidates
    has the negative hypergeometric distribution, which gives MRR.

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
    pairs = (total**2 - squares) / np.maximum(n * (n - 1), 1)  # mean product of the gains of two candidates
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
    """A mean over queries, and the bounds of its confidence interval."""

    mean: float
    low: float
    high: float


def bootstrap_intervals(
    by_query: Mapping[str, Float64Array], *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Percentile bootstrap over queries, with the same resamples for every measure, drawn from `seed`.

    Source: B. Efron, *Bootstrap Methods: Another Look at the Jackknife*, Annals of Statistics 7(1), 1979.

    Shape: each [Q] -> one Interval each, NaN without queries
    """
    values = np.stack(list(by_query.values()), 1).astype(np.float64) if by_query else np.zeros((0, 0))
    n = len(values)
    if n == 0:
        return {name: Interval(float("nan"), float("nan"), float("nan")) for name in by_query}
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, values.shape[1]))
    for resample in range(resamples):
        means[resample] = np.bincount(rng.integers(n, size=n), minlength=n) @ values / n
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    centre = values.mean(0)
    return {name: Interval(float(centre[i]), float(low[i]), float(high[i])) for i, name in enumerate(by_query)}


def mean_by_class(labels: IntArray, values: Float64Array, n_labels: int) -> Float64Array:
    """Mean of `values` over the queries of each label; NaN for a label without queries.

    Shape: labels [Q], values [Q] -> [n_labels]
    """
    counts = np.bincount(labels, minlength=n_labels)
    sums = np.bincount(labels, weights=values, minlength=n_labels)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def confusion_matrix(queries: IntArray, answers: IntArray, n_labels: int) -> Float64Array:
    """For each label of a query, the fraction of answers with each label.

    Shape: labels of the queries [Q] and of their answers [Q, k], -1 for none -> [n_labels, n_labels]; rows are labels
    of queries, and sum to 1, or 0 without answers
    """
    valid = answers >= 0
    pairs = (queries[:, None] * n_labels + answers)[valid]
    counts = np.bincount(pairs, minlength=n_labels**2).reshape(n_labels, n_labels).astype(np.float64)
    return np.asarray(counts / np.maximum(counts.sum(1, keepdims=True), 1), np.float64)


def majority_vote(neighbours: IntArray) -> Int64Array:
    """The most frequent label among the neighbours; among equally frequent ones, that of the nearest. -1: no neighbour.

    Shape: labels of the neighbours, nearest first [Q, k] -> [Q]
    """
    agreeing = (neighbours[:, :, None] == neighbours[:, None, :]).sum(2)
    agreeing = np.where(neighbours >= 0, agreeing, 0)
    return np.asarray(neighbours[np.arange(len(neighbours)), agreeing.argmax(1)], np.int64)


@dataclass(frozen=True)
class Hubness:
    """Hubness: whether a few items are among the answers to most queries.

    The k-occurrence of an item is how many other items have it among their k nearest.

    skewness: of the k-occurrences. 0 is symmetric; above 1.4 is usually called hubness
    never: fraction of the items that are not among the k nearest of any other item
    most: the largest k-occurrence

    Source: Radovanovic, Nanopoulos and Ivanovic, *Hubs in Space*, JMLR 11, 2010.
    """

    k: int
    skewness: float
    never: float
    most: int


def hubness(neighbours: IntArray, n_items: int) -> Hubness:
    """Hubness of a k-nearest-neighbour graph. Shape: each item's k nearest other items [N, k], -1 for none"""
    occurrence = np.bincount(neighbours[neighbours >= 0], minlength=n_items).astype(np.float64)
    centred = occurrence - occurrence.mean()
    spread = np.sqrt(np.mean(centred**2))
    skewness = float(np.mean(centred**3) / spread**3) if spread > 0 else 0.0
    return Hubness(neighbours.shape[1], skewness, float(np.mean(occurrence == 0)), int(occurrence.max(initial=0)))


def ann_recall(
    queries: FloatArray, vectors: FloatArray, found: IntArray, exact: IntArray, *, tolerance: float = 1e-5
) -> float:
    """Recall of an approximate engine: the fraction of its answers that are as near as the k-th exact one.

    Distances are computed from the vectors, not taken from the engine; ties count as found.

    Shape: queries [Q, D], vectors [N, D], both of unit length; found, exact: rows [Q, k], -1 for none
    """

    def cosines(rows: IntArray) -> Float64Array:
        near = np.einsum("qd,qkd->qk", queries.astype(np.float64), vectors[np.maximum(rows, 0)].astype(np.float64))
        return np.where(rows >= 0, near, -np.inf)

    wanted = cosines(exact)
    worst = np.where(np.isfinite(wanted), wanted, np.inf).min(1, keepdims=True)
    distinct = np.ones(found.shape, bool)  # the same row twice counts once
    for place in range(1, found.shape[1]):
        distinct[:, place] = (found[:, :place] != found[:, place : place + 1]).all(1)
    hits = (distinct & (cosines(found) >= worst - tolerance)).sum(1)
    n_exact = np.isfinite(wanted).sum(1)
    return float(np.mean(np.minimum(hits, n_exact) / np.maximum(n_exact, 1)))


@dataclass(frozen=True)
class CodebookStats:
    """Usage of a codebook.

    size: number of codes
    perplexity: exp(entropy of the code distribution over all sounds), from 1 (a single code) to `size`
    used: number of codes in use
    per_sound: mean perplexity of the code distribution of one sound
    """

    size: int
    perplexity: float
    used: int
    per_sound: float


def codebook_stats(counts: FloatArray, *, min_share: float = 0.0) -> CodebookStats:
    """Codebook usage. All sounds have the same weight, whatever their counts add up to; sounds without codes are left
    out.

    Shape: counts or shares of the codes of each sound [N, K]

    min_share: a code is in use if its share is above this fraction of the uniform share 1 / K. (Under soft assignment
        no share is exactly 0.)

    >>> round(codebook_stats(np.array([[2, 2, 0], [0, 8, 0]])).perplexity, 3)
    1.755
    """
    totals = counts.sum(1, keepdims=True, dtype=np.float64)
    shares = (counts / np.where(totals > 0, totals, 1))[totals[:, 0] > 0]
    if not len(shares):
        return CodebookStats(counts.shape[1], 1.0, 0, 1.0)

    def perplexity(p: Float64Array) -> Float64Array:
        return np.asarray(np.exp(-(p * np.log(np.where(p > 0, p, 1))).sum(-1)))

    whole = shares.mean(0)
    return CodebookStats(
        counts.shape[1],
        float(perplexity(whole)),
        int((whole > min_share / counts.shape[1]).sum()),
        float(perplexity(shares).mean()),
    )
