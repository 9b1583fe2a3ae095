"""Tags that people gave: `labels.sqlite` at the top of a model directory, outside the generations.

A label says that an item has a tag, or that it has not. It names the item by its id, so it stays valid when the index
is rebuilt; the latest counts. It is kept apart from the tags of a model, which it overrides. Nothing is overwritten:
`undo` returns to the label before.

>>> from tempfile import mkdtemp
>>> labels = HandLabels(Path(mkdtemp()))
>>> first = labels.add("a.wav", "dog", True)
>>> labels.of("a.wav"), labels.undo(first), labels.of("a.wav")
({'dog': True}, True, {})
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from boiler.errors import FeedbackError, QueryError

LABELS_FILE = "labels.sqlite"
BUSY_S = 10.0
MAX_TAG = 200
MAX_LABELS = 10_000_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS labels (
    l INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, item TEXT NOT NULL, tag TEXT NOT NULL, has INTEGER NOT NULL,
    undone_at TEXT, owner TEXT
);
CREATE INDEX IF NOT EXISTS labels_item ON labels (item, tag);
"""
_LATEST = "SELECT item, tag, has FROM labels WHERE l IN (SELECT MAX(l) FROM labels WHERE undone_at IS NULL {} GROUP BY"
_LATEST += " item, tag) ORDER BY item, tag"


class HandLabels:
    """The labels of one model directory. The first one creates the file. Several processes may write: each label is a
    transaction, which waits for the others for up to `BUSY_S` seconds."""

    def __init__(self, model_dir: Path, max_labels: int = MAX_LABELS) -> None:
        """`max_labels`: how many labels it may have: anyone who may label could fill the disk."""
        self.path = model_dir / LABELS_FILE
        self.max_labels = max_labels
        self._lock = threading.Lock()

    def add(self, item: str, tag: str, has: bool, owner: str | None = None) -> int:
        """Store that an item has a tag, or has not. Returns a number for `undo`, which `owner` may call.

        Raises: QueryError: the tag is empty or longer than `MAX_TAG`. FeedbackError: the file cannot be written.
        """
        if not 0 < len(tag.strip()) <= MAX_TAG or not tag.isprintable():
            raise QueryError(f"a tag is a text of 1 to {MAX_TAG} printable characters")
        # Numbers are not reused, so the largest is also how many there are.
        sql = (
            "INSERT INTO labels (at, item, tag, has, owner) SELECT ?, ?, ?, ?, ?"
            " WHERE (SELECT COALESCE(MAX(l), 0) FROM labels) < ?"
        )
        written = self._write(sql, (_now(), item, tag.strip(), int(has), owner, self.max_labels))
        if written.rowcount < 1:
            raise FeedbackError(f"{self.path} has {self.max_labels:,} labels, and may not have more")
        return int(written.lastrowid or 0)

    def undo(self, label: int, owner: str | None = None) -> bool:
        """Undo a label. Returns False if there is none with this number, or if it is undone already.

        owner: if given, it must have been stored with this `owner`

        Raises: FeedbackError: the file cannot be written.
        """
        if not self.path.is_file():
            return False
        sql = "UPDATE labels SET undone_at = ? WHERE l = ? AND undone_at IS NULL"
        values: tuple[Any, ...] = (_now(), label)
        if owner is not None:
            sql, values = f"{sql} AND owner = ?", (*values, owner)
        return self._write(sql, values).rowcount == 1

    def of(self, item: str) -> dict[str, bool]:
        """The tags that an item has, or has not."""
        return {tag: bool(has) for _, tag, has in self._read(_LATEST.format("AND item = ?"), (item,))}

    def all(self) -> dict[str, dict[str, bool]]:
        """The same of every item that has a label, by id."""
        found: dict[str, dict[str, bool]] = {}
        for item, tag, has in self._read(_LATEST.format(""), ()):
            found.setdefault(item, {})[tag] = bool(has)
        return found

    def revision(self) -> str:
        """Changes with every label that is added or undone; empty without any."""
        found = self._read("SELECT MAX(l), COUNT(undone_at), MAX(undone_at) FROM labels", ())
        return "" if not found or found[0][0] is None else "/".join(str(value) for value in found[0])

    def export(self) -> Iterator[tuple[str, str, bool]]:
        """The latest labels: (id, tag, whether it has it)."""
        for item, tags in self.all().items():
            for tag, has in tags.items():
                yield item, tag, has

    def _read(self, sql: str, values: tuple[Any, ...]) -> list[Any]:
        if not self.path.is_file():
            return []
        try:
            with closing(self._connect()) as connection:
                return connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise FeedbackError(f"{self.path} cannot be read ({error}): move it away to start a new one") from error

    def _write(self, sql: str, values: tuple[Any, ...]) -> sqlite3.Cursor:
        try:
            with self._lock, closing(self._connect()) as connection, connection:
                connection.executescript(_SCHEMA)
                return connection.execute(sql, values)
        except sqlite3.Error as error:
            raise FeedbackError(f"the label could not be written to {self.path} ({error})") from error

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=BUSY_S)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
