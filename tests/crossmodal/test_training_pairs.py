"""What a common space is learned from: which sounds are kept, what is held out, and what is measured."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boiler.crossmodal.training_pairs import LabelledVectors, PicturedVectors
from boiler.errors import CorpusError

FEATURES = np.eye(6, 9, dtype=np.float32)


def pictured(pairs: list[tuple[int, int]], n: int = 6) -> PicturedVectors:
    return PicturedVectors.from_pairs(np.eye(n, dtype=np.float32), FEATURES, pairs, "abc")


def test_only_labels_of_known_words_that_differ_are_learned() -> None:
    vectors = np.eye(5, dtype=np.float32)
    data = LabelledVectors.from_labels(vectors, [("dog",), ("rain",), ("x17",), (), ("dog", "rain")])
    assert data.label_names == ("dog", "rain")
    np.testing.assert_array_equal(data.vectors, vectors[:2])
    np.testing.assert_array_equal(data.of(np.arange(2)), np.eye(2, dtype=bool))
    for labels in ([("dog",)] * 5, [("x17",), ("y18",), (), (), ()]):
        with pytest.raises(CorpusError, match="two sounds with different labels of known English words"):
            LabelledVectors.from_labels(vectors, labels)
    trained, held = data.split(0.9, 0)
    assert (len(trained), len(held)) == (2, 0)


def test_sounds_without_pictures_are_left_out() -> None:
    data = pictured([(0, 0), (0, 0), (1, 1), (3, 2)])
    np.testing.assert_array_equal(data.vectors, np.eye(6, dtype=np.float32)[[0, 1, 3]])
    np.testing.assert_array_equal(data.of(np.array([2])), [[False, False, True, False, False, False]])
    with pytest.raises(CorpusError, match="two sounds with different pictures"):
        pictured([(0, 0)])


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12), st.integers(0, 99))
def test_no_picture_and_no_sound_is_both_trained_on_and_held_out(pairs: list[tuple[int, int]], seed: int) -> None:
    try:
        data = pictured(pairs)
    except CorpusError:
        return
    trained, held = data.split(0.5, seed)
    assert sorted([*trained.tolist(), *held.tolist()]) == [*range(len(data.vectors))]
    assert not (data.of(trained).any(axis=0) & data.of(held).any(axis=0)).any()
    assert len(trained) >= 1


def test_recall_of_pictures_is_compared_with_chance() -> None:
    data = pictured([(0, 0), (1, 1), (2, 2), (3, 3), (3, 4)])
    held = np.array([1, 2, 3])
    sounds = np.eye(3, dtype=np.float32)
    queries = np.zeros((6, 3), np.float32)
    queries[1, 0] = queries[2, 0] = queries[3, 2] = queries[4, 2] = 1.0  # picture 2 finds the sound of picture 1
    found = data.metrics(sounds, queries, held)
    assert found["n_pictures"] == 4
    assert found["recall_at_1"] == 0.75
    assert found["chance_at_1"] == pytest.approx(1 / 3)
    assert found["recall_at_10"] == found["chance_at_10"] == 1.0
    assert "75.0% found a sound of theirs first of 3 (by chance 33.3%)" in data.summary(found)


def test_features_that_are_constant_in_training_do_not_overflow() -> None:
    mean, scale = pictured([(n, n) for n in range(6)]).scaling(np.array([0, 1]))
    np.testing.assert_allclose(mean[:3], [0.5, 0.5, 0])
    assert scale > 0.1
