"""Helpers for the tests of the catalog: add files and vectors without decoding anything."""

from __future__ import annotations

import numpy as np

from boiler.audio.stream import Probe
from boiler.catalog import diff
from boiler.catalog.catalog import Catalog
from boiler.catalog.scan import FoundFile, Unreadable

PROBE = Probe(8.192, 16_000, 1, "wav")


def add_files(store: Catalog, *ids: str, size_bytes: int = 1) -> None:
    found = [FoundFile(id, size_bytes, 1) for id in ids]
    changes = diff.compare(store, found, Unreadable({"": "not scanned"}), lambda files: [None] * len(files))
    diff.apply(store, changes, lambda id: None, "now")


def add_vectors(store: Catalog, n: int, sha256: str, n_windows: int = 1, size_bytes: int = 1) -> None:
    c, _ = store.queue.begin(n)
    store.queue.add_windows(
        (c, 4.096 * w, 8.192 + 4.096 * w, np.full(3, n + w + 1, np.float32)) for w in range(n_windows)
    )
    store.queue.finish(n, c, sha256, size_bytes, PROBE)
