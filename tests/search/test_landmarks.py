"""Words on the map: placed where the sounds are that match them best, distinct, and none that matches everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from generations import publish
from hypothesis import given
from hypothesis import strategies as st
from wording import CLASSES, common_space, publish_with_words

from boiler.search import landmarks
from boiler.search.landmarks import place_landmarks
from boiler.search.nearest import Nearest

NAMES = [name.split(",")[0].lower() for name in CLASSES]


def publish_kinds(model_dir: Path, numbers: list[int] | None = None) -> Nearest:
    """120 windows, each of the class n % 6, of as many items or of those `numbers`."""
    noise = np.random.default_rng(0).normal(size=(120, 6)).astype(np.float32)
    publish_with_words(model_dir, 2 * np.eye(6, dtype=np.float32)[np.arange(120) % 6] + 0.05 * noise, numbers)
    return Nearest(model_dir)


def test_a_word_lies_where_its_sounds_do(tmp_path: Path) -> None:
    nearest = publish_kinds(tmp_path / "index")
    drawn = nearest.map()
    assert drawn is not None
    found = {one.name: one for one in nearest.landmarks()}
    assert found.keys() == set(NAMES)
    for n, name in enumerate(NAMES):
        own = drawn.xy[drawn.n % 6 == n]
        assert np.linalg.norm(own - (found[name].x, found[name].y), axis=1).mean() < 0.1
        assert found[name].n_items == 20


def test_an_item_counts_once_by_its_best_window(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(size=(120, 6)).astype(np.float32)
    kinds = np.arange(60) % 3
    weak, strong = np.eye(6, dtype=np.float32)[kinds], 2 * np.eye(6, dtype=np.float32)[kinds + 3]
    vectors = np.stack([weak + 2, strong], axis=1).reshape(120, 6) + 0.02 * noise
    publish_with_words(tmp_path / "index", vectors, [row // 2 for row in range(120)])
    found = Nearest(tmp_path / "index").landmarks()
    assert {(one.name, one.n_items) for one in found} == {(name, 20) for name in NAMES[3:]}


def test_blocks_of_a_large_index_stand_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nearest = publish_kinds(tmp_path / "index")
    whole = nearest.landmarks()
    monkeypatch.setattr(landmarks, "MAX_ROWS", 1)
    assert nearest.landmarks() == whole  # at least one block is read


def test_items_that_match_nothing_well_are_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nearest = publish_kinds(tmp_path / "index")
    monkeypatch.setattr(landmarks, "LEAST_PROBABILITY", 1.01)  # more than any has
    assert nearest.landmarks() == ()


def test_without_words_or_map_there_are_none(tmp_path: Path) -> None:
    publish(tmp_path / "plain")
    assert Nearest(tmp_path / "plain").landmarks() == ()


def test_a_common_space_gives_the_labels_of_its_training(tmp_path: Path) -> None:
    labels = ["dog_bark", "rain", "violin", "sneeze", "thunder", "cow"]
    space = common_space(labels)
    space.weights["sound_bias"][:] = 0
    space.save(tmp_path / "words.safetensors")
    publish_kinds(tmp_path / "index").close()
    nearest = Nearest(tmp_path / "index", words_model=tmp_path / "words.safetensors")
    assert {one.name for one in nearest.landmarks()} == {label.replace("_", " ") for label in labels}


def test_a_class_that_is_spread_over_the_map_marks_nothing() -> None:
    here = 0.5 + 0.01 * np.random.default_rng(0).normal(size=(30, 2))
    together = np.full((4, 2), 0.05)
    apart = np.stack(np.meshgrid(np.linspace(0.15, 1, 6), np.linspace(0, 1, 6)), axis=-1).reshape(36, 2)
    xy = np.concatenate([here, together, apart]).astype(np.float32)
    match = np.full(70, 0.9, np.float32)
    (found,) = place_landmarks(xy, np.repeat([0, 1], [30, 40]), match, ["here", "everywhere"])
    assert (found.name, found.x, found.y) == ("here", pytest.approx(0.5, abs=0.01), pytest.approx(0.5, abs=0.01))


def test_a_class_lies_where_it_is_matched_most_and_densest() -> None:
    xy = np.array([[0.5, 0.9]] + [[0.1, 0.1]] * 39 + [[0.9, 0.9]] * 50, np.float32)
    match = np.repeat(np.array([0.95, 0.9, 0.2], np.float32), [1, 39, 50])
    (found,) = place_landmarks(xy, np.zeros(90, np.int64), match, ["dog"])
    assert (found.x, found.y, found.n_items) == (pytest.approx(0.1), pytest.approx(0.1), 90)


@given(seed=st.integers(0, 1_000), n_items=st.integers(0, 400), n_classes=st.integers(1, 90))
def test_landmarks_are_few_distinct_and_apart(seed: int, n_items: int, n_classes: int) -> None:
    rng = np.random.default_rng(seed)
    centres = rng.random((n_classes, 2))
    classes = rng.integers(0, n_classes, n_items)
    xy = (centres[classes] + 0.02 * rng.normal(size=(n_items, 2))).astype(np.float32)
    match = rng.random(n_items).astype(np.float32)
    found = place_landmarks(xy, classes, match, [str(n) for n in range(n_classes)])
    assert len({one.name for one in found}) == len(found) <= landmarks.MAX_LANDMARKS
    assert [one.n_items for one in found] == sorted((one.n_items for one in found), reverse=True)
    places = np.array([(one.x, one.y) for one in found]).reshape(-1, 2)
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    assert (distances[~np.eye(len(found), dtype=bool)] >= landmarks.APART - 1e-6).all()
