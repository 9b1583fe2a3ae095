"""The distribution of distances between random pairs, and the check of the stored pairs."""

from __future__ import annotations

import numpy as np
import pytest

from boiler.evaluation.calibration import calibrate
from boiler.store.random_pairs import random_pairs


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    found = np.random.default_rng(0).standard_normal((500, 6)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_valid_pairs_pass_the_check_and_invalid_ones_fail(vectors: np.ndarray) -> None:
    items = np.arange(500)
    pairs = random_pairs(vectors, items, 5)
    none = np.zeros((0, 1))
    right = calibrate(pairs, vectors, items, none, none, seed=1)
    # the Kolmogorov-Smirnov bound of two samples of 100,000, exceeded once in a thousand
    assert right.deviation < 1.95 * np.sqrt(2 / 100_000)
    assert right.share_closer_than_998 == pytest.approx(0.002, abs=0.0006)
    wrong = calibrate(pairs * 0.97, vectors, items, none, none, seed=1)
    assert wrong.deviation > 0.01


def test_quantiles_and_how_often_answers_are_right_by_hand(vectors: np.ndarray) -> None:
    pairs = np.linspace(0, 2, 2001)
    distances = np.array([[0.0005, 0.5, np.nan], [1.2, 1.9, np.nan]])
    gains = np.array([[1.0, 1.0, np.nan], [0.0, 1.0, np.nan]])
    found = calibrate(pairs, vectors, np.arange(500), distances, gains, seed=0)
    assert found.quantiles["90 %"] == pytest.approx(0.2)
    assert found.quantiles["99.8 %"] == pytest.approx(0.004)
    by_low = {line["low"]: line for line in found.bins}
    assert (by_low[0.0]["n"], by_low[0.0]["gain"]) == (2, 0.5)  # 1.2 and 1.9 are farther than half of the pairs
    assert (by_low[0.5]["n"], by_low[0.5]["gain"]) == (1, 1.0)  # .5 is closer than 75 %
    assert (by_low[0.999]["n"], by_low[0.999]["gain"]) == (1, 1.0)
    assert sum(line["n"] for line in found.bins) == 4
    assert np.isnan(by_low[0.95]["gain"])
