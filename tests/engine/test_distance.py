"""Distance and cosine convert into each other and agree with the vectors."""

from __future__ import annotations

import numpy as np

from boiler.engine import normalize
from boiler.engine.distance import angular_distance, cosine_similarity


def test_distance_is_the_norm_of_the_difference_and_cosine_the_dot_product() -> None:
    a, b = normalize(np.random.default_rng(0).normal(size=(2, 100, 16))).astype(np.float64)
    cosines, distances = (a * b).sum(axis=1), np.linalg.norm(a - b, axis=1)
    np.testing.assert_allclose(angular_distance(cosines), distances, atol=1e-6)
    np.testing.assert_allclose(cosine_similarity(distances), cosines, atol=1e-6)


def test_a_cosine_rounded_above_1_is_distance_0_and_the_dtype_is_kept() -> None:
    cosines = np.array([1.0000001, 1.0], np.float32)
    found = angular_distance(cosines)
    assert found.tolist() == [0.0, 0.0]
    assert found.dtype == np.float32
    assert cosine_similarity(1.0) == 0.5
