"""Judgements are kept, counted by person, taken back, and never lost."""

from __future__ import annotations

import doctest
import json
import multiprocessing
from pathlib import Path

import pytest

from boiler.errors import QueryError
from boiler.search import feedback
from boiler.search.feedback import Feedback, Verdicts


def test_the_last_word_of_each_person_counts_and_the_more_decide(tmp_path: Path) -> None:
    store = Feedback(tmp_path)
    assert store.of("q") == Verdicts((), ())
    assert not (tmp_path / feedback.FILE).exists()  # asking makes no file
    store.judge("q", "a", like=False, who="ann")
    store.judge("q", "a", like=True, who="ann")
    assert store.of("q") == Verdicts(("a",), ())
    store.judge("q", "a", like=False, who="bob")
    assert store.of("q") == Verdicts((), ())
    store.judge("q", "a", like=False)  # somebody
    assert store.of("q") == Verdicts((), ("a",))
    assert store.of("q", "ann") == Verdicts(("a",), ())
    assert store.of("other") == Verdicts((), ())


def test_what_is_taken_back_uncovers_what_stood_before(tmp_path: Path) -> None:
    store = Feedback(tmp_path)
    store.judge("q", "a", like=True, who="ann")
    second = store.judge("q", "a", like=False, who="ann")
    assert store.undo(second)
    assert not store.undo(second)
    assert not store.undo(99)
    assert not Feedback(tmp_path / "nothing").undo(1)
    assert store.of("q") == Verdicts(("a",), ())


def test_all_of_it_leaves_as_json_lines(tmp_path: Path) -> None:
    store = Feedback(tmp_path)
    store.judge("q", 'a "name"\n', like=True, generation="000001-x")
    store.undo(store.judge("q", "b", like=False, who="ann"))
    first, second = (json.loads(line) for line in store.export())
    assert (first["item"], first["like"], first["who"], first["undone_at"]) == ('a "name"\n', True, None, None)
    assert (second["who"], second["like"], second["undone_at"] is None) == ("ann", False, False)
    assert first["generation"] == "000001-x"
    assert first["at"] <= second["at"]


@pytest.mark.parametrize("names", [("", "a", None), ("q", "", None), ("q", "a", ""), ("q", "a" * 3_000, None)])
def test_names_are_neither_empty_nor_endless(tmp_path: Path, names: tuple[str, str, str | None]) -> None:
    with pytest.raises(QueryError, match="signs"):
        Feedback(tmp_path).judge(names[0], names[1], like=True, who=names[2])


def test_a_damaged_file_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / feedback.FILE).write_bytes(b"this is no database, and longer than a header of one" * 10)
    with pytest.raises(QueryError, match="move it away"):
        Feedback(tmp_path).of("q")
    with pytest.raises(QueryError, match="could not be kept"):
        Feedback(tmp_path).judge("q", "a", like=True)


def write_many(folder: Path, who: str) -> None:
    store = Feedback(folder)
    for n in range(20):
        store.judge("q", f"item{n}", like=True, who=who)


def test_several_processes_write_at_a_time(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=write_many, args=(tmp_path, name)) for name in ("ann", "bob")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len(list(Feedback(tmp_path).export())) == 40


def test_the_example_runs() -> None:
    assert doctest.testmod(feedback).failed == 0
