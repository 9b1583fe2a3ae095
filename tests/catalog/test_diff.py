"""Identity of files: new, changed, moved, deleted, and cases that resemble another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from catalogs import add_vectors

from boiler.catalog import diff, scan
from boiler.catalog.catalog import CATALOG_FILE, Catalog
from boiler.catalog.diff import Changes
from boiler.catalog.folder import LocalFolder
from boiler.errors import CatalogError
from boiler.files import sha256_of
from boiler.indexing import embed


class Folder:
    """A folder of files in place of sounds, and its catalog; `sync` gives every new file vectors."""

    def __init__(self, tmp_path: Path) -> None:
        self.root = tmp_path / "sounds"
        self.root.mkdir()
        self.store = Catalog(tmp_path / CATALOG_FILE)
        self.unreadable = scan.Unreadable()
        self.n_embedded = 0

    def write(self, name: str, data: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(data)
        return path

    def compare(self, check: bool = False) -> Changes:
        self.unreadable.reasons.clear()
        found = scan.walk(self.root, {".wav"}, unreadable=self.unreadable)
        return diff.compare(
            self.store, found, self.unreadable, embed.file_hashes(LocalFolder(self.root), self.root), check=check
        )

    def sync(self, *, force: bool = False, check: bool = False) -> Changes:
        changes = self.compare(check)
        diff.apply(self.store, changes, lambda id: None, "now", force=force)
        self.n_embedded = 0
        for pending in list(self.store.queue):
            sha256 = sha256_of(pending.found.path(self.root))
            if self.store.queue.is_done(sha256):
                self.store.queue.set_hash(pending.n, sha256)
            else:
                add_vectors(self.store, pending.n, sha256, size_bytes=pending.found.size_bytes)
                self.n_embedded += 1
        return changes

    def numbers(self) -> dict[str, int]:
        return {item.id: item.n for item in self.store.items(str)}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path)
    for name in ("a", "b", "c/d"):
        folder.write(f"{name}.wav", f"sound of {name}")
    folder.sync()
    yield folder
    folder.store.close()


def test_an_unchanged_folder_changes_nothing(folder: Folder) -> None:
    revision = folder.store.revision
    assert folder.sync() == Changes(unchanged=3)
    assert folder.store.revision == revision


def test_a_new_file_gets_the_next_number(folder: Folder) -> None:
    folder.write("aa.wav", "sound of aa")
    assert folder.sync().new == ["aa.wav"]
    assert folder.numbers() == {"a.wav": 1, "b.wav": 2, "c/d.wav": 3, "aa.wav": 4}


def test_a_changed_file_is_embedded_again_and_keeps_its_number(folder: Folder) -> None:
    folder.write("a.wav", "another sound")
    assert folder.sync().changed == ["a.wav"]
    assert folder.n_embedded == 1
    assert folder.numbers()["a.wav"] == 1


def test_a_touched_file_is_not_embedded_again(folder: Folder) -> None:
    os.utime(folder.root / "a.wav", ns=(1, 1))
    assert folder.sync().changed == ["a.wav"]
    assert folder.n_embedded == 0


def test_a_moved_file_keeps_its_number_and_its_vectors(folder: Folder) -> None:
    (folder.root / "a.wav").rename(folder.root / "c" / "e.wav")
    changes = folder.sync()
    assert (changes.moved, changes.new, changes.gone) == ([("a.wav", "c/e.wav")], [], [])
    assert folder.n_embedded == 0
    assert folder.numbers() == {"c/e.wav": 1, "b.wav": 2, "c/d.wav": 3}


def test_a_moved_folder_keeps_its_numbers(folder: Folder) -> None:
    (folder.root / "deep").mkdir()
    for name in ("a.wav", "b.wav", "c"):
        (folder.root / name).rename(folder.root / "deep" / name)
    assert len(folder.sync().moved) == 3
    assert folder.n_embedded == 0


def test_a_name_that_changed_only_in_case_is_a_move(folder: Folder) -> None:
    (folder.root / "a.wav").rename(folder.root / "A.wav")
    assert folder.sync().moved == [("a.wav", "A.wav")]
    assert folder.numbers()["A.wav"] == 1


def test_two_files_that_swapped_names_are_recognised(folder: Folder) -> None:
    (folder.root / "a.wav").rename(folder.root / "t")
    (folder.root / "b.wav").rename(folder.root / "a.wav")
    (folder.root / "t").rename(folder.root / "b.wav")
    os.utime(folder.root / "a.wav", ns=(1, 1))
    os.utime(folder.root / "b.wav", ns=(2, 2))
    assert folder.sync().changed == ["a.wav", "b.wav"]
    assert folder.n_embedded == 0


def test_a_copy_is_an_item_of_its_own_and_is_not_embedded(folder: Folder) -> None:
    folder.write("copy.wav", "sound of a")
    assert folder.sync().new == ["copy.wav"]
    assert folder.n_embedded == 0
    assert len(folder.numbers()) == 4


def test_a_file_with_the_size_but_not_the_bytes_of_a_deleted_one_is_new(folder: Folder) -> None:
    (folder.root / "a.wav").unlink()
    folder.write("x.wav", "sound of x")
    changes = folder.sync()
    assert (changes.new, changes.moved, changes.gone) == (["x.wav"], [], ["a.wav"])
    assert folder.n_embedded == 1


def test_deleted_files_are_dropped(folder: Folder) -> None:
    (folder.root / "a.wav").unlink()
    assert folder.sync().gone == ["a.wav"]
    assert set(folder.numbers()) == {"b.wav", "c/d.wav"}


def test_a_move_and_a_deletion_are_changes_that_are_published(folder: Folder) -> None:
    revision = folder.store.revision
    (folder.root / "a.wav").rename(folder.root / "e.wav")
    folder.sync()
    assert folder.store.revision > revision
    revision = folder.store.revision
    (folder.root / "b.wav").unlink()
    folder.sync()
    assert folder.store.revision > revision


def test_deleting_more_than_half_is_refused_unless_forced(folder: Folder) -> None:
    (folder.root / "a.wav").unlink()
    (folder.root / "b.wav").unlink()
    with pytest.raises(CatalogError, match=r"2 of 3 files are gone.*--force"):
        folder.sync()
    assert len(folder.numbers()) == 3
    folder.sync(force=True)
    assert set(folder.numbers()) == {"c/d.wav"}


def test_files_in_a_folder_that_cannot_be_listed_are_kept(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def refuse(path):  # as for a user without permission; tests may run as root
        if Path(path).name == "c":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    changes = folder.sync()
    assert changes.gone == []
    assert folder.unreadable.reasons == {"c": "the folder cannot be listed: Permission denied"}
    assert "c/d.wav" in folder.numbers()


def test_check_finds_changed_bytes_of_the_same_size_and_time(folder: Folder) -> None:
    stat = (folder.root / "a.wav").stat()
    folder.write("a.wav", "sound of A")
    os.utime(folder.root / "a.wav", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert folder.sync() == Changes(unchanged=3)
    assert folder.sync(check=True) == Changes(changed=["a.wav"], unchanged=2)
    assert folder.n_embedded == 1


def test_comparing_changes_nothing(folder: Folder) -> None:
    folder.write("x.wav", "x")
    revision = folder.store.revision
    assert folder.compare() == folder.compare()
    assert folder.store.revision == revision
    assert len(folder.numbers()) == 3
