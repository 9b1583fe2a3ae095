"""Files are made ready in order; copies of those of an address are few at a time, and deleted once they are used."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from remote_storage import WebServer

from boiler.catalog import folder as folder_module
from boiler.catalog.folder import LocalFolder, ReadAhead, delete_copies, open_folder, room_for_copies
from boiler.catalog.scan import FoundFile

N_FILES, SIZE_BYTES = 40, 1_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sounds").mkdir()
    for n in range(N_FILES):
        (tmp_path / "sounds" / f"{n:02}.wav").write_bytes(bytes([n]) * SIZE_BYTES)
    return tmp_path / "sounds"


@pytest.fixture
def web(folder: Path) -> Iterator[WebServer]:
    server = WebServer(folder.parent)
    yield server
    server.close()


def wanted(where: Path | str) -> Iterator[tuple[str, FoundFile, bool]]:
    for one in sorted(open_folder(where).walk({".wav"}), key=lambda found: found.id):
        yield one.id, one, int(one.id[:2]) % 2 == 0


def test_a_folder_of_this_machine_is_a_path(folder: Path) -> None:
    assert Path(open_folder(folder)) / "00.wav" == folder / "00.wav"  # type: ignore[arg-type]  # of an address it is not


def test_files_of_this_machine_are_not_copied(folder: Path, tmp_path: Path) -> None:
    with room_for_copies(LocalFolder(folder), tmp_path) as into:
        reading = ReadAhead(LocalFolder(folder), into)
        for n, (id, ready) in enumerate(reading.files(wanted(folder))):
            assert not isinstance(ready, OSError)
            sha256 = hashlib.sha256((folder / id).read_bytes()).hexdigest()
            assert (id, ready.path, ready.sha256) == (f"{n:02}.wav", folder / id, None if n % 2 else sha256)
            reading.release(FoundFile(id, SIZE_BYTES, 0))
    assert len(list(folder.iterdir())) == N_FILES


@pytest.mark.parametrize(("ahead_bytes", "most"), [(2**20, 17), (3 * SIZE_BYTES, 4)])
def test_few_copies_are_on_the_disk_at_a_time(
    web: WebServer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_bytes: int, most: int
) -> None:
    monkeypatch.setattr(folder_module, "_AHEAD_BYTES", ahead_bytes)
    sounds = open_folder(f"{web.url}/sounds")
    web.failing = {"/sounds/07.wav": 503}
    files = [(id, found, hashed) for id, found, hashed in wanted(sounds.address)]
    files.insert(7, ("07.wav", FoundFile("07.wav", SIZE_BYTES, 0), True))
    ids = []
    with room_for_copies(sounds, tmp_path) as into:
        reading = ReadAhead(sounds, into)
        for id, ready in reading.files(files):
            ids.append(id)
            if id == "07.wav":
                assert isinstance(ready, OSError)
                continue
            assert not isinstance(ready, OSError)
            assert ready.path.read_bytes() == (folder / id).read_bytes()
            assert len(list(into.iterdir())) <= most
            reading.release(FoundFile(id, SIZE_BYTES, 0))
            assert not ready.path.exists()
        assert list(into.iterdir()) == []
    assert ids == [f"{n:02}.wav" for n in range(N_FILES)]
    assert not into.exists()


def test_copies_that_were_left_are_deleted(tmp_path: Path, web: WebServer) -> None:
    with room_for_copies(open_folder(web.url), tmp_path) as into:
        (into / "one.wav").write_bytes(b"1")
        delete_copies(tmp_path)
        assert not into.exists()
        into.mkdir()
