"""Distances of random pairs of sounds of a collection, and the percentile of a distance among them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from boiler.arrays import Float32Array, Float64Array, FloatArray, IntArray
from boiler.engine.distance import IDENTICAL_DISTANCE, angular_distance

N_PAIRS = 100_000
MIN_DIFFERENT = 30
"""Fewer pairs at different distances are no distribution: nine sounds have 36 pairs, and of ten pairs the closest tenth
is a single one."""
_MAX_ROUNDS = 20
_BLOCK = 8_192


def random_pairs(
    vectors: FloatArray, item_of_row: IntArray, seed: int | Sequence[int], n_pairs: int = N_PAIRS
) -> Float32Array:
    """Angular distances of up to `n_pairs` random pairs of rows of different items, ascending. Fewer if nearly all
    pairs are of one item; none if there is only one item.

    Shape: vectors [N, D] of unit length, item_of_row [N] -> [P]
    """
    if len(item_of_row) < 2 or (item_of_row == item_of_row[0]).all():
        return np.zeros(0, np.float32)
    random = np.random.default_rng(seed)
    found: list[FloatArray] = []
    missing = n_pairs
    for _ in range(_MAX_ROUNDS):  # one round is enough for most collections; one very long item needs more
        one, other = random.integers(0, len(item_of_row), (2, missing))
        apart = item_of_row[one] != item_of_row[other]
        one, other = one[apart], other[apart]
        for at in range(0, len(one), _BLOCK):
            block = slice(at, at + _BLOCK)
            found.append(angular_distance(np.einsum("ij,ij->i", vectors[one[block]], vectors[other[block]])))
        missing -= len(one)
        if missing <= 0:
            break
    return np.sort(np.concatenate(found or [np.zeros(0)])).astype(np.float32)


def suffice(pairs: FloatArray) -> bool:
    """Whether distances can be compared with these pairs: there are at least `MIN_DIFFERENT` of different sounds.

    Shape: pairs [P] ascending

    >>> suffice(np.linspace(0.5, 1.5, 100)), suffice(np.repeat([0.0, 0.5], 1_000)), suffice(np.zeros(0))
    (True, False, False)
    """
    apart = pairs[np.searchsorted(pairs, IDENTICAL_DISTANCE) :]
    return len(apart) > 0 and 1 + int(np.count_nonzero(np.diff(apart))) >= MIN_DIFFERENT


def closer_than(distances: FloatArray, pairs: FloatArray) -> Float64Array:
    """For each distance the share of random pairs that are farther apart, 0 to 1; NaN if there are no pairs.

    Shape: distances any, pairs [P] ascending -> as distances

    >>> closer_than(np.array([0.5, 1.5]), np.array([1.0, 2.0])).tolist()
    [1.0, 0.5]
    """
    if not len(pairs):
        return np.full(np.shape(distances), np.nan)
    return np.asarray(1.0 - np.searchsorted(pairs, distances, side="right") / len(pairs), np.float64)
