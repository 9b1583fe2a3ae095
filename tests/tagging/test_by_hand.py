"""Tags by hand: the latest counts, undo returns to the one before, and several writers lose nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from boiler.errors import FeedbackError, QueryError
from boiler.tagging.by_hand import HandLabels


def test_the_latest_label_counts_until_it_is_undone(tmp_path: Path) -> None:
    labels = HandLabels(tmp_path)
    assert (labels.of("a"), labels.all(), labels.revision(), list(labels.export())) == ({}, {}, "", [])
    labels.add("a", "dog", True)
    second = labels.add("a", " dog ", False)
    labels.add("b", "cat", True)
    assert labels.of("a") == {"dog": False}
    assert labels.all() == {"a": {"dog": False}, "b": {"cat": True}}
    assert list(labels.export()) == [("a", "dog", False), ("b", "cat", True)]
    assert [labels.undo(second), labels.undo(second), labels.undo(99)] == [True, False, False]
    assert HandLabels(tmp_path).of("a") == {"dog": True}


def test_every_change_changes_the_revision(tmp_path: Path) -> None:
    labels = HandLabels(tmp_path)
    seen = {labels.revision()}
    first = labels.add("a", "dog", True)
    seen.add(labels.revision())
    second = labels.add("a", "dog", True)
    seen.add(labels.revision())
    labels.undo(first)
    seen.add(labels.revision())
    labels.undo(second)
    seen.add(labels.revision())
    assert len(seen) == 5


def test_undoing_creates_no_file(tmp_path: Path) -> None:
    assert not HandLabels(tmp_path).undo(1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tag", ["", "  ", "a\nb", "x" * 201])
def test_a_tag_that_is_no_name_is_refused(tmp_path: Path, tag: str) -> None:
    with pytest.raises(QueryError, match="printable"):
        HandLabels(tmp_path).add("a", tag, True)


def test_several_writers_lose_nothing(tmp_path: Path) -> None:
    def write(n: int) -> int:
        return HandLabels(tmp_path).add(f"{n}", "dog", True)

    with ThreadPoolExecutor(4) as threads:
        numbers = list(threads.map(write, range(20)))
    assert len({*numbers}) == len(HandLabels(tmp_path).all()) == 20


def test_the_number_of_labels_is_bounded(tmp_path: Path) -> None:
    labels = HandLabels(tmp_path, max_labels=2)
    labels.undo(labels.add("a", "dog", True))
    labels.add("a", "dog", True)
    with pytest.raises(FeedbackError, match="may not have more"):
        labels.add("a", "dog", True)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "labels.sqlite").write_bytes(b"nothing" * 1000)
    for call in (lambda: HandLabels(tmp_path).of("a"), lambda: HandLabels(tmp_path).add("a", "b", True)):
        with pytest.raises(FeedbackError, match=r"labels\.sqlite"):
            call()
