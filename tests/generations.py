"""Helpers for the tests of the store: small generations of random vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from boiler.store import generation
from boiler.store.generation import Generation, Header, Item, rows_of

DIM = 8


def publish(model_dir: Path, n_items: int = 20, seed: int = 0, **kwargs) -> Generation:
    """Publish `n_items` items with two rows each; the last one is silent."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(2 * (n_items - 1), DIM)).astype(np.float32)
    rows = rows_of(np.repeat(np.arange(n_items - 1), 2), start_s=np.tile([0.0, 4.096], n_items - 1))
    items = [
        Item(n, f"kind{n % 3}/{n}.wav", url=f"u{n}", label=f"kind{n % 3}", silent=n == n_items - 1)
        for n in range(n_items)
    ]
    return generation.publish(model_dir, Header("mine", DIM, seed=seed), vectors, rows, items, **kwargs)
