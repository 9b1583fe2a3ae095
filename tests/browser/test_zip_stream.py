"""The ZIP that is sent while it is made is a good one, as long as it was said to be, and never all in memory."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import cast

import pytest
from browsing import collection
from starlette.applications import Starlette
from starlette.testclient import TestClient

from boiler.browser import zip_stream
from boiler.browser.zip_stream import Entry, Parcel
from boiler.catalog.items import Item
from boiler.errors import QueryError
from boiler.search.nearest import Nearest


@pytest.fixture
def nearest() -> Nearest:
    return Nearest(collection()[1])


def archive(body: bytes) -> zipfile.ZipFile:
    opened = zipfile.ZipFile(io.BytesIO(body))
    assert opened.testzip() is None
    return opened


def test_it_holds_the_files_below_their_folders_and_is_as_long_as_it_says(nearest: Nearest) -> None:
    numbers = [1, 2, 7]
    made = zip_stream.of(nearest, numbers)
    body = b"".join(made.blocks())
    assert len(body) == made.size_bytes
    opened = archive(body)
    assert opened.namelist() == [nearest.item(n).id for n in numbers]
    for n in numbers:
        assert opened.read(nearest.item(n).id) == nearest.path(n).read_bytes()


def test_its_length_is_known_for_any_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "b").write_bytes(bytes(3_000_000))
    made = Parcel(
        [
            Entry("leer.wav", tmp_path / "a", 0),
            Entry("ä/天.wav", tmp_path / "b", 3_000_000),
            Entry("note.txt", b"so", 2),
            Entry("it grew.wav", tmp_path / "b", 1_500_000),
        ]
    )
    assert len(b"".join(made.blocks())) == made.size_bytes
    assert len(b"".join(Parcel([]).blocks())) == Parcel([]).size_bytes


def test_a_large_file_passes_through_in_small_blocks(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(20 * zip_stream.BLOCK_BYTES))
    longest = max(map(len, Parcel([Entry("large.wav", tmp_path / "large", 20 * zip_stream.BLOCK_BYTES)]).blocks()))
    assert longest < 2 * zip_stream.BLOCK_BYTES


def test_files_that_are_gone_are_named_in_it(nearest: Nearest, tmp_path: Path) -> None:
    away = Nearest(collection()[1], wav_dir=tmp_path)
    opened = archive(b"".join(zip_stream.of(away, [1, 2]).blocks()))
    assert opened.namelist() == ["MISSING.txt"]
    assert opened.read("MISSING.txt").decode().split() == [nearest.item(1).id, nearest.item(2).id]


def test_what_cannot_be_opened_is_named_too_and_no_name_stands_for_two_files(tmp_path: Path) -> None:
    (tmp_path / "sound").write_bytes(b"abc")
    ids = ["x/a.wav", "x/\udcff.wav", "x/\udcfe.wav", "x/a.wav", "MISSING.txt", "a folder.wav"]

    class Files:
        def item(self, n: int) -> Item:
            return Item(n, ids[n])

        def path(self, n: int) -> Path:
            return tmp_path if ids[n] == "a folder.wav" else tmp_path / "sound"

    made = zip_stream.of(cast(Nearest, Files()), range(len(ids)))
    body = b"".join(made.blocks())
    assert len(body) == made.size_bytes
    opened = archive(body)
    names = ["x/a.wav", "x/?.wav", "x/? (2).wav", "x/a (2).wav", "MISSING.txt", "MISSING (2).txt"]
    assert opened.namelist() == names
    assert [opened.read(name) for name in names] == [b"abc"] * 5 + [b"a folder.wav\n"]


def test_its_head_alone_reads_nothing(nearest: Nearest, monkeypatch: pytest.MonkeyPatch) -> None:
    client = TestClient(Starlette(routes=zip_stream.routes(lambda: nearest)))
    whole = client.get(zip_stream.address("", [1, 2]))
    monkeypatch.delattr(Parcel, "blocks")
    head = client.head(zip_stream.address("", [1, 2]))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]


def test_too_much_is_refused_with_another_way(nearest: Nearest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_stream, "MOST_ITEMS", 2)
    with pytest.raises(QueryError, match="playlist"):
        zip_stream.of(nearest, [1, 2, 3])
    monkeypatch.setattr(zip_stream, "MOST_BYTES", 1_000)
    with pytest.raises(QueryError, match="playlist"):
        zip_stream.of(nearest, [1])


def test_it_is_fetched_by_its_address(nearest: Nearest) -> None:
    client = TestClient(Starlette(routes=zip_stream.routes(lambda: nearest)))
    answer = client.get(zip_stream.address("", [1, 2, 1]))
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].startswith("attachment")
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert archive(answer.content).namelist() == [nearest.item(n).id for n in (1, 2)]
    for address, status in (("/parcel.zip", 404), ("/parcel.zip?n=1.x", 404), ("/parcel.zip?n=99999", 404)):
        assert client.get(address).status_code == status
