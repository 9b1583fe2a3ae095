"""Files are replaced atomically, and a model directory has one writer at a time."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from boiler import files
from boiler.errors import CatalogError


def test_a_finished_block_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text("old")
    with files.replacing(path) as aside:
        aside.write_text("new")
        assert path.read_text() == "old"
        assert aside.suffix == ".json"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_raises_leaves_only_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), files.replacing(path) as aside:
        aside.write_text("ne")
        raise RuntimeError("half way")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_created_and_replaced_atomically(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        files.relink(tmp_path / "current", name)
        assert (tmp_path / "current").resolve() == tmp_path / name
    assert (tmp_path / "current").readlink() == Path("two")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "one", "two"]


def test_the_hash_is_that_of_the_whole_file(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    (tmp_path / "large").write_bytes(data)
    assert files.sha256_of(tmp_path / "large") == hashlib.sha256(data).hexdigest()


def test_a_second_writer_is_refused_while_the_first_holds_the_lock(tmp_path: Path) -> None:
    with files.lock_for_writing(tmp_path / "m"):
        with (
            pytest.raises(CatalogError, match=f"process {os.getpid()}, running since"),
            files.lock_for_writing(tmp_path / "m"),
        ):
            pass
        with files.lock_for_writing(tmp_path / "other"):
            pass
    with files.lock_for_writing(tmp_path / "m"):
        pass


def test_an_exception_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), files.lock_for_writing(tmp_path):
        raise RuntimeError
    with files.lock_for_writing(tmp_path):
        pass
