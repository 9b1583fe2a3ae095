"""What a distance means: how the stored distances of random pairs place an answer, and whether they do so rightly."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from boiler.arrays import FloatArray, IntArray
from boiler.evaluation.scorecard import Context
from boiler.store.random_pairs import closer_than, random_pairs

MARKS = (0.5, 0.9, 0.95, 0.99, 0.998, 0.999)
N_NEW_PAIRS = 100_000


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
    new = random_pairs(vectors, item_of_row, [seed, 998], N_NEW_PAIRS)  # not the seed of those that are stored
    closer = np.sort(closer_than(new, pairs))
    expected = (np.arange(len(closer)) + 0.5) / max(len(closer), 1)
    standing = closer_than(distances, pairs)
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
