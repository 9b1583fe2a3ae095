"""Items are read from meta.sqlite as they were written."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from boiler.catalog import items
from boiler.catalog.items import Item, PlacedItem

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
