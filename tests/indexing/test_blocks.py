"""Blocks of files, embedded apart from the catalog, give the rows, vectors and failures of the local indexer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from sounds import tone, write

from boiler.catalog.catalog import CATALOG_FILE, Catalog
from boiler.errors import ModelDirError
from boiler.indexing import blocks, pipeline
from boiler.indexing.blocks import RESULT_SCHEMA, BlockEmbedder, BlockFolder, BlockSettings
from boiler.indexing.embed import EmbedTally
from boiler.indexing.pipeline import IndexSettings, index
from boiler.indexing.report import Report


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of every kind: short, long, silent, equal to one of another block, bad, with a name that is not UTF-8."""
    folder = tmp_path_factory.mktemp("sounds")
    for n in range(9):
        write(folder / f"{n}.wav", tone(200 + 30 * n, 0.3 + n / 20, 8_000), 8_000)
    write(folder / "long.wav", tone(440, 30.0, 8_000), 8_000)
    write(folder / "silent.wav", np.zeros(8_000), 8_000)
    shutil.copy(folder / "0.wav", folder / "z-same.wav")
    shutil.copy(folder / "1.wav", os.fsdecode(os.fsencode(folder) + b"/caf\xe9.wav"))
    (folder / "bad.wav").write_bytes(b"no sound")
    return folder


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_FILES", 4)


