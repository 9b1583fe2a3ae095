"""Likes and dislikes of answers: `feedback.sqlite` at the top of a model directory, outside the generations.

A judgement says that an item is (or is not) a good answer to a question. It stays when the index is built anew, because
items are named by their id; it can be taken back; of several by the same person on the same answer the last one counts.
Nothing is ever overwritten, so what was thought when can be learned from later: `export` gives it as JSON lines.

>>> from pathlib import Path
>>> from tempfile import mkdtemp
>>> store = FeedbackStore(Path(mkdtemp()))
>>> first = store.add("item:rain/a.wav", "rain/b.wav", like=True)
>>> store.verdicts("item:rain/a.wav")
FeedbackSummary(likes=('rain/b.wav',), dislikes=())
>>> store.undo(first), store.verdicts("item:rain/a.wav").likes
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
MOST_TEXT = 2_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS judgements (
    j INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, who TEXT, question TEXT NOT NULL, item TEXT NOT NULL,
    likes INTEGER NOT NULL, generation TEXT NOT NULL, undone_at TEXT
);
CREATE INDEX IF NOT EXISTS judgements_question ON judgements (question);
"""
_STANDING = """
SELECT item, likes FROM judgements WHERE j IN (
    SELECT max(j) FROM judgements WHERE question = :question AND undone_at IS NULL AND (:user IS NULL OR who = :user)
    GROUP BY item, who
) ORDER BY j
"""


@dataclass(frozen=True)
class FeedbackSummary:
    """The ids of the items that are good answers, and of those that are not, in the order in which it was said. Where
    several people disagree, the more count; where as many say one as the other, neither."""

    likes: tuple[str, ...]
    dislikes: tuple[str, ...]


class FeedbackStore:
    """The judgements of one model directory. The file is made with the first one. Several processes may write: each
    judgement is a transaction of its own, waited for up to `BUSY_S`."""

    def __init__(self, model_dir: Path) -> None:
        self.path = model_dir / FILE
        self._lock = threading.Lock()

    @property
    def exists(self) -> bool:
        """Whether anything was ever judged."""
        return self.path.is_file()

    @renamed_arguments(who="user")
    def add(self, question: str, item: str, *, like: bool, user: str | None = None, generation: str = "") -> int:
        """Keep a judgement; its number, for `undo`.

        `question`: what was asked, as `steering.key_of` names it; `item`: the id of the answer; `user`: any name.

        Raises: QueryError: a name that is empty or too long. FeedbackError: it cannot be written.
        """
        for what, text in (("question", question), ("item", item), ("user", user)):
            if text is not None and not 0 < len(text) <= MOST_TEXT:
                raise QueryError(f"{what} is text of 1 to {MOST_TEXT:,} signs")
        row = (_now(), user, question, item, int(like), generation)
        sql = "INSERT INTO judgements (at, who, question, item, likes, generation) VALUES (?, ?, ?, ?, ?, ?)"
        return int(self._write(sql, row).lastrowid or 0)

    def undo(self, judgement: int) -> bool:
        """Take a judgement back; False when there is no such, or it was taken back before.

        Raises: FeedbackError: it cannot be written.
        """
        if not self.exists:
            return False
        sql = "UPDATE judgements SET undone_at = ? WHERE j = ? AND undone_at IS NULL"
        return self._write(sql, (_now(), judgement)).rowcount == 1

    @renamed_arguments(who="user")
    def verdicts(self, question: str, user: str | None = None) -> FeedbackSummary:
        """What stands about the answers to a question: of one person, or of all."""
        balance: dict[str, int] = {}
        for item, likes in self._read(_STANDING, {"question": question, "user": user}):
            balance[item] = balance.get(item, 0) + (1 if likes else -1)
        return FeedbackSummary(
            tuple(item for item, sign in balance.items() if sign > 0),
            tuple(item for item, sign in balance.items() if sign < 0),
        )

    def export(self) -> Iterator[str]:
        """Every judgement as a line of JSON, those taken back with the time of that."""
        names = ("judgement", "at", "who", "question", "item", "like", "generation", "undone_at")
        for row in self._read("SELECT * FROM judgements ORDER BY j", {}):
            record = dict(zip(names, row, strict=True))
            # "who" is the old name of "user", kept for one version.
            record |= {"user": record["who"], "like": bool(record["like"])}
            yield json.dumps(record, ensure_ascii=False)

    judge = RenamedAttribute("add")
    of = RenamedAttribute("verdicts")

    def _read(self, sql: str, values: dict[str, Any]) -> list[Any]:
        if not self.exists:
            return []
        try:
            with closing(self._connect()) as connection:
                return connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise FeedbackError(f"{self.path} cannot be read ({error}): move it away to begin anew") from error

    def _write(self, sql: str, values: tuple[Any, ...]) -> sqlite3.Cursor:
        try:
            with self._lock, closing(self._connect()) as connection, connection:
                connection.executescript(_SCHEMA)
                return connection.execute(sql, values)
        except sqlite3.Error as error:
            raise FeedbackError(f"the judgement could not be kept in {self.path} ({error})") from error

    def _connect(self) -> sqlite3.Connection:
        # No write-ahead log: it does not work on network disks, and there is little to write.
        return sqlite3.connect(self.path, timeout=BUSY_S)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
