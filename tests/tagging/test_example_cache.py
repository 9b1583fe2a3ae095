"""The cache gives the examples of the records, in parts by their ids, from a file without a name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tags import skewed

from boiler.tagging import example_cache
from boiler.tagging.example_cache import cached
from boiler.tagging.examples import ArrayExamples, HashPart, read_batches


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example_cache, "BLOCK", 7)


def test_examples_are_those_of_the_source(tmp_path: Path) -> None:
    source = skewed(100, 5, 4, seed=0)
    with cached(source, tmp_path, seed=3) as found:
        assert list(tmp_path.iterdir()) == []
        for low, high in ((0.0, 1.0), (0.0, 0.6), (0.6, 0.8), (0.8, 1.0)):
            expected = HashPart(source, low, high, seed=3).examples()
            for ours, theirs in zip(found.between(low, high).examples(), expected, strict=True):
                assert np.array_equal(ours.features, theirs.features)
                assert ours.labels.tolist() == theirs.labels.tolist()


def test_the_order_follows_from_the_seed_and_differs_between_epochs(tmp_path: Path) -> None:
    with cached(skewed(100, 5, 4, seed=0), tmp_path, seed=0) as every:
        found = every.between(0.0, 0.9)
        first, again, later = (
            np.concatenate([batch.features for batch in read_batches(found, 16, seed=1, epoch=epoch)])
            for epoch in (0, 0, 1)
        )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, later)
    assert np.array_equal(np.sort(first, axis=0), np.sort(later, axis=0))


def test_no_examples_are_no_error(tmp_path: Path) -> None:
    nothing = ArrayExamples([], np.zeros((0, 5), np.float32), [], 4)
    with cached(nothing, tmp_path, seed=0) as found:
        assert list(found.between(0.0, 0.5).examples()) == []
