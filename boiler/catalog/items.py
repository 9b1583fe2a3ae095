"""What an index knows about its sounds: items, failures, and `meta.sqlite`, the file that readers of an index open.

`meta.sqlite` is written once, inside a generation, and never changed. ::

    items     n (the stable number), id (path below the corpus root, POSIX, NFC), url, label, folder, duration_s,
              sample_rate_hz, channels, format, size_bytes, mtime_s, sha256, silent, metadata (a JSON object);
              first_row and n_rows: its rows in vectors.npy; vec_row: its row in item_vectors.npy, NULL without rows
    failures  id, reason, sha256: the files that could not be read
    meta      key, value: what else was said at publication
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

SCHEMA = """
CREATE TABLE items (
    n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, url TEXT NOT NULL, label TEXT, folder TEXT NOT NULL,
    duration_s REAL NOT NULL, sample_rate_hz INTEGER NOT NULL, channels INTEGER NOT NULL, format TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, mtime_s REAL NOT NULL, sha256 TEXT NOT NULL, silent INTEGER NOT NULL,
    first_row INTEGER, n_rows INTEGER NOT NULL, vec_row INTEGER, metadata TEXT NOT NULL, file BLOB
);
CREATE TABLE failures (id TEXT NOT NULL, reason TEXT NOT NULL, sha256 TEXT NOT NULL);
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_INSERT_ITEM = "INSERT INTO items VALUES (" + "?, " * 17 + "?)"
# Made after the rows are in, which is quicker than keeping them up to date row by row.
INDICES = """
CREATE INDEX items_label ON items (label);
CREATE INDEX items_folder ON items (folder);
CREATE INDEX items_sha256 ON items (sha256);
"""


@dataclass(frozen=True)
class Item:
    """One sound of the collection. Only `n` and `id` are needed; what is not known stays empty."""

    n: int
    id: str
    url: str = ""
    label: str | None = None
    duration_s: float = 0.0
    sample_rate_hz: int = 0
    channels: int = 0
    format: str = ""
    size_bytes: int = 0
    mtime_s: float = 0.0
    sha256: str = ""
    silent: bool = False
    metadata: Mapping[str, object] = field(default_factory=dict)
    file: bytes | None = None

    def path(self, root: Path) -> Path:
        """Where the sound lies below the corpus root. The name on disk differs from the id where it is not NFC, or
        not UTF-8 at all.

        >>> Item(0, "drums/snare.wav").path(Path("sounds")).as_posix()
        'sounds/drums/snare.wav'
        """
        return root / (self.id if self.file is None else os.fsdecode(self.file))

    @property
    def folder(self) -> str:
        """The folder that holds it, below the corpus root; empty at the top.

        >>> Item(0, "drums/snare/one.wav").folder
        'drums/snare'
        """
        return folder_of(self.id)


@dataclass(frozen=True)
class Failure:
    """A file that gave no sound, and why. `sha256` is empty where not even its bytes could be read."""

    id: str
    reason: str
    sha256: str = ""


@dataclass(frozen=True)
class Placed:
    """An item and where its rows stand: `n_rows` of them from `first_row` on, and `vec_row` in item_vectors.npy."""

    item: Item
    first_row: int
    n_rows: int
    vec_row: int


def folder_of(id: str) -> str:
    """The folder part of an id; empty at the top."""
    parent = str(PurePosixPath(id).parent)
    return "" if parent == "." else parent


def write(path: Path, items: Iterable[Placed], failures: Iterable[Failure], meta: Mapping[str, str]) -> None:
    """Write a whole `meta.sqlite` at `path`, which must not exist. The items are taken one by one."""
    connection = sqlite3.connect(path)
    try:
        # The file is built aside and thrown away when anything fails: no journal needed, one fsync by the publisher.
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")
        connection.executescript(SCHEMA)
        with connection:
            connection.executemany(_INSERT_ITEM, map(_values, items))
            connection.executemany(
                "INSERT INTO failures VALUES (?, ?, ?)", ((one.id, one.reason, one.sha256) for one in failures)
            )
            connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        connection.executescript(INDICES)
    finally:
        connection.close()


def _values(placed: Placed) -> tuple[object, ...]:
    item = placed.item
    has_rows = placed.n_rows > 0
    return (
        item.n,
        item.id,
        item.url,
        item.label,
        item.folder,
        item.duration_s,
        item.sample_rate_hz,
        item.channels,
        item.format,
        item.size_bytes,
        item.mtime_s,
        item.sha256,
        int(item.silent),
        placed.first_row if has_rows else None,
        placed.n_rows,
        placed.vec_row if has_rows else None,
        json.dumps(dict(item.metadata), ensure_ascii=False, sort_keys=True),
        item.file,
    )


def connect(path: Path) -> sqlite3.Connection:
    """Open a published `meta.sqlite` for reading; rows come as `sqlite3.Row`. `immutable` spares SQLite its locks: a
    published file never changes."""
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    return connection


def item_of(row: sqlite3.Row) -> Item:
    """The `Item` in a row of `SELECT * FROM items`."""
    return Item(
        n=row["n"],
        id=row["id"],
        url=row["url"],
        label=row["label"],
        duration_s=row["duration_s"],
        sample_rate_hz=row["sample_rate_hz"],
        channels=row["channels"],
        format=row["format"],
        size_bytes=row["size_bytes"],
        mtime_s=row["mtime_s"],
        sha256=row["sha256"],
        silent=bool(row["silent"]),
        metadata=json.loads(row["metadata"]),
        file=row["file"],
    )


def items(connection: sqlite3.Connection) -> Iterator[Item]:
    """Every item, in the order of `n`."""
    for row in connection.execute("SELECT * FROM items ORDER BY n"):
        yield item_of(row)
