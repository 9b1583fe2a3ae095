"""Which files of the catalog are still to be embedded, and the results of those that were tried.

Windows and failures are stored under the sha256 of the bytes of a file (see `boiler.catalog.catalog`). The hash is not
known until all bytes have been read, so the windows of an unfinished file are stored under its number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from boiler.arrays import Float32Array
from boiler.audio.stream import Probe
from boiler.catalog.database import CatalogDatabase
from boiler.catalog.scan import FoundFile

MAX_TRIES = 3
"""How often a file is tried if time or memory runs out."""

WARNING = "warning:"
"""The settings that begin with it, followed by the sha256 of a file's bytes, say what of these could not be decoded."""

_DELETE_UNUSED = """
DELETE FROM contents WHERE
    sha256 NOT IN (SELECT sha256 FROM files WHERE sha256 IS NOT NULL) OR n NOT IN (SELECT n FROM files)
"""


@dataclass(frozen=True)
class PendingFile:
    """A file that is still to be embedded. `sha256` is known if an earlier run read its bytes."""

    n: int
    found: FoundFile
    sha256: str | None


@dataclass(frozen=True)
class FileOutcome:
    """What became of a file. `problem`: why it could not be read; `reason`: why its bytes could not be embedded, and
    whether they will be tried again; `c`: where the windows of its bytes are, None if it was not tried."""

    problem: str | None
    sha256: str | None
    c: int | None
    reason: str | None
    tries_left: int | None
    size_bytes: int | None
    probe: Probe
    warning: str


