"""Active learning: the model follows the answers, and asks about what it is unsure of, spread over the collection."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from boiler.tagging import active
from boiler.tagging.active import ActiveModel, spread, uncertainty


def clusters(n: int = 40, dim: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around four directions, and the number of the direction of each."""
    rng = np.random.default_rng(0)
    kinds = np.arange(n) % 4
    vectors = np.eye(dim)[kinds] + 0.15 * rng.normal(size=(n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), kinds


def test_answers_move_the_model_and_can_be_taken_back() -> None:
    vectors, kinds = clusters()
    model = ActiveModel(vectors, ["a"])
    assert model.probabilities()[:, 0].tolist() == [0.5] * 40
    model.set_answers({at: {"a": bool(kinds[at] == 0)} for at in range(8)})
    found = model.probabilities()[:, 0]
    assert (found > 0.5).tolist() == (kinds == 0).tolist()
    model.set_answers({0: {"a": False}, 1: {"a": True}})
    assert model.probabilities()[4, 0] < 0.5
    model.set_answers({})
    assert model.probabilities()[:, 0].tolist() == [0.5] * 40


def test_the_fit_is_the_optimum_wherever_it_began() -> None:
    vectors, kinds = clusters()
    answers = {at: {"a": bool(kinds[at] % 2)} for at in range(20)}
    fresh, moved = ActiveModel(vectors, ["a"]), ActiveModel(vectors, ["a"])
    fresh.set_answers(answers)
    moved.set_answers({at: {"a": not said["a"]} for at, said in answers.items()})
    moved.set_answers(answers)
    np.testing.assert_allclose(fresh.probabilities(), moved.probabilities(), atol=0.01)
    inputs = fresh._inputs[:, :-1]
    theirs = LogisticRegression(C=1 / (active.DECAY * 20), max_iter=1_000).fit(inputs[:20], kinds[:20] % 2)
    np.testing.assert_allclose(fresh.probabilities()[:, 0], theirs.predict_proba(inputs)[:, 1], atol=0.03)


def test_new_tags_are_learned_too() -> None:
    vectors, kinds = clusters()
    model = ActiveModel(vectors, ["a"])
    model.set_answers({at: {"b": bool(kinds[at] == 1)} for at in range(8)})
    assert model.tags == ["a", "b"]
    assert (model.probabilities()[:, 1] > 0.5).tolist() == (kinds == 1).tolist()


def test_the_first_questions_are_one_of_each_kind() -> None:
    vectors, kinds = clusters()
    assert {*kinds[ActiveModel(vectors, ["a"]).next_items(4)].tolist()} == {0, 1, 2, 3}


def test_questions_are_about_what_is_unsure_and_never_answered_ones() -> None:
    vectors, kinds = clusters()
    between = (vectors[0] + vectors[1]) / np.linalg.norm(vectors[0] + vectors[1])
    model = ActiveModel(np.concatenate([vectors, between[None]]), ["a", "b", "c", "d"])
    names = "abcd"
    model.set_answers({at: {name: names[kinds[at]] == name for name in names} for at in range(16)})
    asked = model.next_items(100)
    assert asked[0] == 40
    assert sorted(asked.tolist()) == list(range(16, 41))
    model.set_answers({at: {"a": True} for at in range(41)})
    assert model.next_items(5).tolist() == []


def test_uncertainty_is_the_margin_of_the_two_best() -> None:
    assert uncertainty(np.array([[0.9, 0.8, 0.1], [0.2, 0.9, 0.1]])) == pytest.approx([0.9, 0.3])
    assert uncertainty(np.array([[0.5], [0.9]])) == pytest.approx([1.0, 0.2])


def test_spreading_prefers_what_is_far_from_the_known() -> None:
    unit = np.eye(4, dtype=np.float32)[[0, 0, 1, 2]]
    assert spread(unit, np.ones(4, np.float32), unit[:1], 2).tolist() == [2, 3]
    assert spread(unit, np.array([1, 1, 0.1, 0.1], np.float32), np.zeros((0, 4), np.float32), 9).tolist() == [
        0,
        2,
        3,
        1,
    ]
