"""The catalog's SQLite file: opening it, transactions, settings, and its revision number."""

from __future__ import annotations

import os
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from boiler.catalog import schema
from boiler.errors import CatalogError, DamagedCatalogError

_NOT_DAMAGE = frozenset(
    {
        *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN),
        *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM),
    }
)
"""Primary result codes of SQLite that say nothing about the file's contents."""

_FROM_DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""Errors of opening and reading a damaged file; the second one if the text of SQLite's error message is damaged,
too."""


def repair_advice(model_dir: Path) -> str:
    """Advice for an error about a damaged catalog: the command that rebuilds it."""
    return f"boiler index {shlex.quote(str(model_dir))} --repair rebuilds it from the index, without embedding"


def _error(path: Path, error: Exception) -> CatalogError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in _NOT_DAMAGE and not (code == sqlite3.SQLITE_READONLY and os.access(path, os.W_OK)):
        return CatalogError(
            f"{path} cannot be read or written ({error}): free some space or check the permissions, then run again. The"
            " index is unchanged, and the run continues where it stopped"
        )
    return _damaged(path, str(error))


def _damaged(path: Path, why: str) -> DamagedCatalogError:
    return DamagedCatalogError(f"{path} is damaged, or is not a catalog ({why}): {repair_advice(path.parent)}")


def check_catalog(path: Path) -> None:
    """Check the catalog at `path` without changing it, also while an indexer writes to it.

    Raises: DamagedCatalogError. CatalogError: it cannot be read, or was written by a newer version.
    """
    try:
        with closing(schema.connect_read_only(path)) as db:
            db.execute("BEGIN")  # so that all checks see the same state
            _check(db, path)
    except _FROM_DAMAGE as error:
        raise _error(path, error) from error


def _check(db: sqlite3.Connection, path: Path) -> None:
    try:
        found = schema.find_damage(db)
    except _FROM_DAMAGE as error:
        raise _error(path, error) from error
    if found is not None:
        raise _damaged(path, found)


class CatalogDatabase:
    """An open catalog file. Only one process may have it open, under `boiler.files.lock_for_writing`, and only one
    thread may use it.

    Raises: DamagedCatalogError: damaged, or not a catalog. CatalogError: written by a newer version; as a context
    manager also when the disk is full or cannot be written.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._marked_changed = False  # in the current transaction
        try:
            self.db = schema.connect_read_only(path) if read_only else schema.connect(path)
            self._has_checksums = schema.has_checksums(self.db)
        except _FROM_DAMAGE as error:
            raise _error(path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if isinstance(error, sqlite3.DatabaseError):
            raise _error(self.path, error) from error

    def check(self) -> None:
        """Check the whole file: its structure, and the checksum of every row.

        Raises: DamagedCatalogError.
        """
        _check(self.db, self.path)

    def close(self) -> None:
        self.db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Context manager: all changes of the block are committed, or none of them."""
        self._marked_changed = False
        with schema.transaction(self.db):
            yield

    def commit(self) -> None:
        """Within `transaction`: commit the changes so far."""
        self.db.execute("COMMIT")
        self.db.execute("BEGIN IMMEDIATE")
        self._marked_changed = False

    # -------------------------------------------------------------------------------------------- settings

    def get(self, key: str) -> str | None:
        """The setting; None if it is not set. Raises: DamagedCatalogError."""
        is_same = "checksum IS row_checksum(key, value)" if self._has_checksums else "1"
        row = self.db.execute(f"SELECT value, {is_same} FROM meta WHERE key = ?", (key,)).fetchone()  # noqa: S608  # ours
        if row is not None and not row[1]:
            raise _damaged(self.path, f"the setting {key} has changed")
        return None if row is None else str(row[0])

    def put(self, **values: str) -> None:
        """Set all of these or none: in one statement, so that a kill cannot separate them."""
        marks = ", ".join(["(?, ?)"] * len(values))
        parameters = [word for pair in values.items() for word in pair]
        self.db.execute(f"INSERT OR REPLACE INTO meta (key, value) VALUES {marks}", parameters)  # noqa: S608  # marks

    def unset(self, *keys: str) -> None:
        """Remove all of these settings or none."""
        self.db.execute(f"DELETE FROM meta WHERE key IN ({', '.join('?' * len(keys))})", keys)  # noqa: S608  # marks

    @property
    def revision(self) -> int:
        """Increases with every change that a published index would show."""
        return int(self.get("revision") or 0)

    def mark_changed(self) -> None:
        """Increase `revision`, once per transaction."""
        if not (self._marked_changed and self.db.in_transaction):
            self.put(revision=str(self.revision + 1))
            self._marked_changed = True
