"""A catalog is created once, an older one is migrated with its contents, a newer one is refused."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from boiler.catalog import schema
from boiler.catalog.catalog import Catalog
from boiler.errors import CatalogError, DamagedCatalogError

# A catalog of version 1 with a sound of two windows, a broken one, one that timed out, and one not yet embedded.
VERSION_1 = """
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
    n INTEGER UNIQUE
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
INSERT INTO meta VALUES ('birth', 'long ago'), ('revision', '7');
INSERT INTO files (id, size_bytes, mtime_ns, sha256, label, seen) VALUES
    ('a.wav', 1, 1, 'aa', 'dog', 'then'), ('b.wav', 2, 1, 'bb', NULL, 'then'), ('c.wav', 3, 1, 'cc', NULL, 'then'),
    ('d.wav', 4, 1, NULL, NULL, 'then');
INSERT INTO contents (sha256, reason, duration_s) VALUES
    ('aa', NULL, 12.288), ('bb', 'it is empty', 0), ('cc', 'decoding it takes more than 60 s', 0);
INSERT INTO windows VALUES (1, 0.0, 8.192, x'0000803f00000040'), (1, 4.096, 12.288, x'0000404000008040');
PRAGMA user_version = 1;
"""


def test_a_catalog_of_version_1_keeps_its_contents(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "c.sqlite")) as old:
        old.executescript(VERSION_1)
    for _ in range(2):
        with Catalog(tmp_path / "c.sqlite") as store:
            assert store.db.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
            assert (store.get("birth"), store.revision) == ("long ago", 7)
            assert [(item.id, item.label, item.duration_s) for item in store.items(str)] == [("a.wav", "dog", 12.288)]
            assert [np.frombuffer(row[3], "<f4").tolist() for row in store.rows()] == [[1, 2], [3, 4]]
            # The file that timed out is tried again; the broken one is not.
            assert [pending.n for pending in store.queue] == [3, 4]
            assert [failure.id for failure in store.failures()] == ["b.wav", "c.wav"]


def test_a_migrated_catalog_has_the_tables_of_a_new_one(tmp_path: Path) -> None:
    def tables(path: Path) -> dict[str, set[tuple[object, ...]]]:
        with closing(schema.connect(path)) as db:
            names = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")]
            return {name: set(db.execute("SELECT name, type FROM pragma_table_info(?)", (name,))) for name in names}

    with closing(sqlite3.connect(tmp_path / "old.sqlite")) as old:
        old.executescript(VERSION_1)
    assert tables(tmp_path / "old.sqlite") == tables(tmp_path / "new.sqlite")


@pytest.mark.parametrize("make", [lambda path: None, lambda path: schema.connect(path).close()])
def test_a_newer_catalog_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "c.sqlite")
    with closing(sqlite3.connect(tmp_path / "c.sqlite")) as db:
        db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    with pytest.raises(CatalogError, match="update boiler"):
        Catalog(tmp_path / "c.sqlite")


def test_a_failed_migration_leaves_the_old_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(tmp_path / "c.sqlite")) as old:
        old.executescript(VERSION_1)
    monkeypatch.setitem(schema._MIGRATIONS, 1, ("DROP TABLE runs;", "nonsense;"))
    with pytest.raises(CatalogError):
        Catalog(tmp_path / "c.sqlite")
    monkeypatch.undo()
    with Catalog(tmp_path / "c.sqlite") as store:
        assert store.begin_run("now") == 1


def test_two_processes_may_create_a_catalog_at_once(tmp_path: Path) -> None:
    def birth(_: int) -> str | None:
        with Catalog(path) as store:
            return store.get("birth")

    with ThreadPoolExecutor(8) as threads:
        for attempt in range(10):
            path = tmp_path / f"{attempt}.sqlite"
            births = set(threads.map(birth, range(8)))
            assert len(births) == 1
            assert births != {None}


def test_a_catalog_of_version_3_is_checked_and_gets_tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.sqlite"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(VERSION_1)
    before = {name: columns for name, columns in schema._CHECKSUMMED.items() if name != "content_tags"}
    with monkeypatch.context() as version_3:
        version_3.setattr(schema, "VERSION", 3)
        version_3.setattr(schema, "_CHECKSUMMED", before)
        version_3.setattr(
            schema,
            "_ADD_CHECKSUMS",
            "\n".join(line for line in schema._ADD_CHECKSUMS.splitlines() if "_tags" not in line),
        )
        schema.connect(path).close()
    with closing(schema.connect_read_only(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (3,)
        assert schema.find_damage(db) is None
    with Catalog(path) as store:
        store.check()
        with store.transaction():
            store.set_tags("model", [("aa", {"dog": 0.5})])
        store.check()
        assert [dict(item.tags) for item in store.items(str)] == [{"dog": 0.5}]
        store.db.execute("DROP TRIGGER content_tags_update")
        store.db.execute("UPDATE content_tags SET tags = '{}'")
        with pytest.raises(DamagedCatalogError, match="content_tags have changed"):
            store.check()
