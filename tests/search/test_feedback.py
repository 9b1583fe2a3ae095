"""The file of feedback: bounds, damage, earlier versions."""

from __future__ import annotations

import contextlib
import doctest
import sqlite3
from pathlib import Path

import pytest

from boiler.errors import FeedbackError, QueryError
from boiler.search import feedback
from boiler.search.feedback import FeedbackStore, FeedbackSummary


def test_a_damaged_file_is_reported_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / feedback.FILE).write_bytes(b"this is no database, and longer than a header of one" * 10)
    with pytest.raises(QueryError, match="move it away"):
        FeedbackStore(tmp_path).summary("q")
    with pytest.raises(QueryError, match="could not be written"):
        FeedbackStore(tmp_path).add("q", "a", like=True)


def test_the_example_runs() -> None:
    assert doctest.testmod(feedback).failed == 0


def test_a_file_of_an_earlier_version_gets_owners(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path)
    with contextlib.closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute(
            "CREATE TABLE judgements (j INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, who TEXT, question TEXT"
            " NOT NULL, item TEXT NOT NULL, likes INTEGER NOT NULL, generation TEXT NOT NULL, undone_at TEXT)"
        )
        connection.execute("INSERT INTO judgements VALUES (1, '2026', 'ann', 'q', 'a', 1, '', NULL)")
    assert store.summary("q") == FeedbackSummary(("a",), ())
    assert len(list(store.export())) == 1
    assert store.undo(store.add("q", "b", like=True, owner="one"), owner="one")
    assert not store.undo(1, owner="one")
    assert len(list(store.export())) == 2


def test_the_file_is_bounded_in_bytes(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path, max_bytes=30_000)
    with pytest.raises(FeedbackError, match="is full"):
        for n in range(100):
            store.add("q" * 1_000, f"{n}", like=True)
    assert 20_000 < store.path.stat().st_size <= 30_000
    assert store.undo(1)
