"""The tables of the catalog, and migrations from older versions.

`connect` returns a connection in WAL mode with the tables of `VERSION`. `boiler.catalog.catalog` describes them.
The view `heard` lists the files that were embedded completely, `pending` those that are not.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from boiler.errors import CatalogError

VERSION = 2
_BUSY_TIMEOUT_S = 5.0  # as SQLite waits for other locks

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files (
    n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, file BLOB,
    size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, sha256 TEXT,
    label TEXT, metadata TEXT NOT NULL DEFAULT '{}', problem TEXT, seen TEXT NOT NULL
);
CREATE INDEX files_sha256 ON files (sha256);
CREATE INDEX files_size ON files (size_bytes);
CREATE TABLE contents (
    c INTEGER PRIMARY KEY, sha256 TEXT UNIQUE, reason TEXT,
    duration_s REAL NOT NULL DEFAULT 0, sample_rate_hz INTEGER NOT NULL DEFAULT 0, channels INTEGER NOT NULL DEFAULT 0,
    format TEXT NOT NULL DEFAULT '',
    size_bytes INTEGER,
    n INTEGER UNIQUE,  -- the file whose bytes are not decoded to their end yet; then sha256 is NULL
    tries_left INTEGER NOT NULL DEFAULT 0  -- more than 0 where time or memory ran out
);
CREATE INDEX contents_size ON contents (size_bytes);
CREATE TABLE windows (
    c INTEGER NOT NULL, start_s REAL NOT NULL, end_s REAL NOT NULL, vector BLOB NOT NULL, PRIMARY KEY (c, start_s)
) WITHOUT ROWID;
CREATE VIEW heard AS
    SELECT files.n, id, label, duration_s, sample_rate_hz, channels, format, files.size_bytes, mtime_ns, files.sha256,
        metadata, file, c
    FROM files CROSS JOIN contents ON contents.sha256 = files.sha256 AND reason IS NULL;
CREATE TABLE runs (
    run INTEGER PRIMARY KEY, began TEXT NOT NULL, ended TEXT, outcome TEXT NOT NULL DEFAULT 'killed', report TEXT
);
"""
_PENDING = """
DROP VIEW IF EXISTS pending;
CREATE VIEW pending AS SELECT n, id, size_bytes, mtime_ns, file, sha256 FROM files
    WHERE NOT EXISTS (SELECT 1 FROM contents WHERE contents.sha256 = files.sha256 AND tries_left = 0);
"""

# Version 1 never tried again what ran out of time or memory: it gets another try.
_TO_VERSION_2 = """
ALTER TABLE contents ADD COLUMN tries_left INTEGER NOT NULL DEFAULT 0;
UPDATE contents SET tries_left = 1
    WHERE reason LIKE 'decoding it takes more %' OR reason LIKE 'its decoder was killed%';
"""
# Version of a file -> scripts that migrate it to the next one.
_MIGRATIONS = {1: (_TO_VERSION_2, _PENDING)}


def connect(path: Path) -> sqlite3.Connection:
    """Open the catalog at `path`, which is created if missing, and migrate it to `VERSION`.

    Raises: CatalogError: it was written by a newer boiler. sqlite3.Error: it cannot be opened or written.
    """
    db = sqlite3.connect(path, isolation_level=None)
    try:
        _set_wal_mode(db)
        # FULL: a committed transaction survives a power cut.
        db.execute("PRAGMA synchronous=FULL")
        if _version(db, path) != VERSION:
            with transaction(db):
                _migrate(db, path)
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Context manager: one transaction; all changes of the block are committed, or none of them."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _set_wal_mode(db: sqlite3.Connection) -> None:
    """Set WAL mode. Retries, because SQLite refuses one of two processes that open a new file at once."""
    until = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    # Read again under the lock: another process may have created or migrated the file meanwhile.
    version = _version(db, path)
    if version == 0:
        _run(db, _TABLES)
        _run(db, _PENDING)
        # Distinguishes revision 7 of this catalog from revision 7 of one that was deleted and created again.
        db.execute("INSERT INTO meta VALUES ('birth', ?)", (uuid.uuid4().hex,))
        version = VERSION
    for step in range(version, VERSION):
        for script in _MIGRATIONS[step]:
            _run(db, script)
    db.execute(f"PRAGMA user_version = {VERSION}")


def _version(db: sqlite3.Connection, path: Path) -> int:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise CatalogError(f"{path} was written by a newer boiler (its version is {version}): update boiler")
    return version


def _run(db: sqlite3.Connection, script: str) -> None:
    """Run the statements within the current transaction, which `executescript` would commit first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            db.execute(statement)
            statement = ""
