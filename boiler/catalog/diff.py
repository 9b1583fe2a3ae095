"""Compares a folder with the catalog: which files are new, changed, moved or gone. Nothing is decoded.

`compare` changes nothing; `apply` updates the catalog. `boiler.catalog.catalog` lists the cases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from boiler.catalog.catalog import Catalog
from boiler.catalog.scan import FoundFile, Unreadable
from boiler.errors import CatalogError

Hasher = Callable[[list[FoundFile]], Iterable[str | None]]
"""Returns the sha256 of each file, in order; None for a file that cannot be read."""


@dataclass(frozen=True)
class Changes:
    """Ids of the files that differ (for moved ones: from, to), and the number of unchanged files."""

    new: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    moved: list[tuple[str, str]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    unchanged: int = 0


def compare(
    catalog: Catalog, found: Iterable[FoundFile], unreadable: Unreadable, hashes: Hasher, *, check: bool = False
) -> Changes:
    """Compare the catalog with the files found on disk. `check`: also hash files of unchanged size and time."""
    db = catalog.db
    db.execute("DROP TABLE IF EXISTS temp.found")
    db.execute("CREATE TEMP TABLE found (id TEXT PRIMARY KEY, file BLOB, size_bytes INT, mtime_ns INT) WITHOUT ROWID")
    db.execute("BEGIN")
    db.executemany(
        "INSERT INTO temp.found VALUES (?, ?, ?, ?)",
        ((one.id, one.file, one.size_bytes, one.mtime_ns) for one in found),
    )
    db.execute("COMMIT")
    new = [
        FoundFile(id, size, mtime, file)
        for id, size, mtime, file in db.execute(
            "SELECT id, size_bytes, mtime_ns, file FROM temp.found WHERE id NOT IN (SELECT id FROM files) ORDER BY id"
        )
    ]
    gone = {
        id: (size, sha256)
        for id, size, sha256 in db.execute(
            "SELECT id, size_bytes, sha256 FROM files WHERE id NOT IN (SELECT id FROM temp.found) ORDER BY id"
        )
        if not unreadable.hides(id)
    }
    changed = [
        id
        for (id,) in db.execute(
            "SELECT id FROM files JOIN temp.found AS now USING (id)"
            " WHERE files.size_bytes != now.size_bytes OR files.mtime_ns != now.mtime_ns ORDER BY id"
        )
    ]
    same = "FROM files JOIN temp.found AS now USING (id, size_bytes, mtime_ns)"
    (unchanged,) = db.execute(f"SELECT COUNT(*) {same}").fetchone()
    if check:
        rows = db.execute(
            f"SELECT id, size_bytes, mtime_ns, now.file, sha256 {same} WHERE sha256 IS NOT NULL ORDER BY id"
        ).fetchall()
        now = hashes([FoundFile(*row[:4]) for row in rows])
        other = [row[0] for row, sha256 in zip(rows, now, strict=True) if sha256 != row[4]]
        changed, unchanged = sorted({*changed, *other}), unchanged - len(other)
    moved = _moves(new, gone, hashes)
    arrived = {to for _, to in moved}
    left = {source for source, _ in moved}
    return Changes(
        new=[one.id for one in new if one.id not in arrived],
        changed=changed,
        moved=moved,
        gone=[id for id in gone if id not in left],
        unchanged=unchanged,
    )


def apply(
    catalog: Catalog, changes: Changes, label_of: Callable[[str], str | None], run: str, *, force: bool = False
) -> None:
    """Update the catalog with the changes that `compare` found. `run` is the time of the run.

    Raises: CatalogError: more than half of all files are gone, and `force` is not given.
    """
    db = catalog.db
    n_files = catalog.n_files()
    if len(changes.gone) * 2 > n_files and not force:
        raise CatalogError(
            f"{len(changes.gone)} of {n_files} files are gone, among them {changes.gone[0]}: is this the"
            " right folder, and complete? To remove them from the index, give --force"
        )
    look = "SELECT id, file, size_bytes, mtime_ns FROM temp.found WHERE id = ?"
    with catalog.transaction():
        if changes.new or changes.changed or changes.moved or changes.gone:
            catalog.mark_changed()
        db.executemany("DELETE FROM files WHERE id = ?", ((id,) for id in changes.gone))
        for source, to in changes.moved:
            id, file, size, mtime = db.execute(look, (to,)).fetchone()
            db.execute(
                "UPDATE files SET id = ?, file = ?, size_bytes = ?, mtime_ns = ?, label = ?, seen = ? WHERE id = ?",
                (id, file, size, mtime, label_of(id), run, source),
            )
        for id in changes.changed:
            (n,) = db.execute("SELECT n FROM files WHERE id = ?", (id,)).fetchone()
            catalog.queue.delete_partial(n)
            _, file, size, mtime = db.execute(look, (id,)).fetchone()
            db.execute(
                "UPDATE files SET file = ?, size_bytes = ?, mtime_ns = ?, sha256 = NULL, problem = NULL, seen = ?"
                " WHERE id = ?",
                (file, size, mtime, run, id),
            )
        for id in changes.new:
            _, file, size, mtime = db.execute(look, (id,)).fetchone()
            db.execute(
                "INSERT INTO files (id, file, size_bytes, mtime_ns, label, seen) VALUES (?, ?, ?, ?, ?, ?)",
                (id, file, size, mtime, label_of(id), run),
            )


def _moves(new: list[FoundFile], gone: Mapping[str, tuple[int, str | None]], hashes: Hasher) -> list[tuple[str, str]]:
    """Pairs (from, to) of a file that is gone and a new file of the same bytes. Hashes only new files whose size is
    that of a file that is gone."""
    by_hash: dict[str, list[str]] = {}
    for id, (_, sha256) in gone.items():
        if sha256:
            by_hash.setdefault(sha256, []).append(id)
    sizes = {size for size, sha256 in gone.values() if sha256}
    candidates = [one for one in new if one.size_bytes in sizes]
    moved = []
    for one, sha256 in zip(candidates, hashes(candidates), strict=True):
        if sha256 and by_hash.get(sha256):
            moved.append((by_hash[sha256].pop(0), one.id))
    return moved
