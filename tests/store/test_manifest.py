"""A manifest lists size and hash of every file, and detects changes."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from boiler.errors import DamagedIndexError, ModelDirError
from boiler.store import manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "one").write_bytes(b"abc")
    (tmp_path / "deep" / "two").write_bytes(b"")
    manifest.write_manifest(tmp_path)
    return tmp_path


def test_every_file_is_listed_with_its_bytes_and_hash(folder: Path) -> None:
    assert manifest.read_manifest(folder, ["one", "deep/two"]) == {
        "one": {
            "bytes": 3,
            "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "xxh3": "78af5f94892f3950",
        },
        "deep/two": {
            "bytes": 0,
            "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "xxh3": "2d06800538d394c2",
        },
    }


def test_sizes_are_checked_without_reading_and_bytes_by_reading_all_files(folder: Path) -> None:
    files = manifest.read_manifest(folder, [])
    manifest.check_sizes(folder, files)
    assert manifest.changed_files(folder, files) == []
    (folder / "one").write_bytes(b"abd")
    manifest.check_sizes(folder, files)
    assert manifest.changed_files(folder, files) == ["one"]
    (folder / "one").write_bytes(b"ab")
    with pytest.raises(ModelDirError, match="one is damaged: it has 2 bytes, the manifest says 3"):
        manifest.check_sizes(folder, files)
    (folder / "one").unlink()
    with pytest.raises(ModelDirError, match="one is missing"):
        manifest.check_sizes(folder, files)


@pytest.mark.parametrize("has_xxh3", [True, False], ids=["XXH3", "sha256 of earlier versions"])
def test_a_changed_byte_is_noticed_by_the_checksum(folder: Path, has_xxh3: bool) -> None:
    if not has_xxh3:
        path = folder / manifest.MANIFEST_FILE
        entries = json.loads(path.read_text())["files"]
        for entry in entries.values():
            del entry["xxh3"]
        path.write_text(json.dumps({"files": entries}))
    files = manifest.read_manifest(folder, [])
    manifest.verify(folder, files, files)
    (folder / "one").write_bytes(b"abd")
    manifest.verify(folder, files, ["deep/two"])
    with pytest.raises(DamagedIndexError, match="one is damaged: its bytes have changed"):
        manifest.verify(folder, files, files)
    (folder / "one").unlink()
    with pytest.raises(DamagedIndexError, match="one cannot be read"):
        manifest.verify(folder, files, ["one"])
    with pytest.raises(DamagedIndexError, match="three cannot be read"):
        manifest.verify(folder, files, ["three"])


@pytest.mark.parametrize(
    "text", ["", "{", "[]", json.dumps({"file": {}}), '{"files": 3}', '{"files": ["a"]}', '{"files": {"a": {}}}']
)
def test_an_invalid_manifest_is_refused(folder: Path, text: str) -> None:
    (folder / manifest.MANIFEST_FILE).write_text(text)
    with pytest.raises(ModelDirError, match="is damaged"):
        manifest.read_manifest(folder, [])


def test_required_files_must_be_listed(folder: Path) -> None:
    with pytest.raises(ModelDirError, match="does not list three, four"):
        manifest.read_manifest(folder, ["one", "three", "four"])


def test_a_changed_hash_in_the_manifest_is_noticed(folder: Path) -> None:
    path = folder / manifest.MANIFEST_FILE
    path.write_text(path.read_text().replace("ba7816", "ba7817"))
    with pytest.raises(DamagedIndexError, match="is damaged"):
        manifest.read_manifest(folder, [])


def test_sizes_are_compared_as_numbers_and_a_longer_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(bytes(1_000))
    manifest.write_manifest(tmp_path)
    files = manifest.read_manifest(tmp_path, [])
    manifest.check_sizes(tmp_path, files)
    (tmp_path / "one").write_bytes(bytes(1_001))
    with pytest.raises(DamagedIndexError, match=r"one is damaged: it has 1001 bytes, the manifest says 1000"):
        manifest.check_sizes(tmp_path, files)


@pytest.mark.parametrize("folder", ["current", "versions/000001-abc"])
@pytest.mark.parametrize("name", ["a model", "zebra"])
def test_the_advice_names_the_model_directory(name: str, folder: str) -> None:
    advice = manifest.remedy(Path("/sounds") / name / folder)
    assert advice == f"publish it again with boiler index {shlex.quote(f'/sounds/{name}')}"
