"""Likes and dislikes of results in a file: `feedback.sqlite` at the top of a model directory, outside the generations.

`boiler.search.judgements` is the contract; `boiler.search.feedback_postgres` is for several hosts.

>>> from pathlib import Path
>>> from tempfile import mkdtemp
>>> store = FeedbackStore(Path(mkdtemp()))
>>> first = store.add("item:rain/a.wav", "rain/b.wav", like=True)
>>> store.summary("item:rain/a.wav")
FeedbackSummary(likes=('rain/b.wav',), dislikes=())
>>> store.undo(first), store.summary("item:rain/a.wav").likes
(True, ())
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

from boiler.errors import FeedbackError, SettingsError
from boiler.search.judgements import (
    BUSY_S,
    EXPORTED,
    MAX_BYTES,
    MAX_ROWS,
    FeedbackSummary,
    JudgementStore,
    NewJudgement,
)

__all__ = ["FeedbackStore", "FeedbackSummary", "JudgementStore", "open_feedback"]

FILE = "feedback.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS judgements (
    j INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, who TEXT, question TEXT NOT NULL, item TEXT NOT NULL,
    likes INTEGER NOT NULL, generation TEXT NOT NULL, undone_at TEXT, owner TEXT
);
CREATE INDEX IF NOT EXISTS judgements_question ON judgements (question);
"""
_LATEST = """
SELECT item, likes FROM judgements WHERE j IN (
    SELECT max(j) FROM judgements WHERE question = :query AND undone_at IS NULL AND (:user IS NULL OR who = :user)
    GROUP BY item, who
) ORDER BY j
"""


class FeedbackStore(JudgementStore):
    """The judgements of one model directory, in a file. The first one creates it. Several processes of one host may
    write: each judgement is a transaction, which waits for the others for up to `BUSY_S` seconds."""

    def __init__(self, model_dir: Path, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES) -> None:
        super().__init__(max_rows, max_bytes)
        self.path = model_dir / FILE
        self._lock = threading.Lock()

    @property
    def exists(self) -> bool:
        return self.path.is_file()

    def _insert(self, judgement: NewJudgement) -> int:
        # Numbers are not reused, so the largest is also how many there are: no need to count them.
        sql = (
            "INSERT INTO judgements (at, who, question, item, likes, generation, owner) SELECT ?, ?, ?, ?, ?, ?, ?"
            " WHERE (SELECT COALESCE(MAX(j), 0) FROM judgements) < ?"
        )
        written = self._write(sql, (*judgement, self.max_rows), self.max_bytes)
        if written.rowcount < 1:
            raise FeedbackError(f"{self.path} has {self.max_rows:,} judgements, and may not have more")
        return int(written.lastrowid or 0)

    def _undo(self, judgement: int, at: str, only_of: str | None, anyone: bool, owner: str | None) -> bool:
        if not self.exists:
            return False
        sql = "UPDATE judgements SET undone_at = ? WHERE j = ? AND undone_at IS NULL AND (? OR who IS ?)"
        values: tuple[Any, ...] = (at, judgement, anyone, only_of)
        if owner is not None:
            sql, values = f"{sql} AND owner = ?", (*values, owner)
        return self._write(sql, values).rowcount == 1

    def _latest(self, query: str, user: str | None) -> list[Any]:
        return self._read(_LATEST, {"query": query, "user": user})

    def _all(self) -> list[Any]:
        return self._read(f"SELECT {EXPORTED} FROM judgements ORDER BY j", {})  # noqa: S608  # our own names

    def _read(self, sql: str, values: dict[str, Any]) -> list[Any]:
        if not self.exists:
            return []
        try:
            with closing(self._connect()) as connection:
                return connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise FeedbackError(f"{self.path} cannot be read ({error}): move it away to start a new one") from error

    def _write(self, sql: str, values: tuple[Any, ...], max_bytes: int | None = None) -> sqlite3.Cursor:
        try:
            with self._lock, closing(self._connect()) as connection, connection:
                if max_bytes is not None:
                    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
                    connection.execute(f"PRAGMA max_page_count = {max(1, max_bytes // page_bytes)}")
                connection.executescript(_SCHEMA)
                if not connection.execute(
                    "SELECT 1 FROM pragma_table_info('judgements') WHERE name = 'owner'"
                ).fetchone():
                    connection.execute("ALTER TABLE judgements ADD COLUMN owner TEXT")  # a file of an earlier version
                return connection.execute(sql, values)
        except sqlite3.Error as error:
            if max_bytes is not None and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise FeedbackError(
                    f"{self.path} is full: it may have {max_bytes:,} bytes, or the disk is full"
                ) from error
            raise FeedbackError(f"the judgement could not be written to {self.path} ({error})") from error

    def _connect(self) -> sqlite3.Connection:
        # No write-ahead log: it does not work on network file systems, and there is little to write.
        return sqlite3.connect(self.path, timeout=BUSY_S)


def open_feedback(model_dir: Path, url: str | None = None) -> JudgementStore:
    """The judgements of a model directory: in its file, or in the PostgreSQL database of a `url` like
    `postgresql://user@host/name`. Nothing is connected yet.

    Raises: SettingsError: no such URL, or psycopg is not installed.
    """
    if not url:
        return FeedbackStore(model_dir)
    if not url.startswith(("postgresql://", "postgres://")):
        raise SettingsError("feedback is stored in PostgreSQL: give a URL like postgresql://user@host/name")
    try:
        from boiler.search.feedback_postgres import PostgresFeedbackStore
    except ImportError as error:
        raise SettingsError("feedback in PostgreSQL needs psycopg: pip install 'boiler[postgres]'") from error
    return PostgresFeedbackStore(url)
