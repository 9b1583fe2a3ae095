"""Counts over a published index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from generations import publish

from boiler.errors import DamagedIndexError
from boiler.search.statistics import collection_statistics
from boiler.store import generation
from boiler.store.generation import Failure, Header, Item, rows_of


def test_items_are_counted_by_label_folder_and_format(tmp_path: Path) -> None:
    items = [
        Item(0, "in/a.wav", label="dog", duration_s=2.0, size_bytes=10, format="wav", sha256="x"),
        Item(1, "in/b.ogg", label="dog", duration_s=3.5, size_bytes=20, format="ogg", sha256="y", warning="it ends"),
        Item(2, "c.wav", size_bytes=5, format="wav", sha256="x", silent=True),
    ]
    failures = [Failure(f"{n}.wav", "is empty") for n in range(3)]
    vectors = np.eye(2, dtype=np.float32)
    generation.publish(tmp_path, Header("mine", 2), vectors, rows_of([0, 1]), items, failures=failures)
    found = collection_statistics(tmp_path, max_failures=2)
    assert (found.n_items, found.n_silent, found.duration_s, found.size_bytes) == (3, 1, 5.5, 35)
    assert (found.labels, found.n_unlabelled) == ((("dog", 2),), 1)
    assert (found.folders, found.formats) == ((("in", 2),), (("wav", 2), ("ogg", 1)))
    assert sorted(found.durations_s) == [2.0, 3.5]
    assert [one.id for one in found.failures] == ["0.wav", "1.wav"]
    assert [(one.id, one.reason) for one in found.warnings] == [("in/b.ogg", "it ends")]
    assert found.same_bytes == (("c.wav", "in/a.wav"),)
    assert collection_statistics(tmp_path, max_same_bytes=0).same_bytes == ()
    assert found.kept == (found.generation.name,)


def test_a_damaged_index_is_counted_as_the_last_good_one_unless_it_is_checked(tmp_path: Path) -> None:
    good, damaged = publish(tmp_path, n_items=5), publish(tmp_path, n_items=9, seed=1)
    (damaged.path / "vectors.npy").unlink()
    found = collection_statistics(tmp_path)
    assert (found.n_items, found.header.generation) == (5, good.name)
    with pytest.raises(DamagedIndexError, match=r"vectors\.npy"):
        collection_statistics(tmp_path, check=True)
