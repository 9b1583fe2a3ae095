"""A damaged catalog is refused, and rebuilt from the index without embedding."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from sounds import tone, write

from boiler.catalog.catalog import CATALOG_FILE, Catalog
from boiler.errors import CatalogError, DamagedCatalogError, ModelDirError
from boiler.indexing import pipeline
from boiler.indexing.pipeline import IndexSettings
from boiler.indexing.repair import repair
from boiler.store import generation


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> IndexSettings:
    """Sounds of several windows, twins, silence, a broken file and an odd name, indexed. Do not write there."""
    folder = tmp_path_factory.mktemp("repair") / "sounds"
    (folder / "low").mkdir(parents=True)
    for n in range(4):
        write(folder / "low" / f"{n}.wav", tone(200 + 50 * n, 0.5 + 6 * n, 8_000), 8_000)
    shutil.copy(folder / "low" / "1.wav", folder / "twin.wav")
    write(folder / "silent.wav", np.zeros(8_000), 8_000)
    write(folder / "cafe\u0301.wav", tone(900, 0.5, 8_000), 8_000)
    (folder / "bad.wav").write_bytes(b"RIFF")
    table = folder.parent / "labels.csv"
    table.write_text("id,label,bpm\nlow/0.wav,first,120\n")
    settings = IndexSettings(
        folder, "MFCCStats", model_dir=folder.parent / "m", metadata=table, exclude=("nothing",), workers=1
    )
    pipeline.index(settings)
    return settings


@pytest.fixture
def settings(indexed: IndexSettings, tmp_path: Path) -> IndexSettings:
    assert indexed.model_dir is not None
    shutil.copytree(indexed.model_dir, tmp_path / "m", symlinks=True)
    return replace(indexed, model_dir=tmp_path / "m")


def published(model_dir: Path) -> list[dict[str, object]]:
    with generation.open(model_dir).items() as database:
        return [asdict(item) for item in database.items()]


def flip_a_vector(path: Path) -> None:
    """Flip one bit of a vector, which SQLite does not notice."""
    with Catalog(path) as catalog:
        (vector,) = catalog.db.execute("SELECT vector FROM windows LIMIT 1").fetchone()
    data = bytearray(path.read_bytes())
    data[data.index(vector[:64])] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "deleted": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"not a database, and long enough to be looked at" * 50),
    "a bit of a vector": flip_a_vector,
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "half": lambda path: os.truncate(path, path.stat().st_size // 8192 * 4096),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_lost_catalog_is_rebuilt_without_embedding(settings: IndexSettings, damage: str) -> None:
    model_dir = settings.model_dir
    assert model_dir is not None
    path = model_dir / CATALOG_FILE
    with Catalog(path) as catalog:
        numbers = {id: n for n, id in catalog.db.execute("SELECT n, id FROM files")}
        catalog.db.execute("INSERT INTO files (id, size_bytes, mtime_ns, seen) VALUES ('x.wav', 1, 1, '')")
        catalog.db.execute("DELETE FROM files WHERE id = 'x.wav'")
    before, vectors = published(model_dir), np.array(generation.open(model_dir).vectors)
    DAMAGE[damage](path)
    with pytest.raises(DamagedCatalogError, match=r"boiler index .* --repair"):
        pipeline.index(settings)
    assert published(model_dir) == before
    assert "7 sounds" in repair(model_dir)
    assert "nothing to repair" in repair(model_dir)
    report = pipeline.index(IndexSettings(settings.wav_dir, model_dir=model_dir, metadata=settings.metadata, workers=1))
    assert (report.tally.embedded, report.changes.new, report.changes.changed) == (0, [], [])
    assert [failure.id for failure in report.failures] == ["bad.wav"]
    assert published(model_dir) == before
    assert (generation.open(model_dir).vectors * vectors).sum(axis=1).min() > 0.99999
    with Catalog(path) as catalog:
        catalog.check()
        after = {id: n for n, id in catalog.db.execute("SELECT n, id FROM files")}
        del numbers["bad.wav"], after["bad.wav"]
        assert after == numbers
        assert '"exclude": ["nothing"]' in str(catalog.get("settings"))


def test_a_number_is_not_given_again_after_a_repair(settings: IndexSettings, tmp_path: Path) -> None:
    folder = tmp_path / "sounds"
    shutil.copytree(settings.wav_dir, folder)
    settings = replace(settings, wav_dir=folder)
    write(folder / "last.wav", tone(700, 0.5, 8_000), 8_000)
    pipeline.index(settings)
    assert settings.model_dir is not None
    last_n = max(item["n"] for item in published(settings.model_dir))  # type: ignore[type-var]
    (folder / "last.wav").unlink()
    pipeline.index(settings)
    (settings.model_dir / CATALOG_FILE).unlink()
    repair(settings.model_dir)
    write(folder / "new.wav", tone(800, 0.5, 8_000), 8_000)
    assert pipeline.index(settings).tally.embedded == 1
    assert max(item["n"] for item in published(settings.model_dir)) > last_n  # type: ignore[operator,type-var]


def test_sounds_that_are_away_during_the_repair_are_unchanged_when_they_are_back(
    settings: IndexSettings, tmp_path: Path
) -> None:
    folder = tmp_path / "sounds"
    shutil.copytree(settings.wav_dir, folder)
    for path in folder.rglob("*.wav"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    settings = replace(settings, wav_dir=folder)
    pipeline.index(settings)
    assert settings.model_dir is not None
    (settings.model_dir / CATALOG_FILE).unlink()
    folder.rename(tmp_path / "away")
    repair(settings.model_dir)
    (tmp_path / "away").rename(folder)
    report = pipeline.index(settings)
    assert (report.changes.new, report.changes.moved, report.changes.gone) == ([], [], [])
    assert report.changes.changed == ["bad.wav"]  # whose size and time no index has
    assert report.tally.embedded == 0


def test_an_index_of_an_earlier_version_is_enough(settings: IndexSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.model_dir is not None
    monkeypatch.setattr(pipeline, "catalog_settings", lambda catalog: "{}")
    pipeline.index(replace(settings, seed=1))
    (settings.model_dir / CATALOG_FILE).unlink()
    repair(settings.model_dir)
    assert pipeline.index(replace(settings, seed=1)).tally.embedded == 0


def test_with_no_whole_index_there_is_nothing_to_rebuild_from(settings: IndexSettings, tmp_path: Path) -> None:
    assert settings.model_dir is not None
    (settings.model_dir / "vectors.npy").resolve().unlink()
    (settings.model_dir / CATALOG_FILE).write_bytes(b"")
    with pytest.raises(CatalogError, match="no undamaged index"):
        repair(settings.model_dir)
    with pytest.raises(ModelDirError, match="run boiler index"):
        repair(tmp_path)


def test_a_newer_catalog_is_not_taken_for_a_damaged_one(settings: IndexSettings) -> None:
    assert settings.model_dir is not None
    with Catalog(settings.model_dir / CATALOG_FILE) as catalog:
        catalog.db.execute("PRAGMA user_version = 99")
    before = (settings.model_dir / CATALOG_FILE).read_bytes()
    with pytest.raises(CatalogError, match="update boiler"):
        repair(settings.model_dir)
    assert (settings.model_dir / CATALOG_FILE).read_bytes() == before


@pytest.mark.parametrize("kind", ["a bit", "a page of zeros"])
def test_whatever_is_damaged_in_the_catalog_is_noticed_or_changes_nothing(
    indexed: IndexSettings, tmp_path: Path, kind: str
) -> None:
    """Every page, many places: either it is refused, or all that it holds is as it was."""
    assert indexed.model_dir is not None
    data = (indexed.model_dir / CATALOG_FILE).read_bytes()
    path = tmp_path / CATALOG_FILE

    def contents() -> dict[str, list[tuple[object, ...]]]:
        with Catalog(path) as catalog:
            catalog.check()
            tables = ("meta", "files", "contents", "windows")
            every = "SELECT * FROM {} ORDER BY 1, 2"
            found = {table: catalog.db.execute(every.format(table)).fetchall() for table in tables}
            return found | {"heard": list(catalog.rows()), "pending": [(one.n,) for one in catalog.queue]}

    path.write_bytes(data)
    whole = contents()
    chance, noticed = random.Random(0), 0
    for page in range(0, len(data), 4096):
        for _ in range(1 if kind != "a bit" else 12):
            damaged = bytearray(data)
            if kind == "a bit":
                damaged[page + chance.randrange(4096)] ^= 1 << chance.randrange(8)
            else:
                damaged[page : page + 4096] = bytes(4096)
            for log in tmp_path.iterdir():
                log.unlink()
            path.write_bytes(damaged)
            with suppress(CatalogError):
                assert contents() == whole
                continue
            noticed += 1
    assert noticed > len(data) // 4096 / 2
