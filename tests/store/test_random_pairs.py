"""Random pairs are of different items, uniformly drawn, and give the rank of a distance."""

from __future__ import annotations

import numpy as np
import pytest

from boiler.engine import normalize
from boiler.store.random_pairs import closer_than, random_pairs


def test_pairs_are_of_different_items() -> None:
    """Two items whose rows are the same within and opposite across: every distance must be 2."""
    rows = np.tile([[1.0, 0.0], [-1.0, 0.0]], (10, 1)).astype(np.float32)
    found = random_pairs(rows, np.tile([4, 9], 10), seed=0, n_pairs=1000)
    np.testing.assert_array_equal(found, 2.0)
    assert len(found) == 1000


def test_a_long_item_beside_a_short_one_still_gives_pairs() -> None:
    pairs = random_pairs(np.eye(4, dtype=np.float32), np.array([0, 0, 0, 1]), seed=0, n_pairs=100)
    assert np.allclose(pairs, np.sqrt(2))
    assert len(pairs) > 0


@pytest.mark.parametrize("n_rows", [0, 1, 5])
def test_one_item_alone_has_no_pairs(n_rows: int) -> None:
    assert len(random_pairs(np.ones((n_rows, 3), np.float32), np.zeros(n_rows, int), seed=0)) == 0


def test_they_are_sorted_and_another_seed_has_the_same_distribution() -> None:
    vectors = normalize(np.random.default_rng(0).normal(size=(500, 6)))
    first, second = (random_pairs(vectors, np.arange(500), seed, 20_000) for seed in (0, [0, 998]))
    assert (np.diff(first) >= 0).all()
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, random_pairs(vectors, np.arange(500), 0, 20_000))
    # the Kolmogorov-Smirnov bound of two such samples, exceeded once in a thousand
    assert np.abs(closer_than(first, second) - closer_than(first, first)).max() < 1.95 * np.sqrt(2 / 20_000)


def test_the_share_of_pairs_that_is_farther_apart() -> None:
    pairs = np.array([0.1, 0.5, 0.5, 1.0])
    found = closer_than(np.array([0.0, 0.1, 0.4, 0.5, 2.0]), pairs)
    np.testing.assert_allclose(found, [1.0, 0.75, 0.75, 0.25, 0.0])
    assert np.isnan(closer_than(np.array([0.1, 0.2]), np.zeros(0))).all()
