"""The catalog, `catalogue.sqlite`: which files there are, the hashes of their bytes, and the vectors of their windows.

Everything else in a model directory is rebuilt from the catalog. Only the indexer opens it, while it holds the lock;
readers open a published generation.

**Identity.** A file is identified by its id (see `boiler.catalog.scan`); windows belong to its bytes, by their sha256:

=======================  ==========================================================================================
same id, same bytes      nothing is done. Size and modification time are trusted; `check` reads the bytes
same id, other bytes     the file is decoded and embedded again, and keeps its number
other id, known bytes    the vectors of those bytes are used; nothing is decoded. If a file of these bytes is gone,
                         this is that file, moved: it keeps its number, too
id gone                  the item is removed; more than half of all items at once only with `force`
=======================  ==========================================================================================

So two files of the same bytes are two items with the same vectors, embedded once, and a change of case in a name is a
move. A failure to decode is stored for the bytes, too, and not tried again until they change. If time or memory ran
out, or the decoder was killed, which happens to good sounds on a busy machine, later runs try again, up to `MAX_TRIES`
times. A temporary problem (no permission, changed while it was read) is stored for the file, which is tried in every
run.

Numbers `n` are assigned in the order of ids, before anything is decoded, and never reused: a run that was killed and
continued assigns the same numbers as one that was not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from boiler.catalog.database import CatalogDatabase
from boiler.catalog.embed_queue import WARNING, EmbedQueue
from boiler.catalog.items import FIELDS, Failure, Item, item_reader

CATALOG_FILE = "catalogue.sqlite"
TRIES_AGAIN = "; the next run tries again"
"""The end of the reason of a failure that may pass."""


def has_catalog(model_dir: Path) -> bool:
    """Whether a model directory has a catalog that is not an empty file."""
    path = model_dir / CATALOG_FILE
    return path.is_file() and path.stat().st_size > 0


class Catalog(CatalogDatabase):
    """The catalog of a model directory: its files, `queue` of those to embed, and what is to be published.

    Raises: as `CatalogDatabase`.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        super().__init__(path, read_only=read_only)
        self.queue = EmbedQueue(self)

    def n_files(self) -> int:
        """Files in the catalog, whether they can be read or not."""
        (count,) = self.db.execute("SELECT COUNT(*) FROM files").fetchone()
        return int(count)

    def ids(self) -> list[str]:
        """The ids of all files."""
        return [id for (id,) in self.db.execute("SELECT id FROM files")]

    def has_metadata(self) -> bool:
        """Whether any file has further columns."""
        return self.db.execute("SELECT 1 FROM files WHERE metadata != '{}' LIMIT 1").fetchone() is not None

    def update_columns(self, columns_of: Callable[[str], tuple[str | None, Mapping[str, object]]]) -> int:
        """Set the label and the further columns of every file to what `columns_of(id)` returns. Returns how many files
        have others than before."""
        rows = self.db.execute("SELECT n, id, label, metadata FROM files").fetchall()
        changes = []
        for n, id, label, metadata in rows:
            new_label, columns = columns_of(id)
            new_metadata = json.dumps(dict(columns), ensure_ascii=False, sort_keys=True)
            if (label, metadata) != (new_label, new_metadata):
                changes.append((new_label, new_metadata, n))
        if changes:
            with self.transaction():
                self.db.executemany("UPDATE files SET label = ?, metadata = ? WHERE n = ?", changes)
                self.mark_changed()
        return len(changes)

    # ------------------------------------------------------------------------------------------------- tags

    def untagged(self, model: str) -> Iterator[tuple[str, list[bytes]]]:
        """The sha256 of embedded bytes that the tag model with the hash `model` has not tagged, and their vectors as
        `rows` returns them. The catalog may be changed during the iteration."""
        last = ""
        sql = (
            "SELECT c, sha256 FROM contents WHERE sha256 > ? AND reason IS NULL AND NOT EXISTS"
            " (SELECT 1 FROM content_tags WHERE content_tags.sha256 = contents.sha256 AND model = ?)"
            " ORDER BY sha256 LIMIT 1000"
        )
        while page := self.db.execute(sql, (last, model)).fetchall():
            for c, sha256 in page:
                windows = self.db.execute("SELECT vector FROM windows WHERE c = ? ORDER BY start_s", (c,))
                yield sha256, [vector for (vector,) in windows]
            last = page[-1][1]

    def set_tags(self, model: str, tags: Iterable[tuple[str, Mapping[str, float]]]) -> None:
        """Store the tags of bytes, by their sha256, that this model gave. Starts no transaction."""
        self.db.executemany(
            "INSERT OR REPLACE INTO content_tags (sha256, model, tags) VALUES (?, ?, ?)",
            ((sha256, model, json.dumps(dict(found), ensure_ascii=False, sort_keys=True)) for sha256, found in tags),
        )
        self.mark_changed()

    def delete_tags(self) -> None:
        """Delete the tags that models gave. Starts no transaction."""
        if self.db.execute("DELETE FROM content_tags").rowcount:
            self.mark_changed()

    # ------------------------------------------------------------------------------- what is to be published

    def n_rows(self) -> int:
        """The number of windows of all files that were embedded completely."""
        (count,) = self.db.execute("SELECT COUNT(*) FROM heard JOIN windows USING (c)").fetchone()
        return int(count)

    def rows(self) -> Iterator[tuple[int, float, float, bytes]]:
        """(n, start_s, end_s, vector as little-endian float32) of every window, in the order of n and of time."""
        yield from self.db.execute(
            "SELECT n, start_s, end_s, vector FROM heard JOIN windows USING (c) ORDER BY n, start_s"
        )

    def items(self, url_of: Callable[[str], str]) -> Iterator[Item]:
        """Every file that was embedded completely, in the order of n. The fields of `Item` are the columns of the same
        name in the view `heard`, if it has them."""
        cursor = self.db.execute(
            "SELECT *, mtime_ns / 1e9 AS mtime_s, '' AS url,"
            " NOT EXISTS (SELECT 1 FROM windows WHERE windows.c = heard.c) AS silent FROM heard ORDER BY n"
        )
        columns = [*(name for name, *_ in cursor.description), "warning"]
        warnings = self._warnings()
        read = item_reader(field for field in FIELDS if field.name in columns)
        for values in cursor:
            row = dict(zip(columns, [*values, ""], strict=True))
            row["warning"] = warnings.get(row["sha256"], "")
            yield read(row | {"url": url_of(row["id"])})

    def failures(self) -> list[Failure]:
        """Every file that could not be embedded, and why, in the order of ids."""
        return [
            Failure(id, reason + TRIES_AGAIN if tries_left else reason, sha256)
            for id, reason, sha256, tries_left in self.db.execute(
                "SELECT id, COALESCE(problem, reason), COALESCE(sha256, ''), tries_left"
                " FROM files LEFT JOIN contents USING (sha256)"
                " WHERE problem IS NOT NULL OR reason IS NOT NULL ORDER BY id"
            )
        ]

    def warnings(self) -> list[Failure]:
        """Every file of which a part could not be decoded, and what, in the order of ids."""
        warnings = self._warnings()
        heard = self.db.execute("SELECT id, sha256 FROM heard ORDER BY id") if warnings else ()
        return [Failure(id, warnings[sha256], sha256) for id, sha256 in heard if sha256 in warnings]

    def _warnings(self) -> dict[str, str]:
        """What of some bytes could not be decoded, by their sha256."""
        found = self.db.execute("SELECT key, value FROM meta WHERE key GLOB ?", (f"{WARNING}*",))
        return {key.removeprefix(WARNING): value for key, value in found}

    # -------------------------------------------------------------------------------------------------- runs

    def begin_run(self, began: str) -> int:
        """Record that a run began at an ISO 8601 time. Returns its number."""
        cursor = self.db.execute("INSERT INTO runs (began) VALUES (?)", (began,))
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def end_run(self, run: int, ended: str, outcome: str, report: str) -> None:
        """Record the outcome of a run. A run without an outcome was killed."""
        self.db.execute(
            "UPDATE runs SET ended = ?, outcome = ?, report = ? WHERE run = ?", (ended, outcome, report, run)
        )
