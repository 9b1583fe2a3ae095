"""Likes and dislikes in PostgreSQL, where several hosts serve one collection: SQLite files do not stand several hosts
that write over a network file system.

The database of the URL holds the judgements of one collection, in the table `judgements`; for several collections in
one database give each a schema: `postgresql://user@host/name?options=-csearch_path%3Dloops`. The first judgement
creates the table, which needs the right to; reading needs SELECT, writing INSERT and UPDATE as well. A password belongs
into `~/.pgpass` or `PGPASSWORD`, or into the URL if nobody else can read the process's environment.

What differs from the file: numbers of judgements are counted under a lock of the table, which readers do not wait for;
a text may not contain NUL characters, which PostgreSQL cannot store.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import conninfo, errors

from boiler.errors import FeedbackError, QueryError, SettingsError
from boiler.search.judgements import BUSY_S, EXPORTED, MAX_BYTES, MAX_ROWS, JudgementStore, NewJudgement

GROWTH_BYTES = 2**18
"""More than one judgement of the longest texts adds: `max_bytes` is compared before it is written."""

# An index of the text itself could not hold the longest ones: an entry has a third of a page of 8 KiB.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS judgements (
    j BIGINT PRIMARY KEY, at TEXT NOT NULL, who TEXT, question TEXT NOT NULL, item TEXT NOT NULL,
    likes INTEGER NOT NULL, generation TEXT NOT NULL, undone_at TEXT, owner TEXT
);
CREATE INDEX IF NOT EXISTS judgements_question ON judgements (md5(question));
"""
_SCHEMA_LOCK = 0x626F696C  # "boil": of two hosts that create the table at once, one would get an error
_INSERT = """
INSERT INTO judgements (j, at, who, question, item, likes, generation, owner)
SELECT count.n + 1, %s, %s, %s, %s, %s, %s, %s FROM (SELECT COALESCE(max(j), 0) AS n FROM judgements) AS count
WHERE count.n < %s RETURNING j
"""
_UNDO = """
UPDATE judgements SET undone_at = %s WHERE j = %s AND undone_at IS NULL
AND (%s OR who IS NOT DISTINCT FROM %s) AND (%s::text IS NULL OR owner = %s)
"""
_LATEST = """
SELECT item, likes FROM judgements WHERE j IN (
    SELECT max(j) FROM judgements WHERE md5(question) = md5(%(query)s) AND question = %(query)s AND undone_at IS NULL
    AND (%(user)s::text IS NULL OR who = %(user)s) GROUP BY item, who
) ORDER BY j
"""


class PostgresFeedbackStore(JudgementStore):
    """The judgements in the database of a URL. It is connected when first used, and again after the server restarted.
    One connection a process, used by one thread at a time: judgements are few, and each takes a millisecond."""

    def __init__(self, url: str, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES) -> None:
        """Raises: SettingsError: not a URL of PostgreSQL."""
        super().__init__(max_rows, max_bytes)
        try:
            parameters = conninfo.conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            # Without the reason, which may quote the password.
            raise SettingsError(
                "the URL of the feedback is not one of PostgreSQL: postgresql://user@host/name"
            ) from None
        self.name = f"PostgreSQL, {parameters.get('dbname') or 'default database'}"
        """Where the judgements are, without the password."""
        if host := parameters.get("host"):
            self.name += f" at {host}"
        busy_ms = round(1_000 * BUSY_S)
        self._parameters: dict[str, Any] = {
            "connect_timeout": round(BUSY_S),
            "tcp_user_timeout": busy_ms,  # a host that vanished without a word
            "application_name": "boiler",
        } | parameters
        given = parameters.get("options") or ""
        self._parameters["options"] = f"-clock_timeout={busy_ms} -cstatement_timeout={6 * busy_ms} {given}"
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None

    @property
    def exists(self) -> bool:
        return bool(self._read("SELECT 1 FROM judgements LIMIT 1"))

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _insert(self, judgement: NewJudgement) -> int:
        with self._transaction("written to") as connection:
            if _column(connection, "SELECT to_regclass('judgements') IS NULL"):
                connection.execute("SELECT pg_advisory_xact_lock(%s)", [_SCHEMA_LOCK])
                connection.execute(_SCHEMA)
            # Before the query that counts, as each sees what was committed when it began.
            connection.execute("LOCK TABLE judgements IN SHARE ROW EXCLUSIVE MODE")
            if _column(connection, "SELECT pg_total_relation_size('judgements')") > self.max_bytes - GROWTH_BYTES:
                raise FeedbackError(f"the feedback in {self.name} is full: it may have {self.max_bytes:,} bytes")
            row = connection.execute(_INSERT, (*judgement, self.max_rows)).fetchone()
        if row is None:
            raise FeedbackError(f"{self.name} has {self.max_rows:,} judgements, and may not have more")
        return int(row[0])

    def _undo(self, judgement: int, at: str, only_of: str | None, anyone: bool, owner: str | None) -> bool:
        try:
            with self._transaction("written to") as connection:
                return connection.execute(_UNDO, (at, judgement, anyone, only_of, owner, owner)).rowcount == 1
        except _NoTableError:
            return False

    def _latest(self, query: str, user: str | None) -> list[Any]:
        return self._read(_LATEST, {"query": query, "user": user})

    def _all(self) -> list[Any]:
        return self._read(f"SELECT {EXPORTED} FROM judgements ORDER BY j")  # noqa: S608  # our own names

    def _read(self, sql: LiteralString, values: dict[str, Any] | None = None) -> list[Any]:
        try:
            with self._transaction("read from") as connection:
                return connection.execute(sql, values).fetchall()
        except _NoTableError:
            return []

    @contextmanager
    def _transaction(self, what: str) -> Iterator[psycopg.Connection[Any]]:
        with self._lock:
            try:
                connection = self._connected()
                with connection.transaction():
                    yield connection
            except errors.UndefinedTable as error:
                raise _NoTableError from error
            except (psycopg.DataError, UnicodeEncodeError) as error:
                raise QueryError(f"PostgreSQL cannot store these texts ({error})") from error
            except psycopg.Error as error:
                raise FeedbackError(f"feedback cannot be {what} {self.name} ({str(error).strip()})") from error

    def _connected(self) -> psycopg.Connection[Any]:
        """The connection, or a new one if the server closed it. It is tried before each use, since what was sent over
        a broken connection may have been stored, and would be stored twice if it were sent again."""
        if self._connection is not None:
            try:
                self._connection.execute("SELECT 1")
                return self._connection
            except psycopg.OperationalError:
                self._connection.close()
        self._connection = psycopg.connect(**self._parameters, autocommit=True)
        # Whatever the default of the database: the count must see what others stored while this waited for the lock.
        self._connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        return self._connection


class _NoTableError(Exception):
    """There is no judgement yet."""


def _column(connection: psycopg.Connection[Any], sql: LiteralString) -> Any:
    row = connection.execute(sql).fetchone()
    assert row is not None
    return row[0]
