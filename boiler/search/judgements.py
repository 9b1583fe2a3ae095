"""Likes and dislikes of results, outside the generations: what every store of them provides.

A judgement says that an item is, or is not, a good result for a query. It names the item by its id, so it stays valid
when the index is rebuilt. It can be undone; if a user judges a result several times, the last judgement counts. Nothing
is overwritten or deleted: `export` returns the whole history as JSON lines.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from boiler.deprecated import RenamedAttribute, renamed_arguments
from boiler.errors import QueryError

BUSY_S = 10.0
"""A store waits for as long as this for other writers."""
MAX_TEXT = 2_000
MAX_ROWS = 1_000_000
MAX_BYTES = 2**30  # texts of the largest size would need 16 times as much for that many rows
EXPORTED = "j, at, who, question, item, likes, generation, undone_at"
"""The columns that are exported."""


@dataclass(frozen=True)
class FeedbackSummary:
    """The ids of the liked and of the disliked results of a query, in the order of the judgements. If users disagree,
    the majority decides; a tie is neither."""

    likes: tuple[str, ...]
    dislikes: tuple[str, ...]


class NewJudgement(NamedTuple):
    """A judgement to be stored, in the order of the columns of its table. `user` is named `who` there, `query`
    `question`: names of the first version."""

    at: str
    user: str | None
    query: str
    item: str
    likes: int
    generation: str
    owner: str | None


class JudgementStore(ABC):
    """The judgements of one collection, wherever they are stored. Several processes may write."""

    def __init__(self, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES) -> None:
        """`max_rows`, `max_bytes`: how many judgements it may have, and how large it may become: anyone who may give
        feedback could fill the disk."""
        self.max_rows = max_rows
        self.max_bytes = max_bytes

    @property
    @abstractmethod
    def exists(self) -> bool:
        """Whether there is any judgement.

        Raises: FeedbackError: it cannot be read.
        """

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

        Raises: QueryError: a text that is empty or longer than `MAX_TEXT`. FeedbackError: it cannot be written.
        """
        for what, text in (("query", query), ("item", item), ("user", user)):
            if text is not None and not 0 < len(text) <= MAX_TEXT:
                raise QueryError(f"{what} is a text of 1 to {MAX_TEXT:,} characters")
        return self._insert(NewJudgement(_now(), user, query, item, int(like), generation, owner))

    def undo(
        self, judgement: int, *, only_of: str | None = None, anyone: bool = True, owner: str | None = None
    ) -> bool:
        """Undo a judgement. Returns False if there is none with this number, or if it is undone already.

        anyone: whoever gave it; else it must be of the user `only_of`, None for judgements without a user
        owner: if given, it must have been stored with this `owner`

        Raises: FeedbackError: it cannot be written.
        """
        return self._undo(judgement, _now(), only_of, anyone, owner)

    @renamed_arguments(who="user", question="query")
    def summary(self, query: str, user: str | None = None) -> FeedbackSummary:
        """The likes and dislikes of the results of a query, of one user or of all.

        Raises: FeedbackError: it cannot be read.
        """
        balance: dict[str, int] = {}
        for item, likes in self._latest(query, user):
            balance[item] = balance.get(item, 0) + (1 if likes else -1)
        return FeedbackSummary(
            tuple(item for item, sign in balance.items() if sign > 0),
            tuple(item for item, sign in balance.items() if sign < 0),
        )

    def export(self) -> Iterator[str]:
        """Every judgement as a line of JSON, oldest first; `undone_at` is the time it was undone, or null.

        Raises: FeedbackError: it cannot be read.
        """
        names = ("judgement", "at", "who", "question", "item", "like", "generation", "undone_at")
        for row in self._all():
            record = dict(zip(names, row, strict=True))
            # "who" is the old name of "user", kept for one version.
            record |= {"user": record["who"], "like": bool(record["like"])}
            yield json.dumps(record, ensure_ascii=False)

    def close(self) -> None:  # noqa: B027  # a file is open only while it is read or written
        """Close connections. They are opened again when needed."""

    @abstractmethod
    def _insert(self, judgement: NewJudgement) -> int:
        """Store it unless there are `max_rows` or `max_bytes` already, and return its number."""

    @abstractmethod
    def _undo(self, judgement: int, at: str, only_of: str | None, anyone: bool, owner: str | None) -> bool:
        """As `undo`, at a time."""

    @abstractmethod
    def _latest(self, query: str, user: str | None) -> list[Any]:
        """Item and whether it is liked: the last judgement of each user on each result of a query that is not undone,
        in the order of their numbers."""

    @abstractmethod
    def _all(self) -> list[Any]:
        """`EXPORTED` of all judgements, by number."""

    judge = RenamedAttribute("add")
    of = RenamedAttribute("summary")
    verdicts = RenamedAttribute("summary")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
