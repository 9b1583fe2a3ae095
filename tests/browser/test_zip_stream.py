"""The streamed ZIP file is valid, has the size it announces, and never is in memory as a whole."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import cast

import pytest
from browsing import collection
from starlette.applications import Starlette
from starlette.testclient import TestClient
from zipstream import ZipStream

from boiler.browser import zip_stream
from boiler.catalog.items import Item
from boiler.errors import QueryError
from boiler.search.nearest import Nearest


@pytest.fixture
def nearest() -> Nearest:
    return Nearest(collection()[1])


class Files:
    """An index whose items have these ids, and whose files are at these paths."""

    def __init__(self, paths: dict[str, Path]) -> None:
        self.paths = list(paths.items())

    def item(self, n: int) -> Item:
        return Item(n, self.paths[n][0])

    def path(self, n: int) -> Path:
        return self.paths[n][1]


def archive_of(paths: dict[str, Path]) -> ZipStream:
    return zip_stream.archive_files(cast(Nearest, Files(paths)), range(len(paths)))


def unpacked(body: bytes) -> zipfile.ZipFile:
    opened = zipfile.ZipFile(io.BytesIO(body))
    assert opened.testzip() is None
    return opened


def test_files_are_in_their_folders_and_the_size_is_as_announced(nearest: Nearest) -> None:
    numbers = [1, 2, 7]
    archive = zip_stream.archive_files(nearest, numbers)
    announced, body = len(archive), b"".join(archive)
    assert len(body) == announced
    opened = unpacked(body)
    assert opened.namelist() == [nearest.item(n).id for n in numbers]
    for n in numbers:
        assert opened.read(nearest.item(n).id) == nearest.path(n).read_bytes()


def test_the_size_is_known_for_all_names_and_contents_and_for_a_file_that_grows(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "b").write_bytes(bytes(3_000_000))
    (tmp_path / "c").write_bytes(b"12345")
    archive = archive_of({"leer.wav": tmp_path / "a", "ä/天.wav": tmp_path / "b", "grows.wav": tmp_path / "c"})
    announced = len(archive)
    (tmp_path / "c").write_bytes(b"1234567890")
    body = b"".join(archive)
    assert len(body) == announced
    assert unpacked(body).read("grows.wav") == b"12345"
    empty = archive_of({})
    assert len(empty) == len(b"".join(empty))


def test_a_file_that_shrinks_ends_the_download_with_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    archive = archive_of({"a.wav": tmp_path / "a"})
    (tmp_path / "a").write_bytes(b"12")
    with pytest.raises(RuntimeError, match="size"):
        b"".join(archive)


def test_a_large_file_is_sent_in_small_blocks(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(20 * zip_stream.BLOCK_BYTES))
    assert max(map(len, archive_of({"large.wav": tmp_path / "large"}))) < 2 * zip_stream.BLOCK_BYTES


def test_missing_files_are_listed(nearest: Nearest, tmp_path: Path) -> None:
    moved = Nearest(collection()[1], wav_dir=tmp_path)
    opened = unpacked(b"".join(zip_stream.archive_files(moved, [1, 2])))
    assert opened.namelist() == ["MISSING.txt"]
    assert opened.read("MISSING.txt").decode().split() == [nearest.item(1).id, nearest.item(2).id]


def test_a_folder_is_listed_as_missing_and_no_two_files_share_a_name(tmp_path: Path) -> None:
    (tmp_path / "sound").write_bytes(b"abc")
    ids = ["x/a.wav", "x/\udcff.wav", "x/\udcfe.wav", "x//a.wav", "MISSING.txt"]
    archive = archive_of({**dict.fromkeys(ids, tmp_path / "sound"), "a folder.wav": tmp_path})
    announced, body = len(archive), b"".join(archive)
    assert len(body) == announced
    opened = unpacked(body)
    names = ["x/a.wav", "x/?.wav", "x/? (2).wav", "x/a (2).wav", "MISSING.txt", "MISSING (2).txt"]
    assert opened.namelist() == names
    assert [opened.read(name) for name in names] == [b"abc"] * 5 + [b"a folder.wav\n"]


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("../../etc/passwd", "etc/passwd"),
        ("C:\\Windows\\x.wav", "C_/Windows/x.wav"),
        ("/absolute.wav", "absolute.wav"),
        ("a\x00b\x1b[31m\r\n.wav", "a_b_[31m__.wav"),
        ("..", "unnamed"),
    ],
)
def test_names_stay_below_the_folder_they_are_unpacked_in(id: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "sound").write_bytes(b"abc")
    assert unpacked(b"".join(archive_of({id: tmp_path / "sound"}))).namelist() == [name]


def test_a_head_request_reads_no_file(nearest: Nearest, monkeypatch: pytest.MonkeyPatch) -> None:
    client = TestClient(Starlette(routes=zip_stream.archive_routes(lambda: nearest)))
    whole = client.get(zip_stream.archive_url("", [1, 2]))
    monkeypatch.delattr(ZipStream, "__iter__")
    head = client.head(zip_stream.archive_url("", [1, 2]))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]


def test_too_much_is_refused_with_an_alternative(nearest: Nearest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_stream, "MAX_FILES", 2)
    with pytest.raises(QueryError, match="playlist"):
        zip_stream.archive_files(nearest, [1, 2, 3])
    monkeypatch.setattr(zip_stream, "MAX_BYTES", 1_000)
    with pytest.raises(QueryError, match="playlist"):
        zip_stream.archive_files(nearest, [1])


def test_the_archive_has_a_url(nearest: Nearest) -> None:
    client = TestClient(Starlette(routes=zip_stream.archive_routes(lambda: nearest)))
    response = client.get(zip_stream.archive_url("", [1, 2, 1]))
    assert response.status_code == 200
    assert response.headers["content-disposition"].startswith("attachment")
    assert int(response.headers["content-length"]) == len(response.content)
    assert unpacked(response.content).namelist() == [nearest.item(n).id for n in (1, 2)]
    for url in ("/files.zip", "/files.zip?n=1.x", "/files.zip?n=99999"):
        assert client.get(url).status_code == 404
