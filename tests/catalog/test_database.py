"""An error of SQLite is told as what it is: damage of the file, or a disk that is full or cannot be read."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from boiler.catalog.catalog import CATALOG_FILE, Catalog
from boiler.errors import CatalogError, DamagedCatalogError


def test_a_full_disk_is_not_called_damage_and_the_catalog_opens_again(tmp_path: Path) -> None:
    path = tmp_path / CATALOG_FILE
    with pytest.raises(CatalogError, match="free some space") as error, Catalog(path) as store:
        pages = store.db.execute("PRAGMA page_count").fetchone()[0]
        store.db.execute(f"PRAGMA max_page_count = {pages}")
        store.put(text="x" * 100_000)
    assert not isinstance(error.value, DamagedCatalogError)
    with Catalog(path) as store:
        store.check()
        assert store.get("text") is None


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_CANTOPEN_ISDIR])
def test_the_kind_of_an_error_is_that_of_its_primary_code(tmp_path: Path, code: int) -> None:
    failure = sqlite3.OperationalError("disk I/O error")
    failure.sqlite_errorcode = code
    with pytest.raises(CatalogError, match="disk I/O error") as error, Catalog(tmp_path / CATALOG_FILE):
        raise failure
    assert not isinstance(error.value, DamagedCatalogError)
