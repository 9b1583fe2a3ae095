"""The catalogue: which files there are, what their bytes are, what was heard in them. `catalogue.sqlite`, in WAL mode.

The catalogue is the truth of a model directory: everything else in it is rebuilt from here. The indexer alone opens it,
under the lock; readers use what a generation froze.

**Identity.** A file is its id (see `boiler.scan`); what was heard belongs to its bytes, by their sha256. So:

=======================  ==========================================================================================
same id, same bytes      nothing is done. Size and time of change are believed; `check` reads the bytes
same id, other bytes     the file is read and embedded again, and keeps its number
other id, known bytes    the vectors are those of the bytes; nothing is decoded. When a file of these bytes has gone,
                         this is that file, moved: it keeps its number too
id gone                  the item is dropped; more than half of all at once only when forced
=======================  ==========================================================================================

Hence the same bytes twice are two items with the same vectors, embedded once; and a name that changed only in its case
is a move. A failure to decode belongs to the bytes as well, and is not tried again until they change; what may pass by
itself (no permission, changed while it was read) belongs to the file and is tried again every time.

Numbers `n` are given in the order of the ids, before anything is decoded, and never given twice: a run that was killed
and taken up again gives what one run gives.
"""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from boiler.audio import Probe
from boiler.errors import CatalogueError
from boiler.records import Failure, Item
from boiler.scan import Found

FILE = "catalogue.sqlite"
VERSION = 1
_PATIENCE_S = 5.0  # as SQLite waits for a lock elsewhere

_SCHEMA = """
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
    n INTEGER UNIQUE  -- the file whose bytes are being heard, and not to their end yet; then sha256 is NULL
);
CREATE INDEX contents_size ON contents (size_bytes);
CREATE TABLE windows (
    c INTEGER NOT NULL, start_s REAL NOT NULL, end_s REAL NOT NULL, vector BLOB NOT NULL, PRIMARY KEY (c, start_s)
) WITHOUT ROWID;
CREATE VIEW pending AS SELECT n, id, size_bytes, mtime_ns, file, sha256 FROM files
    WHERE sha256 IS NULL OR sha256 NOT IN (SELECT sha256 FROM contents WHERE sha256 IS NOT NULL);
CREATE VIEW heard AS
    SELECT files.n, id, label, duration_s, sample_rate_hz, channels, format, files.size_bytes, mtime_ns, files.sha256,
        metadata, file, c
    FROM files CROSS JOIN contents ON contents.sha256 = files.sha256 AND reason IS NULL;
CREATE TABLE runs (
    run INTEGER PRIMARY KEY, began TEXT NOT NULL, ended TEXT, outcome TEXT NOT NULL DEFAULT 'killed', report TEXT
);
"""
# Version found -> what brings it one further. Version 1 is the first.
_MIGRATIONS: dict[int, str] = {}


@dataclass(frozen=True)
class Pending:
    """A file that has yet to be heard. `sha256` is known when a run before read its bytes."""

    n: int
    found: Found
    sha256: str | None


