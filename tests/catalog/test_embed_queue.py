"""The queue lists every pending file, and finds one by its number."""

from __future__ import annotations

from pathlib import Path

from catalogs import add_files

from boiler.catalog.catalog import CATALOG_FILE, Catalog
from boiler.catalog.embed_queue import PendingFile
from boiler.catalog.scan import FoundFile


def test_more_files_than_are_read_at_once_are_all_pending(tmp_path: Path) -> None:
    ids = [f"{n:04}.wav" for n in range(1_001)]
    with Catalog(tmp_path / CATALOG_FILE) as store:
        add_files(store, *ids)
        assert [one.found.id for one in store.queue] == ids


def test_a_pending_file_is_found_by_its_number_as_it_was_put(tmp_path: Path) -> None:
    pending = PendingFile(7, FoundFile("caf\u00e9.wav", 123, 5, "cafe\u0301.wav".encode()), "ab")
    with Catalog(tmp_path / CATALOG_FILE) as store:
        store.queue.put([pending])
        assert store.queue.find(7) == pending
        assert store.queue.find(8) is None
