"""Tags of items and of other sounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tags import tag_model

from boiler.errors import DamagedIndexError, FeedbackError, QueryError, UnknownItemError
from boiler.search.nearest import Nearest, SoundTag, TagCount
from boiler.store import generation
from boiler.store.header import Header, rows_of
from boiler.tagging.model import TagModel

DIM = 8
TAGS = ("dog", "cat", "rain")


def published(folder: Path, *, tagged: bool = True) -> Path:
    """Four items of two windows each; the third has a tag by hand, the fourth none at all."""
    vectors = np.random.default_rng(0).normal(size=(8, DIM)).astype(np.float32)
    tags = [{"dog": 0.9, "cat": 0.05}, {"dog": 0.31, "rain": 0.69}, {"dog": 0.8}, {}]
    items = [
        generation.Item(n, f"{n}.wav", tags=tags[n] if tagged else {}, tags_by_hand={"dog": False} if n == 2 else {})
        for n in range(4)
    ]
    tag_model(DIM, TAGS).save(folder / "tags.safetensors")
    generation.publish(
        folder / "model",
        Header("mine", DIM),
        vectors,
        rows_of(np.repeat(np.arange(4), 2)),
        items,
        tag_model=folder / "tags.safetensors" if tagged else None,
    )
    return folder / "model"


def test_tags_that_an_item_has_come_first(tmp_path: Path) -> None:
    with Nearest(published(tmp_path)) as nearest:
        assert nearest.tags(0) == [SoundTag("dog", 0.9, None, True), SoundTag("cat", 0.05, None, False)]
        # the thresholds of the model are .3, .5 and .7
        assert nearest.tags("1.wav") == [SoundTag("dog", 0.31, None, True), SoundTag("rain", 0.69, None, False)]
        assert nearest.tags(3) == []
        with pytest.raises(UnknownItemError):
            nearest.tags(9)


def test_tags_by_hand_are_seen_at_once_and_can_be_undone(tmp_path: Path) -> None:
    with Nearest(published(tmp_path)) as nearest:
        first = nearest.add_tag(0, "dog", False)
        second = nearest.add_tag("0.wav", "siren")
        assert nearest.tags(0) == [
            SoundTag("siren", None, True, True),
            SoundTag("dog", 0.9, False, False),
            SoundTag("cat", 0.05, None, False),
        ]
        assert nearest.undo_tag(first)
        assert nearest.undo_tag(second)
        assert nearest.tags(0)[0] == SoundTag("dog", 0.9, None, True)
        with pytest.raises(UnknownItemError):
            nearest.add_tag(9, "dog")


def test_counts_are_of_items_that_have_the_tag(tmp_path: Path) -> None:
    with Nearest(published(tmp_path)) as nearest:
        assert nearest.tag_counts() == [TagCount("dog", 2, pytest.approx(0.3))]


def test_windows_are_tagged_by_their_mean(tmp_path: Path) -> None:
    model_dir = published(tmp_path)
    model = TagModel.load(tmp_path / "tags.safetensors")
    with Nearest(model_dir) as nearest:
        opened = generation.open(model_dir)
        found = nearest.tags_of_windows(5 * np.asarray(opened.vectors[2:4]), k=2)
        probabilities = model.probabilities(np.asarray(opened.item_vectors[1:2]))[0]
        order = np.argsort(-probabilities)[:2]
        assert [one.tag for one in found] == [TAGS[at] for at in order]
        np.testing.assert_allclose([one.probability for one in found], probabilities[order], rtol=1e-4)
        for wrong in ([], [[1.0] * 3], [[0.0] * DIM]):
            with pytest.raises(QueryError):
                nearest.tags_of_windows(wrong)
        with pytest.raises(QueryError):
            nearest.tags_of_windows([[1.0] * DIM], k=0)


def test_without_a_model_only_people_tag(tmp_path: Path) -> None:
    with Nearest(published(tmp_path, tagged=False)) as nearest:
        with pytest.raises(QueryError, match="no tag model"):
            nearest.tags_of_windows([[1.0] * DIM])
        nearest.add_tag(2, "cat")
        assert nearest.tags(2) == [SoundTag("cat", None, True, True)]
        assert nearest.tag_counts() == []


def test_a_newer_index_brings_its_model(tmp_path: Path) -> None:
    model_dir = published(tmp_path, tagged=False)
    with Nearest(model_dir) as nearest:
        assert nearest.tag_counts() == []
        published(tmp_path)
        assert nearest.refresh()
        assert nearest.tag_counts()
        assert len(nearest.tags_of_windows([[1.0] * DIM], k=3)) == 3


def test_a_changed_model_is_refused(tmp_path: Path) -> None:
    model_dir = published(tmp_path)
    path = generation.open(model_dir).path / "tags.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with Nearest(model_dir) as nearest, pytest.raises(DamagedIndexError, match=r"tags\.safetensors"):
        nearest.tag_counts()


def test_labels_that_cannot_be_written_are_an_error(tmp_path: Path) -> None:
    model_dir = published(tmp_path)
    (model_dir / "labels.sqlite").mkdir()
    with Nearest(model_dir) as nearest, pytest.raises(FeedbackError, match="could not be written"):
        nearest.add_tag(0, "dog")
