"""The tables of the catalog, and migrations from older versions.

`connect` returns a connection in WAL mode with the tables of `VERSION`. `boiler.catalog.catalog` describes them.
The view `heard` lists the files that were embedded completely, `pending` those that are not.

SQLite does not notice a flipped bit inside a value, so every row that matters carries a checksum of its values, kept by
triggers that exist in connections made here, and `meta` one of the schema itself. `find_damage` compares them.
"""

from __future__ import annotations

import os
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import xxhash

from boiler.errors import CatalogError

VERSION = 4
_BUSY_TIMEOUT_S = 5.0  # as SQLite waits for other locks

_TABLES = """
CREATE TABLE meta (
    key TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE files (
    n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, file BLOB,
    size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, sha256 TEXT,
    label TEXT, metadata TEXT NOT NULL DEFAULT '{}', problem TEXT, seen TEXT NOT NULL,
    checksum INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX files_sha256 ON files (sha256);
CREATE INDEX files_size ON files (size_bytes);
CREATE TABLE contents (
    c INTEGER PRIMARY KEY, sha256 TEXT UNIQUE, reason TEXT,
    duration_s REAL NOT NULL DEFAULT 0, sample_rate_hz INTEGER NOT NULL DEFAULT 0, channels INTEGER NOT NULL DEFAULT 0,
    format TEXT NOT NULL DEFAULT '',
    size_bytes INTEGER,
    n INTEGER UNIQUE,  -- the file whose bytes are not decoded to their end yet; then sha256 is NULL
    tries_left INTEGER NOT NULL DEFAULT 0,  -- more than 0 where time or memory ran out
    checksum INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX contents_size ON contents (size_bytes);
CREATE TABLE windows (
    c INTEGER NOT NULL, start_s REAL NOT NULL, end_s REAL NOT NULL, vector BLOB NOT NULL,
    checksum INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (c, start_s)
) WITHOUT ROWID;
CREATE TABLE runs (
    run INTEGER PRIMARY KEY, began TEXT NOT NULL, ended TEXT, outcome TEXT NOT NULL DEFAULT 'killed', report TEXT
);
"""
_TAGS = """
CREATE TABLE content_tags (
    sha256 TEXT PRIMARY KEY, model TEXT NOT NULL, tags TEXT NOT NULL, checksum INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
DROP VIEW IF EXISTS heard;
CREATE VIEW heard AS
    SELECT files.n, id, label, duration_s, sample_rate_hz, channels, format, files.size_bytes, mtime_ns, files.sha256,
        metadata, file, c, COALESCE(content_tags.tags, '{}') AS tags
    FROM files CROSS JOIN contents ON contents.sha256 = files.sha256 AND reason IS NULL
        LEFT JOIN content_tags ON content_tags.sha256 = files.sha256;
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
_CHECKSUMMED = {
    "meta": ("key", "value"),
    "files": ("n", "id", "file", "size_bytes", "mtime_ns", "sha256", "label", "metadata", "problem", "seen"),
    "contents": (
        *("c", "sha256", "reason", "duration_s", "sample_rate_hz", "channels", "format", "size_bytes", "n"),
        "tries_left",
    ),
    "windows": ("c", "start_s", "end_s", "vector"),
    "content_tags": ("sha256", "model", "tags"),
}
"""The columns whose values a row's checksum covers, the key first. Rows of `windows` are written with theirs."""

_SCHEMA_KEY = "schema_checksum"


def _function(table: str) -> str:
    return "window_checksum" if table == "windows" else "row_checksum"


# Version 2 had no checksums: they are computed at the end of the migration from what is there. Version 3 had no tags.
_TO_VERSION_3 = "".join(
    f"ALTER TABLE {table} ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;\n"
    for table in _CHECKSUMMED
    if table != "content_tags"  # which has one from its beginning, in version 4
)
_ADD_CHECKSUMS = "".join(
    f"UPDATE {table} SET checksum = {_function(table)}({', '.join(columns)});\n"  # noqa: S608  # ours
    for table, columns in _CHECKSUMMED.items()
)

# Version of a file -> scripts that migrate it to the next one.
_MIGRATIONS = {1: (_TO_VERSION_2, _PENDING), 2: (_TO_VERSION_3,), 3: (_TAGS,)}


