"""Calibration of `closer_than`, the percentile of a distance among the random pairs that are stored in the index.

To show that it is correct, the stored pairs are compared with new ones; to show that it is useful, the answers of an
evaluation are binned by it.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from boiler.arrays import FloatArray, IntArray
from boiler.evaluation.scorecard import Calibration
from boiler.store.random_pairs import closer_than, random_pairs

PERCENTILES = (0.5, 0.9, 0.95, 0.99, 0.998, 0.999)
N_NEW_PAIRS = 100_000


def calibrate(
    pairs: FloatArray,
    vectors: FloatArray,
    item_of_row: IntArray,
    distances: FloatArray,
    gains: FloatArray,
    *,
    seed: int,
) -> Calibration:
    """Check the stored pairs against new ones, and bin the answers by the percentile of their distances.

    Shape: pairs [P] ascending; vectors [N, D], the item of each row [N]; distances and gains of the first answers of
    every query [Q, k], NaN where there is none.
    """
    quantiles = {
        f"{100 * mark:g} %": float(np.quantile(pairs, 1 - mark)) if len(pairs) else np.nan for mark in PERCENTILES
    }
    new = random_pairs(vectors, item_of_row, [seed, 998], N_NEW_PAIRS)  # another seed than that of the stored ones
    observed = np.sort(closer_than(new, pairs))
    expected = (np.arange(len(observed)) + 0.5) / max(len(observed), 1)
    percentile = closer_than(distances, pairs)
    edges = (0.0, *PERCENTILES, 1.0)
    bins = []
    for low, high in pairwise(edges):
        here = np.isfinite(gains) & (percentile >= low) & ((percentile < high) | (high == edges[-1]))
        gain = float(gains[here].mean()) if here.any() else float("nan")
        bins.append({"low": low, "high": high, "n": int(here.sum()), "gain": gain})
    return Calibration(
        n_pairs=len(pairs),
        quantiles=quantiles,
        n_new_pairs=len(new),
        deviation=float(np.abs(observed - expected).max(initial=0.0)) if len(new) else float("nan"),
        share_closer_than_998=float(np.mean(observed >= 0.998)) if len(new) else float("nan"),
        bins=bins,
    )
