"""Distance and cosine are one another's inverse, and are those of the vectors themselves."""

from __future__ import annotations

import numpy as np

from boiler.engine import normalize
from boiler.engine.distance import angular_distance, cosine_similarity


def test_they_are_the_length_of_the_difference_and_the_product_of_unit_vectors() -> None:
    a, b = normalize(np.random.default_rng(0).normal(size=(2, 100, 16))).astype(np.float64)
    cosines, distances = (a * b).sum(axis=1), np.linalg.norm(a - b, axis=1)
    np.testing.assert_allclose(angular_distance(cosines), distances, atol=1e-6)
    np.testing.assert_allclose(cosine_similarity(distances), cosines, atol=1e-6)


def test_a_cosine_above_1_by_rounding_is_distance_0_and_the_type_is_kept() -> None:
    cosines = np.array([1.0000001, 1.0], np.float32)
    found = angular_distance(cosines)
    assert found.tolist() == [0.0, 0.0]
    assert found.dtype == np.float32
    assert cosine_similarity(1.0) == 0.5
