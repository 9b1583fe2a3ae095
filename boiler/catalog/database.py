"""The catalog's SQLite file: opening it, transactions, settings, and its revision number."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from boiler.catalog import schema
from boiler.errors import CatalogError


class CatalogDatabase:
    """An open catalog file. Only one process may have it open, under `boiler.files.lock_for_writing`, and only one
    thread may use it.

    Raises: CatalogError: not a catalog, damaged, or written by a newer version; as a context manager also when the
    disk is full or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._marked_changed = False  # in the current transaction
        try:
            self.db = schema.connect(path)
        except sqlite3.OperationalError as error:
            raise self._cannot_write(error) from error
        except sqlite3.DatabaseError as error:
            raise CatalogError(
                f"{path} is not a catalog, or is damaged ({error}): move it away, and boiler index makes a new one"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if isinstance(error, sqlite3.OperationalError):
            raise self._cannot_write(error) from error

    def _cannot_write(self, error: sqlite3.OperationalError) -> CatalogError:
        return CatalogError(
            f"{self.path} cannot be written ({error}): free some space or check the permissions, then run again. The"
            " index is unchanged, and the run continues where it stopped"
        )

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
        """The setting; None if it is not set."""
        row = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def put(self, **values: str) -> None:
        """Set all of these or none: in one statement, so that a kill cannot separate them."""
        marks = ", ".join(["(?, ?)"] * len(values))
        parameters = [word for pair in values.items() for word in pair]
        self.db.execute(f"INSERT OR REPLACE INTO meta VALUES {marks}", parameters)  # noqa: S608  # marks

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
