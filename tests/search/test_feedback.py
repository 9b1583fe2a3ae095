"""Feedback is stored, counted per user, undone, and never lost."""

from __future__ import annotations

import contextlib
import doctest
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from boiler.errors import FeedbackError, QueryError
from boiler.search import feedback
from boiler.search.feedback import FeedbackStore, FeedbackSummary


def test_the_last_feedback_of_each_user_counts_and_the_majority_wins(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path)
    assert store.summary("q") == FeedbackSummary((), ())
    assert not (tmp_path / feedback.FILE).exists()  # reading creates no file
    store.add("q", "a", like=False, user="ann")
    store.add("q", "a", like=True, user="ann")
    assert store.summary("q") == FeedbackSummary(("a",), ())
    store.add("q", "a", like=False, user="bob")
    assert store.summary("q") == FeedbackSummary((), ())
    store.add("q", "a", like=False)  # somebody
    assert store.summary("q") == FeedbackSummary((), ("a",))
    assert store.summary("q", "ann") == FeedbackSummary(("a",), ())
    assert store.summary("other") == FeedbackSummary((), ())


def test_undoing_feedback_restores_the_previous_one(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path)
    store.add("q", "a", like=True, user="ann")
    second = store.add("q", "a", like=False, user="ann")
    assert store.undo(second)
    assert not store.undo(second)
    assert not store.undo(99)
    assert not FeedbackStore(tmp_path / "nothing").undo(1)
    assert store.summary("q") == FeedbackSummary(("a",), ())


def test_the_whole_history_is_exported_as_json_lines(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path)
    store.add("q", 'a "name"\n', like=True, generation="000001-x")
    store.undo(store.add("q", "b", like=False, user="ann"))
    first, second = (json.loads(line) for line in store.export())
    assert (first["item"], first["like"], first["user"], first["undone_at"]) == ('a "name"\n', True, None, None)
    assert (second["user"], second["like"], second["undone_at"] is None) == ("ann", False, False)
    assert first["generation"] == "000001-x"
    assert first["at"] <= second["at"]


@pytest.mark.parametrize("names", [("", "a", None), ("q", "", None), ("q", "a", ""), ("q", "a" * 3_000, None)])
def test_empty_and_very_long_texts_are_refused(tmp_path: Path, names: tuple[str, str, str | None]) -> None:
    with pytest.raises(QueryError, match="characters"):
        FeedbackStore(tmp_path).add(names[0], names[1], like=True, user=names[2])


def test_a_damaged_file_is_reported_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / feedback.FILE).write_bytes(b"this is no database, and longer than a header of one" * 10)
    with pytest.raises(QueryError, match="move it away"):
        FeedbackStore(tmp_path).summary("q")
    with pytest.raises(QueryError, match="could not be written"):
        FeedbackStore(tmp_path).add("q", "a", like=True)


WRITER = """
import sys
from pathlib import Path
from boiler.search.feedback import FeedbackStore

store = FeedbackStore(Path(sys.argv[1]))
for n in range(20):
    store.add("q", f"item{n}", like=True, user=sys.argv[2])
"""


def test_several_processes_can_write_at_once(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), user]) for user in ("ann", "bob")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert len(list(FeedbackStore(tmp_path).export())) == 40


def test_the_example_runs() -> None:
    assert doctest.testmod(feedback).failed == 0


def test_deprecated_names_still_work(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path)
    with pytest.deprecated_call(match="FeedbackStore.add"), pytest.deprecated_call(match=r"add\(user=...\)"):
        store.judge("q", "a", like=True, who="ann")
    with pytest.deprecated_call(match="FeedbackStore.summary"):
        assert store.of("q", "ann") == FeedbackSummary(("a",), ())
    (line,) = map(json.loads, store.export())
    assert line["who"] == line["user"] == "ann"


def test_a_judgement_is_undone_by_its_owner_alone(tmp_path: Path) -> None:
    store = FeedbackStore(tmp_path)
    of_one, of_nobody = (store.add("q", "a", like=True, user="ann", owner=owner) for owner in ("one", None))
    assert not store.undo(of_one, owner="other")
    assert not store.undo(of_nobody, owner="one")
    assert not store.undo(of_one, owner="one", only_of="bob", anyone=False)
    assert store.undo(of_one, owner="one")
    assert store.undo(of_nobody)


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
