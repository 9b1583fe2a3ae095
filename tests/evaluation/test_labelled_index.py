"""The labelled part of an index: vectors, windows and rows stay together with their items."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from boiler.errors import CorpusError, ModelDirError
from boiler.evaluation import ground_truth, labelled_index
from boiler.store import generation
from boiler.store.generation import Header, Item, rows_of


@pytest.fixture
def publish(tmp_path: Path) -> Callable[..., Path]:
    """Publishes items with these numbers of windows, in this order."""

    def make(counts: list[int], named: list[str | None], wav_dir: Path | None = None) -> Path:
        n = np.repeat(np.arange(len(counts)), counts)
        vectors = np.random.default_rng(0).standard_normal((len(n), 4)).astype(np.float32)
        items = [Item(i, f"{i}.wav", label=label) for i, label in enumerate(named)]
        meta = {"wav_dir": str(wav_dir)} if wav_dir else {}
        generation.publish(tmp_path / "model", Header(encoder="test", dim=4), vectors, rows_of(n), items, meta=meta)
        return tmp_path / "model"

    return make


def from_catalog(items: object, _: Path | None) -> ground_truth.GroundTruth:
    return ground_truth.from_catalog(items)  # type: ignore[arg-type]


def test_items_without_rows_or_labels_are_left_out(publish: Callable[..., Path]) -> None:
    model_dir = publish([2, 0, 1, 3, 1], ["a", "a", None, "b", "a"])
    found = labelled_index.open_labelled(model_dir, None, from_catalog)
    assert found.ids == ["0.wav", "3.wav", "4.wav"]
    assert found.n_items == 4
    assert found.truth.labels == (("a",), ("b",), ("a",))
    assert found.first_rows.tolist() == [0, 3, 6]
    opened = found.generation
    assert found.collection.windows is not None
    assert found.collection.first is not None
    np.testing.assert_array_equal(found.collection.windows, opened.vectors[[0, 1, 3, 4, 5, 6]])
    assert found.collection.first.tolist() == [0, 2, 5]
    for vector, rows in zip(found.collection.vectors, ([0, 1], [3, 4, 5], [6]), strict=True):
        mean = np.asarray(opened.vectors)[rows].mean(0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-6)


def test_with_one_window_per_item_only_the_vector_is_ranked(publish: Callable[..., Path]) -> None:
    found = labelled_index.open_labelled(publish([1, 1, 1], ["a", "b", "a"]), None, from_catalog)
    assert found.collection.windows is None
    assert found.labels.tolist() == [0, 1, 0]


def test_the_folder_is_the_indexed_one_unless_another_is_given(publish: Callable[..., Path], tmp_path: Path) -> None:
    sounds = tmp_path / "sounds"
    model_dir = publish([1, 1], ["a", "a"], sounds)
    assert labelled_index.open_labelled(model_dir, None, from_catalog).paths() is None
    sounds.mkdir()
    (sounds / "0.wav").touch()
    assert labelled_index.open_labelled(model_dir, None, from_catalog).paths() is None  # one of them is missing
    (sounds / "1.wav").touch()
    assert labelled_index.open_labelled(model_dir, None, from_catalog).paths() == [sounds / "0.wav", sounds / "1.wav"]
    assert labelled_index.open_labelled(model_dir, tmp_path, from_catalog).paths() is None


def test_a_missing_index_or_folder_is_refused(publish: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ModelDirError):
        labelled_index.open_labelled(tmp_path / "nowhere", None, from_catalog)
    with pytest.raises(CorpusError, match="has no searchable sound"):
        labelled_index.open_labelled(publish([0, 0], ["a", "a"]), None, from_catalog)
