"""Labelled vectors with a known truth, for tests of tags."""

from __future__ import annotations

import numpy as np
import torch

from boiler.tagging.examples import ArrayExamples
from boiler.tagging.model import TagModel
from boiler.tagging.network import TAG_NETWORKS, TagNetwork


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


def tag_model(dim: int, tags: tuple[str, ...], encoder_sha256: str = "", seed: int = 0) -> TagModel:
    """A linear model with random weights and different thresholds."""
    rng = np.random.default_rng(seed)
    return TagModel(
        network="linear",
        tags=tags,
        weights={
            "weight": rng.normal(0, 4, (len(tags), dim)).astype(np.float32),
            "bias": rng.normal(-1, 1, len(tags)).astype(np.float32),
        },
        offsets=np.zeros(len(tags), np.float32),
        thresholds=np.linspace(0.3, 0.7, len(tags)).astype(np.float32),
        encoder_sha256=encoder_sha256,
    )


DIM, N_CLASSES = 9, 4


def trained(name: str) -> TagNetwork:
    """A network with random weights, and statistics far from 0 and 1."""
    torch.manual_seed(1)
    network = TAG_NETWORKS[name](DIM, N_CLASSES)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    rng = np.random.default_rng(0)
    network.standardize(rng.normal(5, 3, DIM).astype(np.float32), rng.uniform(0.5, 4, DIM).astype(np.float32))
    return network.eval()


def model_of(network: TagNetwork, name: str) -> TagModel:
    rng = np.random.default_rng(2)
    return TagModel(
        name,
        ("a", "b", "c", "d"),
        network.folded(),
        rng.normal(0, 1, N_CLASSES).astype(np.float32),
        np.full(N_CLASSES, 0.5, np.float32),
    )