class Catalogue:
    """An open catalogue. One process has it open, under `boiler.lock`; one thread uses it.

    Raises: CatalogueError: not a catalogue, damaged, or of a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.db = sqlite3.connect(path, isolation_level=None)
            self._write_ahead()
            # FULL: what was committed is there after a power cut, too.
            self.db.execute("PRAGMA synchronous=FULL")
            self._migrate()
        except sqlite3.OperationalError as error:
            raise self._cannot_write(error) from error
        except sqlite3.DatabaseError as error:
            raise CatalogueError(
                f"{path} is no catalogue, or is damaged ({error}): move it away, and boiler index makes a new one"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if isinstance(error, sqlite3.OperationalError):
            raise self._cannot_write(error) from error

    def _cannot_write(self, error: sqlite3.OperationalError) -> CatalogueError:
        return CatalogueError(
            f"{self.path} cannot be written ({error}): free some space, or look at the permissions, and run again; it"
            " goes on from here, and the index is as it was"
        )

    def close(self) -> None:
        self.db.close()

    def _write_ahead(self) -> None:
        """WAL mode. Where two open a new file at once, SQLite refuses one of them at once instead of waiting."""
        until = time.monotonic() + _PATIENCE_S
        while True:
            try:
                self.db.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(0.01)

    def _migrate(self) -> None:
        if self._version() == VERSION:
            return
        with self.changing():
            # Asked again: of two that open a new catalogue at the same time, the second waits here and finds it made.
            version = self._version()
            if version == 0:
                self._run(_SCHEMA)
                self.put(birth=uuid.uuid4().hex)  # tells revision 7 of this catalogue from that of one made anew
            for step in range(max(version, 1), VERSION):
                self._run(_MIGRATIONS[step])
            self.db.execute(f"PRAGMA user_version = {VERSION}")

    def _version(self) -> int:
        version: int = self.db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise CatalogueError(f"{self.path} was written by a newer boiler (its version is {version}): update boiler")
        return version

    def _run(self, script: str) -> None:
        """Statement by statement, within the transaction: `executescript` would end it first."""
        statement = ""
        for line in script.splitlines(keepends=True):
            statement += line
            if sqlite3.complete_statement(statement):
                self.db.execute(statement)
                statement = ""

    @contextmanager
    def changing(self) -> Iterator[None]:
        """One transaction: all that is done in the block is kept, or none of it."""
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.db.execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            raise

    def commit(self) -> None:
        """Within `changing`: keep what was done so far, whatever comes."""
        self.db.execute("COMMIT")
        self.db.execute("BEGIN IMMEDIATE")

    # --- settings ---------------------------------------------------------------------------------------------------

    def get(self, key: str) -> str | None:
        row = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def put(self, **values: str) -> None:
        self.db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    def unset(self, *keys: str) -> None:
        self.db.executemany("DELETE FROM meta WHERE key = ?", ((key,) for key in keys))

    @property
    def revision(self) -> int:
        """Rises with every change that a published index would show."""
        return int(self.get("revision") or 0)

    def revise(self) -> None:
        """Something changed that a published index shows."""
        self.put(revision=str(self.revision + 1))

    # --- files ------------------------------------------------------------------------------------------------------

    def describe(self, columns_of: Callable[[str], tuple[str | None, Mapping[str, object]]]) -> None:
        """Give every file the label and the further columns that `columns_of(id)` says."""
        rows = self.db.execute("SELECT n, id, label, metadata FROM files").fetchall()
        changes = []
        for n, id, label, metadata in rows:
            now_label, columns = columns_of(id)
            now = json.dumps(dict(columns), ensure_ascii=False, sort_keys=True)
            if (label, metadata) != (now_label, now):
                changes.append((now_label, now, n))
        if changes:
            with self.changing():
                self.db.executemany("UPDATE files SET label = ?, metadata = ? WHERE n = ?", changes)
                self.revise()

    # --- what is to be heard, and what was ---------------------------------------------------------------------------

    def n_pending(self) -> int:
        (count,) = self.db.execute("SELECT COUNT(*) FROM pending").fetchone()
        return int(count)

    def pending(self) -> Iterator[Pending]:
        """The files that have yet to be heard, in the order of n. The catalogue may be written between two of them."""
        last = -1
        while page := self.db.execute("SELECT * FROM pending WHERE n > ? ORDER BY n LIMIT 1000", (last,)).fetchall():
            for n, id, size, mtime, file, sha256 in page:
                yield Pending(n, Found(id, size, mtime, file), sha256)
            last = page[-1][0]

    def is_heard(self, sha256: str) -> bool:
        """Whether these bytes were decoded to the end, or failed for good."""
        return self.db.execute("SELECT 1 FROM contents WHERE sha256 = ?", (sha256,)).fetchone() is not None

    def may_be_known(self, pending: Pending) -> bool:
        """Whether as many bytes were heard before, or another file has as many: then it pays to look whether they are
        the same before they are decoded."""
        size, n = pending.found.size_bytes, pending.n
        heard = self.db.execute("SELECT 1 FROM contents WHERE size_bytes = ?", (size,))
        others = self.db.execute("SELECT 1 FROM files WHERE size_bytes = ? AND n != ?", (size, n))
        return heard.fetchone() is not None or others.fetchone() is not None

    def hashed(self, n: int, sha256: str) -> None:
        """The bytes of file `n` were read; when they were heard before, there is no more to do."""
        self.db.execute("UPDATE files SET sha256 = ?, problem = NULL WHERE n = ?", (sha256, n))
        self.revise()

    def begin(self, n: int) -> tuple[int, set[float]]:
        """Begin to hear file `n`, or go on with it: the number to add its windows under, and the start_s of those that
        a run before, which was killed, has added."""
        row = self.db.execute("SELECT c FROM contents WHERE n = ?", (n,)).fetchone()
        if row is None:
            cursor = self.db.execute("INSERT INTO contents (n) VALUES (?)", (n,))
            assert cursor.lastrowid is not None
            return cursor.lastrowid, set()
        starts = self.db.execute("SELECT start_s FROM windows WHERE c = ?", row)
        return int(row[0]), {start_s for (start_s,) in starts}

    def add(self, windows: Iterable[tuple[int, float, float, npt.NDArray[np.float32]]]) -> None:
        """Windows: (number from `begin`, start_s, end_s, vector [D])."""
        self.db.executemany(
            "INSERT OR REPLACE INTO windows VALUES (?, ?, ?, ?)",
            ((c, start_s, end_s, vector.astype("<f4").tobytes()) for c, start_s, end_s, vector in windows),
        )

    def finish(self, n: int, c: int, sha256: str, size_bytes: int, probe: Probe) -> None:
        """All windows of file `n` are in, under `c`; `sha256` and `size_bytes` are of the bytes they were
        heard in."""
        if self.is_heard(sha256):  # its twin was quicker
            self._drop(c)
        else:
            self.db.execute(
                "UPDATE contents SET n = NULL, sha256 = ?, size_bytes = ?, duration_s = ?, sample_rate_hz = ?,"
                " channels = ?, format = ? WHERE c = ?",
                (sha256, size_bytes, probe.duration_s, probe.sample_rate_hz, probe.channels, probe.format, c),
            )
        self.hashed(n, sha256)

    def fail(self, n: int, sha256: str, reason: str) -> None:
        """The bytes of file `n` give no sound; they are not tried again."""
        self.forget_partial(n)
        self.db.execute(
            "INSERT OR IGNORE INTO contents (sha256, reason, size_bytes)"
            " VALUES (?, ?, (SELECT size_bytes FROM files WHERE n = ?))",
            (sha256, reason, n),
        )
        self.hashed(n, sha256)

    def forget_partial(self, n: int) -> None:
        """Drop what was heard so far of a file that was not heard to its end."""
        for (c,) in self.db.execute("SELECT c FROM contents WHERE n = ?", (n,)).fetchall():
            self._drop(c)

    def _drop(self, c: int) -> None:
        self.db.execute("DELETE FROM windows WHERE c = ?", (c,))
        self.db.execute("DELETE FROM contents WHERE c = ?", (c,))

    def problem(self, n: int, reason: str) -> None:
        """File `n` could not be read this time; the next run tries again."""
        self.forget_partial(n)
        self.db.execute("UPDATE files SET problem = ?, sha256 = NULL WHERE n = ?", (reason, n))
        self.revise()

    def vanished(self, n: int) -> None:
        """File `n` was there when the folder was walked, and is there no more."""
        self.forget_partial(n)
        self.db.execute("DELETE FROM files WHERE n = ?", (n,))
        self.revise()

    def forget_failures(self) -> None:
        """Try again what failed for good."""
        with self.changing():
            self.db.execute("DELETE FROM contents WHERE reason IS NOT NULL")

    def forget_all(self) -> None:
        """Hear everything anew: another encoder, or other windows."""
        with self.changing():
            self.db.execute("DELETE FROM windows")
            self.db.execute("DELETE FROM contents")
            self.revise()

    def purge(self) -> None:
        """Drop what was heard in bytes that no file has any more."""
        with self.changing():
            self.db.execute(_PURGE)
            self.db.execute("DELETE FROM windows WHERE c NOT IN (SELECT c FROM contents)")

    # --- what is published -------------------------------------------------------------------------------------------

    def n_rows(self) -> int:
        (count,) = self.db.execute("SELECT COUNT(*) FROM heard JOIN windows USING (c)").fetchone()
        return int(count)

    def rows(self) -> Iterator[tuple[int, float, float, bytes]]:
        """(n, start_s, end_s, vector as little-endian float32) of every window, in the order of n and of time."""
        yield from self.db.execute(
            "SELECT n, start_s, end_s, vector FROM heard JOIN windows USING (c) ORDER BY n, start_s"
        )

    def items(self, url_of: Callable[[str], str]) -> Iterator[Item]:
        """Every sound that was heard to its end, in the order of n."""
        query = "SELECT *, NOT EXISTS (SELECT 1 FROM windows WHERE windows.c = heard.c) FROM heard ORDER BY n"
        for (
            n,
            id,
            label,
            duration_s,
            rate,
            channels,
            format,
            size,
            mtime,
            sha256,
            metadata,
            file,
            _,
            silent,
        ) in self.db.execute(query):
            yield Item(
                n=n,
                id=id,
                url=url_of(id),
                label=label,
                duration_s=duration_s,
                sample_rate_hz=rate,
                channels=channels,
                format=format,
                size_bytes=size,
                mtime_s=mtime / 1e9,
                sha256=sha256,
                silent=bool(silent),
                metadata=json.loads(metadata),
                file=file,
            )

    def failures(self) -> list[Failure]:
        """Every file that gives no sound, and why, in the order of the ids."""
        return [
            Failure(*row)
            for row in self.db.execute(
                "SELECT id, COALESCE(problem, reason), COALESCE(sha256, '')"
                " FROM files LEFT JOIN contents USING (sha256)"
                " WHERE problem IS NOT NULL OR reason IS NOT NULL ORDER BY id"
            )
        ]

    def n_files(self) -> int:
        (count,) = self.db.execute("SELECT COUNT(*) FROM files").fetchone()
        return int(count)

    # --- runs ---------------------------------------------------------------------------------------------------------

    def begin_run(self, began: str) -> int:
        cursor = self.db.execute("INSERT INTO runs (began) VALUES (?)", (began,))
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def end_run(self, run: int, ended: str, outcome: str, report: str) -> None:
        self.db.execute(
            "UPDATE runs SET ended = ?, outcome = ?, report = ? WHERE run = ?", (ended, outcome, report, run)
        )


_PURGE = """
DELETE FROM contents WHERE
    sha256 NOT IN (SELECT sha256 FROM files WHERE sha256 IS NOT NULL) OR n NOT IN (SELECT n FROM files)
"""
