"""Items are read from meta.sqlite as they were written."""

from __future__ import annotations

import csv
import io
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from boiler.catalog import items
from boiler.catalog.items import Failure, Item, ItemDatabase, PlacedItem
from boiler.search import export

ITEM = Item(
    n=7,
    id="caf\u00e9/a b.ogg",
    url="https://x/7",
    label="caf\u00e9",
    duration_s=1.5,
    sample_rate_hz=44_100,
    channels=2,
    format="ogg",
    size_bytes=123,
    mtime_s=1e9,
    sha256="ab",
    silent=False,
    warning="it ends 3.2 s before the end that it states",
    metadata={"bpm": 120, "mood": "calm"},
    file="cafe\u0301/a b.ogg".encode(),
)


def test_an_item_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "with # and ?" / "meta.sqlite"
    path.parent.mkdir()
    items.write_database(path, [PlacedItem(ITEM, 3, 2, 1)], [], {})
    connection = items.connect(path)
    assert list(items.ItemDatabase(connection).items()) == [ITEM]
    connection.close()


def test_a_published_file_cannot_be_written(tmp_path: Path) -> None:
    items.write_database(tmp_path / "meta.sqlite", [], [], {"a": "b"})
    connection = items.connect(tmp_path / "meta.sqlite")
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM meta")
    connection.close()
    assert os.listdir(tmp_path) == ["meta.sqlite"]  # noqa: PTH208  # no journal beside it


def test_the_path_of_an_item_is_its_name_on_disk() -> None:
    assert ITEM.path(Path("root")) == Path("root/cafe\u0301/a b.ogg")
    assert Item(0, "x\\xe9.wav", file=b"x\xe9.wav").path(Path("root")) == Path(os.fsdecode(b"root/x\xe9.wav"))
    assert Item(0, "a/b.wav").path(Path("root")) == Path("root/a/b.wav")


def test_the_folder_is_the_path_without_the_name() -> None:
    assert (items.folder_of("a/b/c.wav"), items.folder_of("c.wav")) == ("a/b", "")


def placed(*ids: str, **values: Any) -> Iterator[PlacedItem]:
    """Items with these ids, numbered from 1 on, with two rows each."""
    for at, id in enumerate(ids):
        yield PlacedItem(Item(at + 1, id, **values), 2 * at, 2, at)


def test_failures_are_listed_by_id_a_page_at_a_time(tmp_path: Path) -> None:
    failures = [Failure(f"{name}.wav", "is empty", name) for name in "cab"]
    items.write_database(tmp_path / "meta.sqlite", [], failures, {})
    with ItemDatabase.open(tmp_path / "meta.sqlite") as database:
        assert [one.sha256 for one in database.failures()] == ["a", "b", "c"]
        assert [one.sha256 for one in database.failures(2)] == ["a", "b"]
        assert [one.sha256 for one in database.failures(2, 2)] == ["c"]
        assert [one.sha256 for one in database.failures(offset=1)] == ["b", "c"]


def test_a_page_has_the_items_that_meet_every_condition(tmp_path: Path) -> None:
    items.write_database(tmp_path / "meta.sqlite", placed("in/a.wav", "b.wav", "in/c.wav", "in/d.ogg"), [], {})
    with ItemDatabase.open(tmp_path / "meta.sqlite") as database:
        assert [one.n for one in database.page(offset=0, limit=3)] == [1, 2, 3]
        assert [one.n for one in database.page(offset=3, limit=3)] == [4]
        after_first = ("n > ?", [1])
        assert [one.n for one in database.page(offset=0, limit=9, condition=after_first)] == [2, 3, 4]
        assert [one.n for one in database.page(offset=0, limit=9, folder="in", condition=after_first)] == [3, 4]
        assert [one.n for one in database.page(offset=0, limit=9, text=".WAV", condition=after_first)] == [2, 3]


def test_items_are_looked_up_by_any_number_of_numbers(tmp_path: Path) -> None:
    ids = [f"{n}.wav" for n in range(1, 1_203)]
    items.write_database(tmp_path / "meta.sqlite", placed(*ids, label="dog"), [], {})
    with ItemDatabase.open(tmp_path / "meta.sqlite") as database:
        numbers = list(range(1, 1_203))
        assert database.names(numbers) == {n: (f"{n}.wav", "", "dog") for n in numbers}
        assert database.values("n * ?", [2], numbers) == {n: 2 * n for n in numbers}
        assert [one.n for one in database.items()] == numbers
        assert database.row_spans("n IN (?, ?)", [3, 1_000]).tolist() == [[4, 2], [1_998, 2]]
        assert database.row_spans("n > ?", [9_999]).shape == (0, 2)


def test_a_filter_compares_no_field_that_is_stored_as_json() -> None:
    stored_as_json = {one.name for one in items.FIELDS if isinstance(one.example, dict)}
    assert stored_as_json == {"metadata", "tags", "tags_by_hand"}
    assert stored_as_json.isdisjoint(items.FILTERABLE)


def test_an_exported_table_says_what_a_sound_is_and_where() -> None:
    (row,) = csv.DictReader(io.StringIO(export.items_csv([ITEM])))
    assert row == {
        "n": "7",
        "id": "caf\u00e9/a b.ogg",
        "url": "https://x/7",
        "label": "caf\u00e9",
        "folder": "caf\u00e9",
        "duration_s": "1.5",
        "sample_rate_hz": "44100",
        "channels": "2",
        "format": "ogg",
        "sha256": "ab",
    }