class EmbedQueue:
    """The files to embed. `put`, `retry_failed`, `clear` and `delete_unused` start a transaction, no others do."""

    def __init__(self, database: CatalogDatabase) -> None:
        self._database = database
        self._db = database.db

    def __len__(self) -> int:
        (count,) = self._db.execute("SELECT COUNT(*) FROM pending").fetchone()
        return int(count)

    def __iter__(self) -> Iterator[PendingFile]:
        """The pending files in the order of n. The catalog may be changed during the iteration."""
        last = -1
        while page := self._db.execute("SELECT * FROM pending WHERE n > ? ORDER BY n LIMIT 1000", (last,)).fetchall():
            for n, id, size, mtime, file, sha256 in page:
                yield PendingFile(n, FoundFile(id, size, mtime, file), sha256)
            last = page[-1][0]

    def find(self, n: int) -> PendingFile | None:
        """File `n`, if it is pending."""
        row = self._db.execute(
            "SELECT id, size_bytes, mtime_ns, file, sha256 FROM pending WHERE n = ?", (n,)
        ).fetchone()
        return None if row is None else PendingFile(n, FoundFile(*row[:4]), row[4])

    def put(self, files: Iterable[PendingFile]) -> None:
        """Add files of another catalog to this one, with their numbers."""
        with self._database.transaction():
            self._db.executemany(
                "INSERT INTO files (n, id, size_bytes, mtime_ns, file, sha256, seen) VALUES (?, ?, ?, ?, ?, ?, '')",
                (
                    (one.n, one.found.id, one.found.size_bytes, one.found.mtime_ns, one.found.file, one.sha256)
                    for one in files
                ),
            )

    def outcome(self, n: int) -> FileOutcome | None:
        """What became of file `n`; None if it is not in the catalog any more."""
        row = self._db.execute(
            "SELECT problem, files.sha256, c, reason, tries_left, contents.size_bytes, duration_s, sample_rate_hz,"
            " channels, format FROM files LEFT JOIN contents ON contents.sha256 = files.sha256 WHERE files.n = ?",
            (n,),
        ).fetchone()
        if row is None:
            return None
        problem, sha256, c, reason, tries_left, size_bytes, *probe = row
        warning = self._database.get(f"{WARNING}{sha256}") or ""
        return FileOutcome(problem, sha256, c, reason, tries_left, size_bytes, Probe(*probe), warning)

    def windows(self, c: int) -> list[tuple[float, float, bytes]]:
        """(start_s, end_s, vector as little-endian float32) of the windows under a number from `begin`, by time."""
        sql = "SELECT start_s, end_s, vector FROM windows WHERE c = ? ORDER BY start_s"
        return self._db.execute(sql, (c,)).fetchall()

    def is_done(self, sha256: str) -> bool:
        """Whether these bytes were embedded completely, or failed permanently."""
        found = self._db.execute("SELECT 1 FROM contents WHERE sha256 = ? AND tries_left = 0", (sha256,))
        return found.fetchone() is not None

    def may_be_duplicate(self, pending: PendingFile) -> bool:
        """Whether other bytes of the same size are known: then hashing the file may save decoding it."""
        size, n = pending.found.size_bytes, pending.n
        tried = self._db.execute("SELECT 1 FROM contents WHERE size_bytes = ?", (size,))
        others = self._db.execute("SELECT 1 FROM files WHERE size_bytes = ? AND n != ?", (size, n))
        return tried.fetchone() is not None or others.fetchone() is not None

    def set_hash(self, n: int, sha256: str) -> None:
        """Record the hash of file `n`, which removes it from the queue if its bytes are done."""
        changed = self._db.execute(
            "UPDATE files SET sha256 = ?, problem = NULL WHERE n = ? AND (sha256 IS NOT ? OR problem IS NOT NULL)",
            (sha256, n, sha256),
        )
        if changed.rowcount:
            self._database.mark_changed()

    def begin(self, n: int) -> tuple[int, set[float]]:
        """Begin file `n`, or continue it after a run that was killed: the number to add its windows under, and the
        start_s of those that are stored already."""
        row = self._db.execute("SELECT c FROM contents WHERE n = ?", (n,)).fetchone()
        if row is None:
            cursor = self._db.execute("INSERT INTO contents (n) VALUES (?)", (n,))
            assert cursor.lastrowid is not None
            return cursor.lastrowid, set()
        starts = self._db.execute("SELECT start_s FROM windows WHERE c = ?", row)
        return int(row[0]), {start_s for (start_s,) in starts}

    def add_windows(self, windows: Iterable[tuple[int, float, float, Float32Array]]) -> None:
        """Store windows: (number from `begin`, start_s, end_s, vector [D])."""
        self._db.executemany(
            "INSERT OR REPLACE INTO windows VALUES (?1, ?2, ?3, ?4, window_checksum(?1, ?2, ?3, ?4))",
            (
                (c, float(start_s), float(end_s), vector.astype("<f4").tobytes())
                for c, start_s, end_s, vector in windows
            ),
        )

    def finish(self, n: int, c: int, sha256: str, size_bytes: int, probe: Probe, warning: str = "") -> None:
        """Record that all windows of file `n` are stored under `c`. `sha256`, `size_bytes`: of the decoded bytes;
        `warning`: which part of them could not be decoded."""
        if self.is_done(sha256):  # a duplicate finished first
            self._delete_contents(c)
        else:
            self._db.execute("DELETE FROM contents WHERE sha256 = ?", (sha256,))  # earlier failures
            self._db.execute(
                "UPDATE contents SET n = NULL, sha256 = ?, size_bytes = ?, duration_s = ?, sample_rate_hz = ?,"
                " channels = ?, format = ? WHERE c = ?",
                (sha256, size_bytes, probe.duration_s, probe.sample_rate_hz, probe.channels, probe.format, c),
            )
            if warning:
                self._database.put(**{f"{WARNING}{sha256}": warning})
        self.set_hash(n, sha256)
        self._database.mark_changed()

    def fail(self, n: int, sha256: str, reason: str, *, may_pass: bool = False) -> None:
        """Record that the bytes of file `n` cannot be embedded. They are not tried again, unless the cause `may_pass`
        and they were tried less than `MAX_TRIES` times; then the windows stored so far are kept, too."""
        before = self._failure(sha256)
        self._db.execute(
            "INSERT INTO contents (sha256, reason, size_bytes, tries_left)"
            " VALUES (?, ?, (SELECT size_bytes FROM files WHERE n = ?), ?)"
            " ON CONFLICT (sha256) DO UPDATE SET reason = excluded.reason,"
            " tries_left = MAX(0, MIN(excluded.tries_left, tries_left - 1)) WHERE reason IS NOT NULL",
            (sha256, reason, n, MAX_TRIES - 1 if may_pass else 0),
        )
        self.set_hash(n, sha256)
        if self.is_done(sha256):
            self.delete_partial(n)
        if self._failure(sha256) != before:
            self._database.mark_changed()

    def _failure(self, sha256: str) -> tuple[str, bool] | None:
        """Why these bytes could not be embedded, and whether they will be tried again."""
        row = self._db.execute("SELECT reason, tries_left > 0 FROM contents WHERE sha256 = ?", (sha256,)).fetchone()
        return None if row is None else (str(row[0]), bool(row[1]))

    def set_problem(self, n: int, reason: str) -> None:
        """Record that file `n` could not be read; the next run tries again."""
        self.delete_partial(n)
        self._db.execute("UPDATE files SET problem = ?, sha256 = NULL WHERE n = ?", (reason, n))
        self._database.mark_changed()

    def delete_file(self, n: int) -> None:
        """Delete file `n`, which disappeared after the folder was scanned."""
        self.delete_partial(n)
        self._db.execute("DELETE FROM files WHERE n = ?", (n,))
        self._database.mark_changed()

    def delete_partial(self, n: int) -> None:
        """Delete the windows of a file that was not decoded completely."""
        for (c,) in self._db.execute("SELECT c FROM contents WHERE n = ?", (n,)).fetchall():
            self._delete_contents(c)

    def _delete_contents(self, c: int) -> None:
        self._db.execute("DELETE FROM windows WHERE c = ?", (c,))
        self._db.execute("DELETE FROM contents WHERE c = ?", (c,))

    def retry_failed(self) -> None:
        """Put all files that failed back into the queue."""
        with self._database.transaction():
            self._db.execute("DELETE FROM contents WHERE reason IS NOT NULL")

    def clear(self) -> None:
        """Delete all windows and failures, for another encoder or other windows: every file is pending again."""
        with self._database.transaction():
            self._db.execute("DELETE FROM windows")
            self._db.execute("DELETE FROM contents")
            self._db.execute("DELETE FROM content_tags")
            self._db.execute("DELETE FROM meta WHERE key GLOB ?", (f"{WARNING}*",))
            self._database.mark_changed()

    def delete_unused(self) -> None:
        """Delete windows and failures of bytes that no file has any more."""
        with self._database.transaction():
            self._db.execute(_DELETE_UNUSED)
            self._db.execute("DELETE FROM windows WHERE c NOT IN (SELECT c FROM contents)")
            self._db.execute(
                "DELETE FROM content_tags WHERE sha256 NOT IN (SELECT sha256 FROM contents WHERE sha256 IS NOT NULL)"
            )
            self._db.execute(
                "DELETE FROM meta WHERE key GLOB ? AND substr(key, ?) NOT IN (SELECT sha256 FROM contents"
                " WHERE sha256 IS NOT NULL)",
                (f"{WARNING}*", len(WARNING) + 1),
            )
