"""Likes and dislikes change the ranking at once, and only for the query that they were given for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boiler import engine
from boiler.catalog.items import Item
from boiler.errors import UnknownItemError
from boiler.search import relevance_feedback
from boiler.search.nearest import ByItem, ByVector, Nearest, Options
from boiler.store import generation
from boiler.store.generation import Header, rows_of

DIM = 8


def published(folder: Path, names: list[str]) -> Nearest:
    vectors = engine.normalize(np.random.default_rng(0).gamma(0.6, size=(len(names), DIM)))
    items = [Item(n, name) for n, name in enumerate(names)]
    generation.publish(folder, Header(encoder="none", dim=DIM), vectors, rows_of(np.arange(len(names))), items)
    return Nearest(folder)


@pytest.fixture
def nearest(tmp_path: Path) -> Nearest:
    return published(tmp_path / "model", [f"s{n}.wav" for n in range(100)])


def numbers(nearest: Nearest, options: Options | None = None, n: int = 0, k: int = 99) -> list[int]:
    return [match.n for match in nearest.query(ByItem(n), k, options).matches]


def test_likes_and_dislikes_change_only_the_ranking_of_that_query(nearest: Nearest) -> None:
    before, other = numbers(nearest), numbers(nearest, n=1)
    liked, disliked = before[30], before[2]
    nearest.add_feedback(ByItem("s0.wav"), liked, like=True)
    nearest.add_feedback(ByItem(0), f"s{disliked}.wav", like=False)
    after = numbers(nearest)
    assert after.index(liked) < 10
    assert disliked not in after
    assert numbers(nearest, Options(feedback=False)) == before
    assert numbers(nearest, n=1) == other


def test_undone_feedback_has_no_effect(nearest: Nearest) -> None:
    before = numbers(nearest)
    feedback_id = nearest.add_feedback(ByItem(0), before[30], like=True)
    assert numbers(nearest) != before
    assert nearest.undo_feedback(feedback_id)
    assert numbers(nearest) == before


def test_feedback_can_be_limited_to_a_user(nearest: Nearest) -> None:
    before = numbers(nearest)
    nearest.add_feedback(ByItem(0), before[30], like=True, user="ann")
    assert numbers(nearest, Options(user="bob")) == before
    assert numbers(nearest, Options(user="ann")) == numbers(nearest) != before


def test_feedback_is_kept_for_a_query_by_vector(nearest: Nearest) -> None:
    query = np.random.default_rng(3).gamma(0.6, size=DIM)
    before = [match.n for match in nearest.query(ByVector(query), 50).matches]
    nearest.add_feedback(ByVector(query * 7), before[30], like=True)
    again = [match.n for match in nearest.query(ByVector(query), 50).matches]
    assert again.index(before[30]) < 10


def test_feedback_applies_to_batches(nearest: Nearest) -> None:
    nearest.add_feedback(ByItem(0), numbers(nearest)[30], like=True)
    together = nearest.query_many([ByItem(0), ByItem(1)], 20)
    assert [[match.n for match in answer.matches] for answer in together] == [
        numbers(nearest, n=0, k=20),
        numbers(nearest, n=1, k=20),
    ]


def test_feedback_survives_a_new_index_and_deleted_items(nearest: Nearest) -> None:
    before = numbers(nearest)
    nearest.add_feedback(ByItem(0), before[30], like=True)
    nearest.add_feedback(ByItem(0), before[40], like=True)
    after = numbers(nearest)
    published(nearest.model_dir, [f"s{n}.wav" if n != before[40] else "renamed.wav" for n in range(100)])
    assert nearest.refresh()
    assert numbers(nearest) != before
    assert set(numbers(nearest)) == set(after)


def test_feedback_needs_an_existing_item(nearest: Nearest) -> None:
    with pytest.raises(UnknownItemError):
        nearest.add_feedback(ByItem(0), "nothing.wav", like=True)
    assert list(nearest.feedback.export()) == []


def test_the_moved_vector_is_bounded_and_of_unit_length() -> None:
    query, liked, disliked = engine.normalize(np.random.default_rng(0).normal(size=(3, 1, DIM)))
    none = np.zeros((0, DIM), np.float32)
    moved = relevance_feedback.move_queries(query, liked, disliked)
    assert np.linalg.norm(moved) == pytest.approx(1, abs=1e-6)
    assert moved[0] @ liked[0] > query[0] @ liked[0]
    assert moved[0] @ disliked[0] < query[0] @ disliked[0]
    np.testing.assert_allclose(relevance_feedback.move_queries(query, none, none), query, atol=1e-7)
    np.testing.assert_allclose(relevance_feedback.move_queries(query, none, query), query, atol=1e-7)


def test_deprecated_methods_still_work(nearest: Nearest) -> None:
    with pytest.deprecated_call(match="Nearest.add_feedback"):
        feedback_id = nearest.judge(ByItem(0), 3, like=True)
    with pytest.deprecated_call(match="Nearest.feedback_for"):
        assert nearest.judged(ByItem(0)).likes == ("s3.wav",)
    with pytest.deprecated_call(match="Nearest.undo_feedback"):
        assert nearest.undo(feedback_id)
    assert nearest.feedback_for(ByItem(0)).likes == ()
