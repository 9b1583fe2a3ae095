"""Labelled vectors with a known truth, for tests of tags."""

from __future__ import annotations

import numpy as np

from boiler.tagging.examples import ArrayExamples


def skewed(n: int, dim: int, n_classes: int, seed: int, bias: float = -1.0) -> ArrayExamples:
    """Examples whose labels follow from their vectors by a logistic model; the first tags are common, the last rare.

    bias: the log-odds of the first tag"""
    truth = np.random.default_rng(99)
    weights = truth.normal(0, 2.5 / np.sqrt(dim), (n_classes, dim))
    biases = bias - 3.0 * np.linspace(0, 1, n_classes)
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, dim)).astype(np.float32)
    odds = np.exp(2 * (features @ weights.T) + biases)
    labels = rng.random((n, n_classes)) < odds / (1 + odds)
    return ArrayExamples(
        [f"{seed}/{at}" for at in range(n)], features, [np.flatnonzero(row) for row in labels], n_classes
    )
