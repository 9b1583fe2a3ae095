"""The catalog: which files there are, what their bytes are, what was heard in them. `catalogue.sqlite`, in WAL mode.

The catalog is the truth of a model directory: everything else in it is rebuilt from here. The indexer alone opens it,
under the lock; readers use what a generation froze.

**Identity.** A file is its id (see `boiler.catalog.scan`); what was heard belongs to its bytes, by their sha256. So:

=======================  ==========================================================================================
same id, same bytes      nothing is done. Size and time of change are believed; `check` reads the bytes
same id, other bytes     the file is read and embedded again, and keeps its number
other id, known bytes    the vectors are those of the bytes; nothing is decoded. When a file of these bytes has gone,
                         this is that file, moved: it keeps its number too
id gone                  the item is dropped; more than half of all at once only when forced
=======================  ==========================================================================================

Hence the same bytes twice are two items with the same vectors, embedded once; and a name that changed only in its case
is a move. A failure to decode belongs to the bytes as well, and is not tried again until they change; but where time or
memory ran out, or the decoder was killed, which on a busy machine happens to good sounds too, later runs try again,
`MOST_TRIES` times in all. What may pass by itself (no permission, changed while it was read) belongs to the file and is
tried again every time.

Numbers `n` are given in the order of the ids, before anything is decoded, and never given twice: a run that was killed
and taken up again gives what one run gives.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from boiler.arrays import Float32Array
from boiler.audio.stream import Probe
from boiler.catalog import schema
from boiler.catalog.items import FIELDS, Failure, Item, item_reader
from boiler.catalog.scan import Found
from boiler.errors import CatalogError

FILE = "catalogue.sqlite"
MOST_TRIES = 3
"""So often bytes are tried over which time or memory runs out."""


@dataclass(frozen=True)
class Pending:
    """A file that has yet to be heard. `sha256` is known when a run before read its bytes."""

    n: int
    found: Found
    sha256: str | None


class Catalog:
    """An open catalog. One process has it open, under `boiler.files`; one thread uses it.

    Raises: CatalogError: not a catalog, damaged, or of a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._revised = False  # in the transaction under way
        try:
            self.db = schema.opened(path)
        except sqlite3.OperationalError as error:
            raise self._cannot_write(error) from error
        except sqlite3.DatabaseError as error:
            raise CatalogError(
                f"{path} is no catalog, or is damaged ({error}): move it away, and boiler index makes a new one"
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
            f"{self.path} cannot be written ({error}): free some space, or look at the permissions, and run again; it"
            " goes on from here, and the index is as it was"
        )

    def close(self) -> None:
        self.db.close()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """One transaction: all that is done in the block is kept, or none of it."""
        self._revised = False
        with schema.changing(self.db):
            yield

    def commit(self) -> None:
        """Within `changing`: keep what was done so far, whatever comes."""
        self.db.execute("COMMIT")
        self.db.execute("BEGIN IMMEDIATE")
        self._revised = False

    # --- settings ---------------------------------------------------------------------------------------------------

    def get(self, key: str) -> str | None:
        row = self.db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def put(self, **values: str) -> None:
        """All of them or none: in one statement, so that a kill cannot come between two."""
        marks = ", ".join(["(?, ?)"] * len(values))
        words = [word for pair in values.items() for word in pair]
        self.db.execute(f"INSERT OR REPLACE INTO meta VALUES {marks}", words)  # noqa: S608  # marks

    def unset(self, *keys: str) -> None:
        """As `put`."""
        self.db.execute(f"DELETE FROM meta WHERE key IN ({', '.join('?' * len(keys))})", keys)  # noqa: S608  # marks

    @property
    def revision(self) -> int:
        """Rises with every change that a published index would show."""
        return int(self.get("revision") or 0)

    def revise(self) -> None:
        """Something changed that a published index shows. Once in a transaction is enough to tell."""
        if not (self._revised and self.db.in_transaction):
            self.put(revision=str(self.revision + 1))
            self._revised = True

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
        """The files that have yet to be heard, in the order of n. The catalog may be written between two of them."""
        last = -1
        while page := self.db.execute("SELECT * FROM pending WHERE n > ? ORDER BY n LIMIT 1000", (last,)).fetchall():
            for n, id, size, mtime, file, sha256 in page:
                yield Pending(n, Found(id, size, mtime, file), sha256)
            last = page[-1][0]

    def is_heard(self, sha256: str) -> bool:
        """Whether these bytes were decoded to the end, or failed for good."""
        found = self.db.execute("SELECT 1 FROM contents WHERE sha256 = ? AND tries_left = 0", (sha256,))
        return found.fetchone() is not None

    def may_be_known(self, pending: Pending) -> bool:
        """Whether as many bytes were heard before, or another file has as many: then it pays to look whether they are
        the same before they are decoded."""
        size, n = pending.found.size_bytes, pending.n
        heard = self.db.execute("SELECT 1 FROM contents WHERE size_bytes = ?", (size,))
        others = self.db.execute("SELECT 1 FROM files WHERE size_bytes = ? AND n != ?", (size, n))
        return heard.fetchone() is not None or others.fetchone() is not None

    def hashed(self, n: int, sha256: str) -> None:
        """The bytes of file `n` were read; when they were heard before, there is no more to do."""
        changed = self.db.execute(
            "UPDATE files SET sha256 = ?, problem = NULL WHERE n = ? AND (sha256 IS NOT ? OR problem IS NOT NULL)",
            (sha256, n, sha256),
        )
        if changed.rowcount:
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

    def add(self, windows: Iterable[tuple[int, float, float, Float32Array]]) -> None:
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
            self.db.execute("DELETE FROM contents WHERE sha256 = ?", (sha256,))  # what was tried before in vain
            self.db.execute(
                "UPDATE contents SET n = NULL, sha256 = ?, size_bytes = ?, duration_s = ?, sample_rate_hz = ?,"
                " channels = ?, format = ? WHERE c = ?",
                (sha256, size_bytes, probe.duration_s, probe.sample_rate_hz, probe.channels, probe.format, c),
            )
        self.hashed(n, sha256)
        self.revise()

    def fail(self, n: int, sha256: str, reason: str, *, passing: bool = False) -> None:
        """The bytes of file `n` give no sound. They are not tried again, unless the cause may be a passing one and
        they were not tried `MOST_TRIES` times; then what was heard of them so far is kept, too."""
        before = self._failure(sha256)
        self.db.execute(
            "INSERT INTO contents (sha256, reason, size_bytes, tries_left)"
            " VALUES (?, ?, (SELECT size_bytes FROM files WHERE n = ?), ?)"
            " ON CONFLICT (sha256) DO UPDATE SET reason = excluded.reason,"
            " tries_left = MAX(0, MIN(excluded.tries_left, tries_left - 1)) WHERE reason IS NOT NULL",
            (sha256, reason, n, MOST_TRIES - 1 if passing else 0),
        )
        self.hashed(n, sha256)
        if self.is_heard(sha256):
            self.forget_partial(n)
        if self._failure(sha256) != before:
            self.revise()

    def _failure(self, sha256: str) -> tuple[str, bool] | None:
        """Why these bytes gave no sound, and whether they will be tried again."""
        row = self.db.execute("SELECT reason, tries_left > 0 FROM contents WHERE sha256 = ?", (sha256,)).fetchone()
        return None if row is None else (str(row[0]), bool(row[1]))

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
        """Try again what failed, for good or so far."""
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
        cursor = self.db.execute(
            "SELECT *, mtime_ns / 1e9 AS mtime_s, '' AS url,"
            " NOT EXISTS (SELECT 1 FROM windows WHERE windows.c = heard.c) AS silent FROM heard ORDER BY n"
        )
        columns = [name for name, *_ in cursor.description]
        read = item_reader(field for field in FIELDS if field.name in columns)
        for values in cursor:
            row = dict(zip(columns, values, strict=True))
            yield read(row | {"url": url_of(row["id"])})

    def failures(self) -> list[Failure]:
        """Every file that gives no sound, and why, in the order of the ids."""
        again = "; the next run tries again"
        return [
            Failure(id, reason + again if tries_left else reason, sha256)
            for id, reason, sha256, tries_left in self.db.execute(
                "SELECT id, COALESCE(problem, reason), COALESCE(sha256, ''), tries_left"
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
