"""What a distance means: how the stored distances of random pairs place an answer, and whether they do so rightly."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from boiler.arrays import Float64Array, FloatArray, IntArray
from boiler.evaluation import metrics
from boiler.evaluation.scorecard import Context

MARKS = (0.5, 0.9, 0.95, 0.99, 0.998, 0.999)
N_NEW_PAIRS = 100_000
_BLOCK = 10_000


def context(
    pairs: FloatArray,
    vectors: FloatArray,
    item_of_row: IntArray,
    distances: FloatArray,
    gains: FloatArray,
    *,
    seed: int,
) -> Context:
    """Check the stored pairs against new ones, and tell how often answers are right by how they stand among them.

    Shape: pairs [P] ascending, vectors [N, D] with the item of each row [N]; distances and gains of the first answers
    of every query [Q, k], NaN where there is none.
    """
    quantiles = {f"{100 * mark:g} %": float(np.quantile(pairs, 1 - mark)) if len(pairs) else np.nan for mark in MARKS}
    new = new_pairs(vectors, item_of_row, N_NEW_PAIRS, seed)
    closer = np.sort(metrics.closer_than(new, pairs))
    expected = (np.arange(len(closer)) + 0.5) / max(len(closer), 1)
    standing = metrics.closer_than(distances, pairs)
    edges = (0.0, *MARKS, 1.0)
    right = []
    for low, high in pairwise(edges):
        here = np.isfinite(gains) & (standing >= low) & ((standing < high) | (high == edges[-1]))
        gain = float(gains[here].mean()) if here.any() else float("nan")
        right.append({"low": low, "high": high, "n": int(here.sum()), "gain": gain})
    return Context(
        n_pairs=len(pairs),
        quantiles=quantiles,
        n_new_pairs=len(new),
        deviation=float(np.abs(closer - expected).max(initial=0.0)) if len(new) else float("nan"),
        closer_than_998=float(np.mean(closer >= 0.998)) if len(new) else float("nan"),
        right=right,
    )


def new_pairs(vectors: FloatArray, item_of_row: IntArray, n_pairs: int, seed: int) -> Float64Array:
    """Angular distances of random pairs of rows of different items; none where there is but one item.

    Shape: [N, D], [N] -> [n_pairs]
    """
    if len(np.unique(item_of_row)) < 2:
        return np.zeros(0)
    draw = np.random.default_rng([seed, 998])  # not the seed of those that are stored
    found: list[Float64Array] = []
    missing = n_pairs
    while missing > 0:
        a, b = draw.integers(len(vectors), size=(2, min(missing, _BLOCK)))
        apart = item_of_row[a] != item_of_row[b]
        cosines = np.einsum("pd,pd->p", vectors[a[apart]].astype(np.float64), vectors[b[apart]].astype(np.float64))
        found.append(np.sqrt(np.maximum(2 * (1 - cosines), 0)))
        missing -= len(cosines)
    return np.concatenate(found)
