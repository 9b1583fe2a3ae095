"""Feedback is stored, counted per user, undone, and never lost, by each kind of store alike."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import PostgresServer

from boiler.errors import QueryError
from boiler.search.feedback import open_feedback
from boiler.search.judgements import FeedbackSummary, JudgementStore


@pytest.fixture(params=["file", "postgres"])
def url(request: pytest.FixtureRequest) -> str | None:
    """Where the judgements of a test are: None in a file, else a new database."""
    if request.param == "file":
        return None
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_database()


@pytest.fixture
def store(tmp_path: Path, url: str | None) -> Iterator[JudgementStore]:
    """An empty store of either kind."""
    store = open_feedback(tmp_path, url)
    yield store
    store.close()


def test_the_last_feedback_of_each_user_counts_and_the_majority_wins(store: JudgementStore) -> None:
    assert store.summary("q") == FeedbackSummary((), ())
    assert not store.undo(1)
    assert list(store.export()) == []
    assert not store.exists  # reading creates nothing
    store.add("q", "a", like=False, user="ann")
    store.add("q", "a", like=True, user="ann")
    assert store.summary("q") == FeedbackSummary(("a",), ())
    store.add("q", "a", like=False, user="bob")
    assert store.summary("q") == FeedbackSummary((), ())
    store.add("q", "a", like=False)  # somebody
    assert store.summary("q") == FeedbackSummary((), ("a",))
    assert store.summary("q", "ann") == FeedbackSummary(("a",), ())
    assert store.summary("other") == FeedbackSummary((), ())
    assert store.exists


def test_undoing_feedback_restores_the_previous_one(store: JudgementStore) -> None:
    store.add("q", "a", like=True, user="ann")
    second = store.add("q", "a", like=False, user="ann")
    assert store.undo(second)
    assert not store.undo(second)
    assert not store.undo(99)
    assert store.summary("q") == FeedbackSummary(("a",), ())


def test_the_whole_history_is_exported_as_json_lines(store: JudgementStore) -> None:
    store.add("q", 'a "name"\n', like=True, generation="000001-x")
    store.undo(store.add("q", "b", like=False, user="ann"))
    first, second = (json.loads(line) for line in store.export())
    assert (first["item"], first["like"], first["user"], first["undone_at"]) == ('a "name"\n', True, None, None)
    assert (second["user"], second["like"], second["undone_at"] is None) == ("ann", False, False)
    assert first["generation"] == "000001-x"
    assert first["at"] <= second["at"]


@pytest.mark.parametrize("names", [("", "a", None), ("q", "", None), ("q", "a", ""), ("q", "a" * 3_000, None)])
def test_empty_and_very_long_texts_are_refused(store: JudgementStore, names: tuple[str, str, str | None]) -> None:
    with pytest.raises(QueryError, match="characters"):
        store.add(names[0], names[1], like=True, user=names[2])


WRITER = """
import sys
from pathlib import Path
from boiler.errors import FeedbackError
from boiler.search.feedback import open_feedback

store = open_feedback(Path(sys.argv[1]), sys.argv[2])
store.max_rows = 30
for n in range(20):
    try:
        store.add("q", f"item{n}", like=True, user=sys.argv[3])
    except FeedbackError as error:
        assert "may not have more" in str(error), error
"""


def test_several_processes_can_write_at_once_up_to_the_bound(
    tmp_path: Path, url: str | None, store: JudgementStore
) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path), url or ""]
    writers = [subprocess.Popen([*command, user]) for user in ("ann", "bob")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert [json.loads(line)["judgement"] for line in store.export()] == list(range(1, 31))


def test_deprecated_names_still_work(store: JudgementStore) -> None:
    with pytest.deprecated_call(match="JudgementStore.add"), pytest.deprecated_call(match=r"add\(user=...\)"):
        store.judge("q", "a", like=True, who="ann")
    with pytest.deprecated_call(match="JudgementStore.summary"):
        assert store.of("q", "ann") == FeedbackSummary(("a",), ())
    (line,) = map(json.loads, store.export())
    assert line["who"] == line["user"] == "ann"


def test_a_judgement_is_undone_by_its_owner_alone(store: JudgementStore) -> None:
    of_one, of_nobody = (store.add("q", "a", like=True, user="ann", owner=owner) for owner in ("one", None))
    assert not store.undo(of_one, owner="other")
    assert not store.undo(of_nobody, owner="one")
    assert not store.undo(of_one, owner="one", only_of="bob", anyone=False)
    assert store.undo(of_one, owner="one")
    assert store.undo(of_nobody)
    without_user = store.add("q", "a", like=True)
    assert not store.undo(without_user, only_of="ann", anyone=False)
    assert store.undo(without_user, only_of=None, anyone=False)
