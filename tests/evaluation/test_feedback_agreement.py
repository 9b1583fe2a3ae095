"""Agreement of the ranking with likes and dislikes, against values computed by hand for items on an arc."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from boiler import engine
from boiler.catalog.items import Item
from boiler.cli import evaluate
from boiler.evaluation.feedback_agreement import measure_agreement
from boiler.search.nearest import ByItem, ByVector, Nearest
from boiler.store import generation
from boiler.store.generation import Header, rows_of

N = 30


@pytest.fixture
def nearest(tmp_path: Path) -> Nearest:
    """Items on an arc: the n-th is the n-th nearest to item 0."""
    angles = np.arange(N) * 0.05
    vectors = engine.normalize(np.stack([np.cos(angles), np.sin(angles)], 1))
    items = [Item(n, f"{n:02}.wav") for n in range(N)]
    generation.publish(tmp_path / "model", Header(encoder="none", dim=2), vectors, rows_of(np.arange(N)), items)
    return Nearest(tmp_path / "model")


def add_feedback(nearest: Nearest, query: int, likes: list[int], dislikes: list[int]) -> None:
    for n in likes:
        nearest.add_feedback(ByItem(query), n, like=True)
    for n in dislikes:
        nearest.add_feedback(ByItem(query), n, like=False)


def test_ranks_shares_and_pairs_equal_those_computed_by_hand(nearest: Nearest) -> None:
    add_feedback(nearest, 0, likes=[1, 3, 20], dislikes=[2, 25])
    add_feedback(nearest, N - 1, likes=[N - 2], dislikes=[])
    found = measure_agreement(nearest._context.snapshot, nearest.feedback)
    assert (found.questions, found.liked, found.disliked, found.skipped) == (2, 4, 2, 0)
    assert (found.liked_median_rank, found.disliked_median_rank) == (2.0, 13.5)  # 1, 1, 3, 20; 2, 25
    assert (found.liked_in_top, found.disliked_in_top) == (0.75, 0.5)
    assert (found.pairs, found.in_order) == (6, pytest.approx(4 / 6))  # 3 and 20 come after 2


def test_the_ranking_is_not_moved_by_the_feedback(nearest: Nearest) -> None:
    add_feedback(nearest, 0, likes=[29], dislikes=[1])
    assert measure_agreement(nearest._context.snapshot, nearest.feedback).in_order == 0


def test_undone_feedback_is_ignored_and_unusable_queries_are_counted_separately(nearest: Nearest) -> None:
    add_feedback(nearest, 0, likes=[1], dislikes=[])
    nearest.undo_feedback(nearest.add_feedback(ByItem(0), 2, like=False))
    nearest.add_feedback(ByVector([1.0, 0.5]), 3, like=True)
    nearest.feedback.add("item:gone.wav", "05.wav", like=True)
    nearest.feedback.add("item:00.wav", "gone.wav", like=True)
    found = measure_agreement(nearest._context.snapshot, nearest.feedback)
    assert (found.questions, found.liked, found.disliked, found.skipped) == (1, 1, 0, 3)
    assert math.isnan(found.in_order)
    assert found.pairs == 0


def test_the_command_prints_it_without_labels(nearest: Nearest, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main([str(nearest.model_dir), "--feedback"]) == 2
    assert "has no feedback yet" in capsys.readouterr().err
    add_feedback(nearest, 0, likes=[1], dislikes=[2])
    assert evaluate.main([str(nearest.model_dir), "--feedback"]) == 0
    assert "In 100.0 %" in capsys.readouterr().out


def test_the_command_reads_a_database(nearest: Nearest, capsys: pytest.CaptureFixture[str]) -> None:
    url = "postgresql://ann@127.0.0.1:1/sounds"
    assert evaluate.main([str(nearest.model_dir), "--feedback_url", url]) == 2
    assert "give --feedback, too" in capsys.readouterr().err
    assert evaluate.main([str(nearest.model_dir), "--feedback", "--feedback_url", url]) == 2
    assert "PostgreSQL, sounds at 127.0.0.1" in capsys.readouterr().err