def connect(path: Path) -> sqlite3.Connection:
    """Open the catalog at `path`, which is created if missing, and migrate it to `VERSION`.

    Raises: CatalogError: it was written by a newer boiler. sqlite3.Error: it cannot be opened or written.
    """
    db = sqlite3.connect(path, isolation_level=None)
    _add_functions(db)
    try:
        _set_wal_mode(db)
        # FULL: a committed transaction survives a power cut.
        db.execute("PRAGMA synchronous=FULL")
        if _version(db, path) != VERSION:
            with transaction(db):
                _migrate(db, path)
        _run(db, _triggers())
    except BaseException:
        db.close()
        raise
    return db


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Open the catalog at `path` for `find_damage`, even while an indexer writes to it.

    Raises: sqlite3.Error: it cannot be opened.
    """
    # On a read-only disk SQLite must be told that no process writes, unless there is a log.
    mode = "ro" if os.access(path.parent, os.W_OK) or Path(f"{path}-wal").exists() else "ro&immutable=1"
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None)
    _add_functions(db)
    try:
        _version(db, path)
    except BaseException:
        db.close()
        raise
    return db


def has_checksums(db: sqlite3.Connection) -> bool:
    """Whether rows carry checksums: not before version 3, which `connect` migrates to."""
    return _version(db, Path("the catalog")) >= 3


def _add_functions(db: sqlite3.Connection) -> None:
    db.create_function("row_checksum", -1, row_checksum, deterministic=True)
    db.create_function("window_checksum", 4, window_checksum, deterministic=True)


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
        _run(db, _TAGS)
        _run(db, _PENDING)
        # Distinguishes revision 7 of this catalog from revision 7 of one that was deleted and created again.
        db.execute("INSERT INTO meta (key, value) VALUES ('birth', ?)", (uuid.uuid4().hex,))
        version = VERSION
    for step in range(version, VERSION):
        for script in _MIGRATIONS[step]:
            _run(db, script)
    db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (_SCHEMA_KEY, _schema_checksum(db)))
    _run(db, _ADD_CHECKSUMS)
    db.execute(f"PRAGMA user_version = {VERSION}")


def row_checksum(*values: int | float | str | bytes | None) -> int:
    """The XXH3 checksum of the values of a row, as the signed 64 bits of an SQLite integer."""
    # `ascii` is the fastest unambiguous form, and the same in every version of Python, which `repr` of text is not.
    return xxhash.xxh3_64_intdigest(ascii(values).encode()) - 2**63


def window_checksum(c: int, start_s: float, end_s: float, vector: bytes) -> int:
    """The same of a row of `windows`."""
    return xxhash.xxh3_64_intdigest(ascii((c, start_s, end_s)).encode() + vector) - 2**63


def _triggers() -> str:
    """Triggers that keep the checksums. Temporary: they need a function that only connections made here have."""
    script = ""
    for table, columns in _CHECKSUMMED.items():
        if table != "windows":
            key, values = columns[0], ", ".join(columns)
            for event in ("INSERT", f"UPDATE OF {values}"):
                script += (
                    f"CREATE TEMP TRIGGER {table}_{event[:6].lower()} AFTER {event} ON main.{table} BEGIN\n"
                    f"UPDATE {table} SET checksum = row_checksum({values}) WHERE {key} = NEW.{key};\nEND;\n"
                )
    return script


def _schema_checksum(db: sqlite3.Connection) -> str:
    rows = db.execute("SELECT type, name, tbl_name, sql FROM main.sqlite_master ORDER BY type, name").fetchall()
    return str(row_checksum(*(value for row in rows for value in row)))


def find_damage(db: sqlite3.Connection) -> str | None:
    """What is damaged in the catalog, by SQLite's own checks and the checksums of all rows; None if nothing is.

    Raises: sqlite3.Error: so damaged that it cannot be read.
    """
    if not has_checksums(db):
        (found,) = db.execute("PRAGMA integrity_check").fetchone()
        return None if found == "ok" else str(found).splitlines()[-1]
    for pragma in ("quick_check", "integrity_check(files)", "integrity_check(contents)"):
        (found,) = db.execute(f"PRAGMA {pragma}").fetchone()
        if found != "ok":
            return str(found).splitlines()[-1]
    stored = db.execute("SELECT value FROM meta WHERE key = ?", (_SCHEMA_KEY,)).fetchone()
    if stored != (_schema_checksum(db),):
        return "its schema has changed"
    present = {name for (name,) in db.execute("SELECT name FROM main.sqlite_master WHERE type = 'table'")}
    for table, columns in _CHECKSUMMED.items():
        if table not in present:  # in version 3; the schema's own checksum was compared above
            continue
        (wrong,) = db.execute(
            f"SELECT COUNT(*) FROM {table} WHERE checksum IS NOT {_function(table)}({', '.join(columns)})"  # noqa: S608  # ours
        ).fetchone()
        if wrong:
            return f"{wrong} rows of {table} have changed"
    return None


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
