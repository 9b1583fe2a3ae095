"""Likes and dislikes of results: `feedback.sqlite` at the top of a model directory, outside the generations.

A judgement says that an item is, or is not, a good result for a query. It names the item by its id, so it stays valid
when the index is rebuilt. It can be undone; if a user judges a result several times, the last judgement counts. Nothing
is overwritten or deleted: `export` returns the whole history as JSON lines.

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

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from boiler.deprecated import RenamedAttribute, renamed_arguments
from boiler.errors import FeedbackError, QueryError

FILE = "feedback.sqlite"
BUSY_S = 10.0
MAX_TEXT = 2_000

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


MAX_ROWS = 1_000_000
MAX_BYTES = 2**30  # of the file: texts of the largest size would need 16 times as much for that many rows


@dataclass(frozen=True)
class FeedbackSummary:
    """The ids of the liked and of the disliked results of a query, in the order of the judgements. If users disagree,
    the majority decides; a tie is neither."""

    likes: tuple[str, ...]
    dislikes: tuple[str, ...]


class FeedbackStore:
    """The judgements of one model directory. The first one creates the file. Several processes may write: each
    judgement is a transaction, which waits for the others for up to `BUSY_S` seconds."""

    def __init__(self, model_dir: Path, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES) -> None:
        """`max_rows`, `max_bytes`: how many judgements it may have, and how large the file may become: anyone who may
        give feedback could fill the disk."""
        self.path = model_dir / FILE
        self.max_rows = max_rows
        self.max_bytes = max_bytes
        self._lock = threading.Lock()

    @property
    def exists(self) -> bool:
        """Whether there is any judgement."""
        return self.path.is_file()

    @renamed_arguments(who="user", question="query")
    def add(
        self,
        query: str,
        item: str,
        *,
        like: bool,
        user: str | None = None,
        generation: str = "",
        owner: str | None = None,
    ) -> int:
        """Store a judgement and return its number, for `undo`.

        query: the key of the query, see `boiler.search.relevance_feedback.query_key`
        item: the id of the result; user: any name; owner: who may undo it (see `undo`), which nobody else can claim

        Raises: QueryError: a text that is empty or longer than `MAX_TEXT`. FeedbackError: the file cannot be written.
        """
        for what, text in (("query", query), ("item", item), ("user", user)):
            if text is not None and not 0 < len(text) <= MAX_TEXT:
                raise QueryError(f"{what} is a text of 1 to {MAX_TEXT:,} characters")
        row = (_now(), user, query, item, int(like), generation, owner, self.max_rows)
        # Numbers are not reused, so the largest is also how many there are: no need to count them.
        sql = (
            "INSERT INTO judgements (at, who, question, item, likes, generation, owner) SELECT ?, ?, ?, ?, ?, ?, ?"
            " WHERE (SELECT COALESCE(MAX(j), 0) FROM judgements) < ?"
        )
        written = self._write(sql, row, self.max_bytes)
        if written.rowcount < 1:
            raise FeedbackError(f"{self.path} has {self.max_rows:,} judgements, and may not have more")
        return int(written.lastrowid or 0)

    def undo(
        self, judgement: int, *, only_of: str | None = None, anyone: bool = True, owner: str | None = None
    ) -> bool:
        """Undo a judgement. Returns False if there is none with this number, or if it is undone already.

        anyone: whoever gave it; else it must be of the user `only_of`, None for judgements without a user
        owner: if given, it must have been stored with this `owner`

        Raises: FeedbackError: the file cannot be written.
        """
        if not self.exists:
            return False
        sql = "UPDATE judgements SET undone_at = ? WHERE j = ? AND undone_at IS NULL AND (? OR who IS ?)"
        values: tuple[Any, ...] = (_now(), judgement, anyone, only_of)
        if owner is not None:
            sql, values = f"{sql} AND owner = ?", (*values, owner)
        return self._write(sql, values).rowcount == 1

    @renamed_arguments(who="user", question="query")
    def summary(self, query: str, user: str | None = None) -> FeedbackSummary:
        """The likes and dislikes of the results of a query, of one user or of all."""
        balance: dict[str, int] = {}
        for item, likes in self._read(_LATEST, {"query": query, "user": user}):
            balance[item] = balance.get(item, 0) + (1 if likes else -1)
        return FeedbackSummary(
            tuple(item for item, sign in balance.items() if sign > 0),
            tuple(item for item, sign in balance.items() if sign < 0),
        )

    def export(self) -> Iterator[str]:
        """Every judgement as a line of JSON, oldest first; `undone_at` is the time it was undone, or null."""
        names = ("judgement", "at", "who", "question", "item", "like", "generation", "undone_at")
        columns = "j, at, who, question, item, likes, generation, undone_at"
        for row in self._read(f"SELECT {columns} FROM judgements ORDER BY j", {}):  # noqa: S608  # our own names
            record = dict(zip(names, row, strict=True))
            # "who" is the old name of "user", kept for one version.
            record |= {"user": record["who"], "like": bool(record["like"])}
            yield json.dumps(record, ensure_ascii=False)

    judge = RenamedAttribute("add")
    of = RenamedAttribute("summary")
    verdicts = RenamedAttribute("summary")

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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