@pytest.fixture(scope="module")
def local(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model_dir = tmp_path_factory.mktemp("local") / "m"
    run(folder, model_dir)
    return model_dir


def run(folder: Path, model_dir: Path, on: str | None = None) -> Report:
    return index(IndexSettings(folder, "MFCCStats", model_dir=model_dir, device="cpu", workers=1, on=on))


def contents(model_dir: Path) -> tuple[list[object], list[tuple[object, ...]], np.ndarray]:
    """All files with what became of them, all rows, and all vectors."""
    with Catalog(model_dir / CATALOG_FILE, read_only=True) as catalog:
        sql = (
            "SELECT n, id, files.sha256, problem, reason, tries_left, contents.size_bytes, duration_s, sample_rate_hz,"
            " channels, format FROM files LEFT JOIN contents USING (sha256) ORDER BY files.n"
        )
        sql = sql.replace("SELECT n,", "SELECT files.n,")
        rows = list(catalog.rows())
        vectors = np.stack([np.frombuffer(vector, "<f4") for *_, vector in rows])
        return catalog.db.execute(sql).fetchall(), [row[:3] for row in rows], vectors


def assert_same(model_dir: Path, local: Path) -> None:
    found, expected = contents(model_dir), contents(local)
    assert found[:2] == expected[:2]
    np.testing.assert_allclose(found[2], expected[2], atol=1e-6)


def commit(results: BlockFolder, name: str, tables: list[pyarrow.Table]) -> None:
    """Write results as Ray Data does."""
    results.results.mkdir(exist_ok=True)
    results.commits.mkdir(exist_ok=True)
    for number, table in enumerate(tables):
        parquet.write_table(table, results.results / f"{name}-{number}.parquet")
    parquet.write_table(pyarrow.table({"n": [0]}), results.commits / f"{name}.parquet")


Embed = Callable[[Catalog, BlockSettings, EmbedTally, object], None]


def embed_here(
    catalog: Catalog, settings: BlockSettings, tally: EmbedTally, shown: object, n_blocks: int | None = None
) -> None:
    """`boiler.indexing.ray.embed_on_ray` in this process. `n_blocks`: after so many blocks it is killed."""
    results = BlockFolder.create(catalog, settings)
    with closing(BlockEmbedder(settings)) as embed:
        for number in range(results.n_blocks):
            if number == n_blocks:
                raise KeyboardInterrupt
            commit(results, f"{number:04}", list(embed(results.read_block(number))))
    results.take_in(catalog, tally)
    results.delete()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[[Embed], None]:
    """Replace the cluster."""

    def replace(embed: Embed) -> None:
        monkeypatch.setattr(pipeline, "connected", lambda address: nullcontext())
        monkeypatch.setattr(pipeline, "embed_on_ray", embed)

    return replace


@pytest.mark.slow
def test_blocks_give_what_the_local_indexer_gives(
    folder: Path, local: Path, tmp_path: Path, here: Callable[[Embed], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "RESULT_BYTES", 1)  # a piece for each file
    here(embed_here)
    report = run(folder, tmp_path / "m", on="ray")
    assert_same(tmp_path / "m", local)
    assert (report.tally.embedded, report.tally.reused, report.tally.failed) == (11, 2, 1)
    assert report.tally.windows == len(contents(local)[1]) - 2  # the copies have those of the originals
    assert [failure.id for failure in report.failures] == ["bad.wav"]
    assert not (tmp_path / "m" / blocks.FOLDER).exists()


@pytest.mark.slow
@pytest.mark.parametrize("on", [None, "ray"])
def test_what_a_killed_run_had_finished_is_taken_in_by_the_next(
    folder: Path, local: Path, tmp_path: Path, here: Callable[[Embed], None], on: str | None
) -> None:
    here(lambda *arguments: embed_here(*arguments, n_blocks=2))
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "m", on="ray")
    assert len(contents_of_queue(tmp_path / "m")) == 14  # nothing was taken in yet
    planned: list[int] = []

    def embed(catalog: Catalog, *arguments: object) -> None:
        planned.append(len(catalog.queue))
        embed_here(catalog, *arguments)  # type: ignore[arg-type]

    here(embed)
    report = run(folder, tmp_path / "m", on=on)
    assert planned == ([6] if on else [])  # 8 were finished, and one of them was bad
    assert (report.tally.embedded, report.tally.failed) == (11, 1)
    assert_same(tmp_path / "m", local)
    assert not (tmp_path / "m" / blocks.FOLDER).exists()


def contents_of_queue(model_dir: Path) -> list[str]:
    with Catalog(model_dir / CATALOG_FILE, read_only=True) as catalog:
        return [pending.found.id for pending in catalog.queue]


@pytest.fixture(scope="module")
def killed_once(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model directory of a run that was killed after the first block (0 to 3.wav)."""
    model_dir = tmp_path_factory.mktemp("killed") / "m"
    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(blocks, "BLOCK_FILES", 4)
        patched.setattr(pipeline, "connected", lambda address: nullcontext())
        patched.setattr(pipeline, "embed_on_ray", lambda *arguments: embed_here(*arguments, n_blocks=1))
        run(folder, model_dir, on="ray")
    return model_dir


@pytest.fixture
def killed(folder: Path, killed_once: Path, tmp_path: Path) -> Path:
    """A copy of it, and one of the folder, for this test."""
    shutil.copytree(folder, tmp_path / "copy")
    return Path(shutil.copytree(killed_once, tmp_path / "m"))


@pytest.mark.slow
def test_results_of_files_that_changed_or_are_gone_are_dropped(killed: Path, tmp_path: Path) -> None:
    write(tmp_path / "copy/1.wav", tone(5000, 0.4, 16_000), 16_000)
    (tmp_path / "copy/2.wav").unlink()
    report = run(tmp_path / "copy", killed)
    fresh = run(tmp_path / "copy", tmp_path / "fresh")
    assert report.n_items == fresh.n_items == 12
    # Other numbers, since a number is never used again.
    assert [row[1:] for row in contents(killed)[0]] == [row[1:] for row in contents(tmp_path / "fresh")[0]]  # type: ignore[index]
    _, rows, vectors = contents(killed)
    of = {n: vector for (n, *_), vector in zip(rows, vectors, strict=True)}
    numbers = {id: n for n, id, *_ in contents(killed)[0]}  # type: ignore[misc, has-type]
    # The file had the same bytes as its copy when it was embedded.
    assert not np.allclose(of[numbers["1.wav"]], of[numbers["caf\\xe9.wav"]], atol=0.01)


@pytest.mark.slow
def test_results_of_other_windows_are_dropped(killed: Path, tmp_path: Path) -> None:
    settings = IndexSettings(tmp_path / "copy", "MFCCStats", model_dir=killed, windows="first", device="cpu", workers=1)
    index(pipeline.replace(settings, force=True))
    with Catalog(killed / CATALOG_FILE, read_only=True) as catalog:
        assert catalog.n_rows() == 12  # the long one has one row, too
    assert not (killed / blocks.FOLDER).exists()


def test_results_that_are_not_committed_are_not_read(killed: Path) -> None:
    (commit,) = killed.glob(f"{blocks.FOLDER}/*/commits/*.parquet")
    commit.rename(commit.with_name(f"{commit.stem}.pending.parquet"))
    (result,) = killed.glob(f"{blocks.FOLDER}/*/results/*.parquet")
    result.write_bytes(result.read_bytes()[:100])
    tally = EmbedTally()
    with Catalog(killed / CATALOG_FILE) as catalog:
        BlockFolder(result.parents[1]).take_in(catalog, tally)
    assert tally == EmbedTally()


def test_taking_in_twice_changes_nothing(killed: Path) -> None:
    """As after a kill between storing results and deleting them."""
    (path,) = killed.glob(f"{blocks.FOLDER}/*")
    (result,) = path.glob("results/*.parquet")
    kept = result.read_bytes()
    first, second = EmbedTally(), EmbedTally()
    with Catalog(killed / CATALOG_FILE) as catalog:
        BlockFolder(path).take_in(catalog, first)
        rows = list(catalog.rows())
        result.write_bytes(kept)
        BlockFolder(path).take_in(catalog, second)
        assert list(catalog.rows()) == rows
    assert (first.embedded, second) == (4, EmbedTally())


def test_a_file_that_vanishes_or_cannot_be_read_is_told_to_the_catalog(killed: Path, tmp_path: Path) -> None:
    (tmp_path / "copy/4.wav").unlink()
    with Catalog(killed / CATALOG_FILE) as catalog:
        path, sha256 = killed / ".encoder.pt", str(catalog.get("encoder_sha256"))
        spec = pipeline._encoder_windows(IndexSettings(tmp_path, "MFCCStats"), None)
        settings = BlockSettings(str(tmp_path / "copy"), path, sha256, spec)
        results, tally = BlockFolder.create(catalog, settings), EmbedTally()
        with closing(BlockEmbedder(settings)) as embed:
            (table,) = embed(results.read_block(1))
        rows = table.to_pylist()
        assert [row["outcome"] for row in rows] == ["vanished", "embedded", "embedded", "embedded"]
        rows[1] |= {"outcome": "unreadable", "reason": "it cannot be read: no permission"}
        rows[2] |= {"outcome": "may pass", "reason": "time ran out"}
        commit(results, "0", [pyarrow.Table.from_pylist(rows, RESULT_SCHEMA)])
        results.take_in(catalog, tally)
        failures = {failure.id: failure.reason for failure in catalog.failures()}
        assert failures == {
            "5.wav": "it cannot be read: no permission",
            "6.wav": "time ran out; the next run tries again",
        }
        assert "4.wav" not in catalog.ids()
    assert (tally.vanished, tally.failed, tally.embedded) == (1, 2, 1)


def test_another_encoder_on_a_machine_is_refused(killed: Path, tmp_path: Path) -> None:
    spec = pipeline._encoder_windows(IndexSettings(tmp_path, "MFCCStats"), None)
    with pytest.raises(ModelDirError, match="storage that all machines share"):
        BlockEmbedder(BlockSettings(str(tmp_path), killed / ".encoder.pt", "0" * 64, spec))
