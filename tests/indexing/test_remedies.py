"""What an error advises is done, to the letter, and works."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sounds import tone, write

from boiler import index
from boiler.catalog.catalog import CATALOG_FILE
from boiler.cli import search, status
from boiler.store import generation, manifest
from boiler.store.projector import TENSORS


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `sounds` and their model directory `m`. Do not write there."""
    top = tmp_path_factory.mktemp("remedies")
    (top / "sounds").mkdir()
    for n in range(4):
        write(top / "sounds" / f"{n}.wav", tone(200 + 50 * n, 0.5, 8_000), 8_000)
    assert index.main([str(top / "sounds"), "MFCCStats", "--model_dir", str(top / "m"), "--workers", "1"]) == 0
    return top


@pytest.fixture
def model_dir(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "m", tmp_path / "the m", symlinks=True)
    return tmp_path / "the m"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[:-1])


def advised(message: str) -> list[str]:
    """The words of the command in an error."""
    found = re.search(r"boiler index ((?:'[^']+'|[^\s;,:]+)(?: --(?:repair|force|engine \w+))?)", message)
    assert found is not None, message
    return shlex.split(found[1])


def check_and_follow(model_dir: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The error of `boiler status --check`, and what the command in it printed."""
    assert status.main([str(model_dir), "--check"]) in (1, 2)
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert index.main([*advised(error), "--workers", "1"]) == 0
    return capsys.readouterr().out


def assert_whole(model_dir: Path, made: Path) -> None:
    opened, first = generation.check(model_dir), generation.open(made / "m")
    assert (opened.vectors * first.vectors).sum(axis=1).min() > 0.99999
    assert np.array_equal(opened.rows, first.rows)
    assert status.main([str(model_dir), "--check"]) == 0


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
@pytest.mark.parametrize(
    "name",
    [*("vectors.npy", "rows.npy", "item_vectors.npy", "pairs.npy", "map.npy", "meta.sqlite", "annoy", TENSORS),
     *("boiler.json", "encoder.pt", manifest.MANIFEST_FILE)],
)  # fmt: skip
def test_a_damaged_file_of_an_index_is_published_again(
    model_dir: Path, made: Path, name: str, damage: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    damage((model_dir / "current" / name).resolve())
    out = check_and_follow(model_dir, capsys)
    assert "embedded" not in out
    assert_whole(model_dir, made)


def test_a_damaged_catalog_is_rebuilt(model_dir: Path, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.truncate(model_dir / CATALOG_FILE, 8192)
    assert "4 sounds" in check_and_follow(model_dir, capsys)
    assert_whole(model_dir, made)


def test_a_missing_catalog_is_rebuilt(model_dir: Path, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model_dir / CATALOG_FILE).unlink()
    assert index.main([str(model_dir)]) == 2
    words = advised(capsys.readouterr().err)
    assert words == [str(model_dir), "--repair"]
    assert index.main([*words, "--workers", "1"]) == 0
    assert_whole(model_dir, made)


def test_with_the_sounds_elsewhere_the_catalog_is_rebuilt_all_the_same(
    model_dir: Path, made: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (model_dir / CATALOG_FILE).unlink()
    (made / "sounds").rename(made / "away")
    try:
        assert index.main([str(model_dir), "--repair"]) == 0
        assert "is not here" in capsys.readouterr().out
    finally:
        (made / "away").rename(made / "sounds")
    assert index.main([str(model_dir), "--workers", "1"]) == 0
    assert_whole(model_dir, made)


def test_with_neither_catalog_nor_index_everything_is_embedded_again(
    model_dir: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.truncate(model_dir / CATALOG_FILE, 8192)
    flip((model_dir / "vectors.npy").resolve())
    assert index.main([str(model_dir), "--repair"]) == 2
    error = capsys.readouterr().err
    assert f"delete {model_dir}" in error
    shutil.rmtree(model_dir)
    words = shlex.split(error.partition("boiler index ")[2].replace("DIR", str(made / "sounds"), 1))
    assert index.main([*words, "MFCCStats", "--workers", "1"]) == 0
    assert_whole(model_dir, made)


def test_a_lost_encoder_is_made_again(model_dir: Path, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (model_dir / ".encoder.pt", (model_dir / "encoder.pt").resolve()):
        flip(path)
    assert index.main([str(model_dir)]) == 2
    words = advised(capsys.readouterr().err)
    assert words == [str(model_dir), "--force"]
    assert index.main([*words, "--workers", "1"]) == 0
    assert "4 embedded" in capsys.readouterr().out
    assert_whole(model_dir, made)


def test_an_encoder_is_kept_twice_and_one_copy_restores_the_other(
    model_dir: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(model_dir / ".encoder.pt")
    write(made / "sounds" / "new.wav", tone(900, 0.5, 8_000), 8_000)
    try:
        assert index.main([str(model_dir), "--workers", "1"]) == 0
    finally:
        (made / "sounds" / "new.wav").unlink()
    assert (model_dir / ".encoder.pt").read_bytes() == (model_dir / "encoder.pt").read_bytes()
    assert not (model_dir / ".encoder.pt").samefile(model_dir / "encoder.pt")


def test_another_format_is_published_again(model_dir: Path, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = (model_dir / "boiler.json").resolve()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format_version": 99}))
    manifest.write_manifest(file.parent)
    check_and_follow(model_dir, capsys)
    assert_whole(model_dir, made)


def test_an_index_without_a_map_gets_one(model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = (model_dir / "current" / "map.npy").resolve()
    file.unlink()
    manifest.write_manifest(file.parent)
    assert generation.open(model_dir).map_points is None
    assert index.main([str(model_dir), "--workers", "1"]) == 0
    assert generation.open(model_dir).map_points is not None


def test_an_engine_that_is_missing_is_added(model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search.main([str(model_dir), "0.wav", "--engine", "hnsw"]) == 2
    words = shlex.split(capsys.readouterr().err.partition("boiler index ")[2].partition(" adds")[0])
    assert index.main([str(model_dir), *words, "--workers", "1"]) == 0
    assert search.main([str(model_dir), "0.wav", "--engine", "hnsw"]) == 0
