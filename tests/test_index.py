"""The command `boiler index`: arguments, output, exit codes; and a killed run loses nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import killing
import pytest
from sounds import tone, write

from boiler import files, index
from boiler.catalog.catalog import CATALOG_FILE, Catalog
from boiler.encoder.general import WEIGHTS
from boiler.encoder.joined_general import JoinedGeneral
from boiler.indexing.binding import read_binding
from boiler.store import generation


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my sounds" / "low").mkdir(parents=True)
    for n in range(3):
        write(tmp_path / "my sounds" / "low" / f"{n}.wav", tone(200 + 50 * n, 0.5 + n / 10, 8_000), 8_000)
    return tmp_path / "my sounds"


def call(*args: str | Path) -> int:
    return index.main([str(word) for word in args])


def test_all_spellings_of_flags_work_and_the_last_line_exports_the_model_dir(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--wav_dir", folder, "--model-dir", tmp_path / "the index", "--workers=1", "MFCCStats") == 0
    out = capsys.readouterr().out
    assert "3 sounds, 3 windows" in out
    assert out.splitlines()[-1] == f"export BOILER_MODEL_DIR='{tmp_path / 'the index'}'"


def test_the_default_model_directory_is_below_exp(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(folder, "MFCCStats", "--workers", "1") == 0
    assert generation.open(tmp_path / "exp" / "my sounds" / "MFCCStats").header.n_items == 3


@pytest.mark.slow
def test_without_an_encoder_the_general_one_is_used_and_bound_by_its_weights(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(folder, "--workers", "1") == 0
    model_dir = tmp_path / "exp" / "my sounds" / "JoinedGeneral"
    assert generation.open(model_dir).header.encoder == "JoinedGeneral"
    with Catalog(model_dir / CATALOG_FILE, read_only=True) as catalog:
        bound = read_binding(catalog)
    assert bound is not None
    assert bound.checkpoint_sha256 == files.sha256_of(WEIGHTS)
    # Weights of a later version do not change it.
    monkeypatch.setattr(JoinedGeneral, "own_weights", tmp_path / "other")
    assert call(folder, "--workers", "1") == 0


@pytest.mark.slow
def test_an_index_of_the_former_default_is_kept_up(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(folder, "JoinedDescriptors", "--workers", "1") == 0
    assert call(folder, "--workers", "1") == 0
    assert [path.name for path in (tmp_path / "exp" / "my sounds").iterdir()] == ["JoinedDescriptors"]
    assert call(folder, "JoinedGeneral", "--workers", "1") == 0
    assert call(folder, "--workers", "1") == 0
    assert generation.open(tmp_path / "exp" / "my sounds" / "JoinedGeneral").header.encoder == "JoinedGeneral"


@pytest.mark.slow
def test_a_deprecated_encoder_name_and_its_directory_still_work(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.warns(DeprecationWarning, match="use JoinedDescriptors"):
        assert call(folder, "JoinedParts", "--workers", "1") == 0
    new, old = (tmp_path / "exp" / "my sounds" / name for name in ("JoinedDescriptors", "JoinedParts"))
    assert generation.open(new).header.encoder == "JoinedDescriptors"
    new.rename(old)  # where version 0.1 put it
    capsys.readouterr()
    assert call(folder, "--workers", "1") == 0
    assert not new.exists()
    assert "JoinedParts" in capsys.readouterr().out


def test_a_model_directory_alone_is_updated(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(folder, "MFCCStats", "--model_dir", tmp_path / "m", "--workers", "1")
    write(folder / "new.wav", tone(700, 1.0, 8_000), 8_000)
    for args in ([tmp_path / "m"], ["--model_dir", tmp_path / "m"]):
        assert call(*args, "--workers", "1") == 0
        assert "4 sounds" in capsys.readouterr().out


def test_broken_files_are_listed_at_the_end_and_the_exit_code_is_1(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.wav").write_bytes(b"")
    assert call(folder, "MFCCStats", "--model_dir", tmp_path / "m", "--workers", "1") == 1
    captured = capsys.readouterr()
    assert "bad.wav: it is empty" in captured.err
    assert "export BOILER_MODEL_DIR=" in captured.out


def test_a_dry_run_prints_what_would_be_done(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(folder, "MFCCStats", "--model_dir", tmp_path / "m", "--dry_run") == 0
    assert capsys.readouterr().out.splitlines()[0] == "new      low/0.wav"
    assert not (tmp_path / "m").exists()


def test_json_prints_the_report(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(folder, "MFCCStats", "--model_dir", tmp_path / "m", "--workers", "1", "--json")
    report = json.loads(capsys.readouterr().out)
    assert (report["n_items"], report["tally"]["embedded"], report["failures"]) == (3, 3, [])
    assert report["bottleneck"] in ("decoding", "embedding")


@pytest.mark.slow
def test_rollback_restores_the_previous_index(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(folder, "MFCCStats", "--model_dir", tmp_path / "m", "--workers", "1")
    write(folder / "new.wav", tone(700, 1.0, 8_000), 8_000)
    call(folder, "--model_dir", tmp_path / "m", "--workers", "1")
    assert call(tmp_path / "m", "--rollback") == 0
    assert "3 sounds" in capsys.readouterr().out.splitlines()[-1]
    assert call(tmp_path / "m", "--rollback") == 2
    capsys.readouterr()
    assert call(tmp_path / "m", "--undo_rollback") == 0
    assert "4 sounds" in capsys.readouterr().out.splitlines()[-1]
    assert call(tmp_path / "m", "--rollback") == 0
    assert call(folder, "--model_dir", tmp_path / "m", "--workers", "1") == 0
    assert generation.open(tmp_path / "m").header.n_items == 4


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "no folder given"),
        (["MFCCStats"], "no folder given"),
        (["missing", "MFCCStats"], "missing is not a folder"),
        (["{folder}", "MFCCStat"], "did you mean 'MFCCStats'"),
        (["--wav_dir", "{folder}", "{folder}"], "no encoder is called"),
        (["a", "b", "c"], "too many arguments"),
        (["{folder}", "--rollback"], "run boiler index"),
        (["{folder}", "MFCCStats", "--hop_s", "0"], "hop_s must be above 0"),
        (["{folder}", "MFCCStats", "--exclude", "*"], "match --include and --exclude"),
        (["{folder}", "BagTopVQVAE"], "--pt_path"),
    ],
)
def test_an_invalid_command_is_refused_in_one_sentence(
    folder: Path,
    tmp_path: Path,
    args: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(*(word.format(folder=folder) for word in args)) == 2
    captured = capsys.readouterr().err
    assert message in captured
    assert "Traceback" not in captured
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize("args", [["--workers", "0"], ["--batch_size", "0"], ["--workers", "two"]])
def test_invalid_numbers_are_refused_with_the_name_of_the_flag(
    folder: Path, args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        call(folder, "MFCCStats", *args)
    assert args[0] in capsys.readouterr().err


def test_a_model_directory_may_be_given_in_both_ways(folder: Path, tmp_path: Path) -> None:
    assert call(folder, "MFCCStats", "--model_dir", tmp_path / "m", "--workers", "1") == 0
    assert call(tmp_path / "m", "--model_dir", tmp_path / "m", "--workers", "1") == 0
    assert generation.open(tmp_path / "m").header.n_items == 3


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call("--help")
    assert "$ boiler index ~/sounds --pt_path exp/mine/vqvae_012.pt BagTopVQVAE" in capsys.readouterr().out


def test_a_table_that_hardly_matches_is_said_and_code_1(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text("file_name;label\n0.wav;low\nx.wav;high\ny.wav;high\n")
    words = (folder, "MFCCStats", "--model_dir", tmp_path / "m", "--workers", "1", "--metadata", tmp_path / "t.csv")
    assert call(*words) == 1
    assert "1 of 3 rows belong to a sound; the first without a sound: x.wav" in capsys.readouterr().out
    assert call(tmp_path / "m", "--no_metadata") == 0


@pytest.mark.slow
def test_decoders_that_are_killed_are_sentences(
    folder: Path, tmp_path: Path, hostile: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(8):
        write(folder / f"killed{n}.wav", tone(300 + n, 0.5, 8_000), 8_000)
    assert call(folder, "MFCCStats", "--model_dir", tmp_path / "m", "--workers", "1") == 1
    error = capsys.readouterr().err
    assert sum("killed" in line and "its decoder" in line for line in error.splitlines()) == 8
    assert generation.check(tmp_path / "m").header.n_items == 3


# --- kills -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return killing.write_many(tmp_path / "many")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_fifty_kills_in_all_stages_lose_nothing(many: Path, tmp_path: Path) -> None:
    counts = killing.kill_repeatedly(many, tmp_path, 50)
    assert sum(counts[stage] for stage in killing.STAGES) == 50
    assert all(counts[stage] for stage in killing.STAGES)


@pytest.mark.slow
def test_a_kill_while_embedding_loses_nothing(many: Path, tmp_path: Path) -> None:
    """Killed as soon as the catalog contains windows, not after a fixed time."""
    from boiler.catalog.catalog import Catalog

    run = killing.start(many, tmp_path / "m")
    path = tmp_path / "m" / "catalogue.sqlite"
    n_windows = 0
    while not n_windows and run.poll() is None:
        # Looked at from outside, without taking part: there may be no table yet.
        with (
            contextlib.suppress(sqlite3.OperationalError),
            contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db,
        ):
            (n_windows,) = db.execute("SELECT COUNT(*) FROM windows").fetchone()
    os.killpg(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    assert run.stderr is not None
    run.stderr.close()
    with Catalog(path) as store:
        before = {row[:2]: row[2] for row in store.db.execute("SELECT c, start_s, vector FROM windows")}
    assert before
    assert call(many, "--model_dir", tmp_path / "m", "--workers", "1", "--batch_size", "2") == 0
    with Catalog(path) as store:
        after = {row[:2]: row[2] for row in store.db.execute("SELECT c, start_s, vector FROM windows")}
    assert all(after[key] == vector for key, vector in before.items())  # kept, not made again
    assert call(many, "MFCCStats", "--model_dir", tmp_path / "reference", "--workers", "1", "--batch_size", "2") == 0
    assert killing.same(tmp_path / "m", tmp_path / "reference")


@pytest.mark.slow
def test_a_second_indexer_is_refused_with_the_process_of_the_first(many: Path, tmp_path: Path) -> None:
    with killing.start(many, tmp_path / "m") as run:
        while not (tmp_path / "m" / "catalogue.sqlite").is_file():
            assert run.poll() is None
        os.kill(run.pid, signal.SIGSTOP)  # it cannot end before the second is there
        try:
            second = subprocess.run(
                [sys.executable, "-m", "boiler.index", str(many), "MFCCStats", "--model_dir", str(tmp_path / "m")],
                env=killing.ENVIRONMENT,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            os.kill(run.pid, signal.SIGCONT)
        run.communicate()
    assert second.returncode == 2
    assert f"process {run.pid}" in second.stderr
    assert run.returncode == 0


@pytest.mark.slow
def test_a_full_disk_is_reported_in_one_sentence_and_the_old_index_stays(folder: Path, tmp_path: Path) -> None:
    assert call(folder, "MFCCStats", "--model_dir", tmp_path / "m", "--workers", "1") == 0
    for n in range(40):
        write(folder / f"more{n}.wav", tone(300 + n, 0.5, 8_000), 8_000)
    script = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY));"
        "from boiler.index import main; sys.exit(main())"
    )
    for limit in (60_000, 100_000):
        full = subprocess.run(
            [sys.executable, "-c", script, str(limit), str(tmp_path / "m"), "--workers", "1"],
            env=killing.ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert full.returncode == 2, full.stderr
        assert "free some space" in full.stderr.lower()
        assert "Traceback" not in full.stderr
        assert generation.check(tmp_path / "m").header.n_items == 3
    assert call(tmp_path / "m", "--workers", "1") == 0
    assert generation.check(tmp_path / "m").header.n_items == 43


@pytest.mark.slow
def test_another_engine_is_published_without_embedding_again(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model_dir = tmp_path / "m"

    def run(*args: str) -> tuple[bool, int, dict[str, Any]]:
        assert call(model_dir, "--workers", "1", "--json", *args) == 0
        report = json.loads(capsys.readouterr().out)
        return report["published"], report["tally"]["embedded"], dict(generation.open(model_dir).header.engine)

    assert call(folder, "MFCCStats", "--model_dir", model_dir, "--workers", "1") == 0
    capsys.readouterr()
    with closing(generation.open(model_dir).connect()) as db:  # as in the version before, which knew no choice
        assert "engine" not in dict(map(tuple, db.execute("SELECT key, value FROM meta")))
    assert run()[0] is False
    published, embedded, entry = run("--engine", "hnsw", "--engine-option", "width=40", "--engine-option=n_links=8")
    assert (published, embedded, entry["name"]) == (True, 0, "hnsw")
    assert entry["hnsw"]["width"] == 40
    assert entry["hnsw"]["n_links"] == 8
    assert run()[0] is False  # the choice is kept
    published, _, entry = run("--engine_option", "width=50")  # the engine, too
    assert (published, entry["hnsw"]["width"], entry["hnsw"]["n_links"]) == (True, 50, 24)
    published, _, entry = run("--engine", "hnsw")
    assert (published, entry["hnsw"]["width"]) == (True, 16)
    published, _, entry = run("--engine", "exact")
    assert (published, entry["name"], "hnsw" in entry) == (True, "exact", False)
    published, _, entry = run("--engine", "auto")
    assert (published, entry["name"]) == (True, "exact")
    assert run()[0] is False


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--engine", "hnws"], "no engine is called 'hnws'; did you mean 'hnsw'?"),
        (
            ["--engine", "hnsw", "--engine_option", "witdh=3"],
            "did you mean 'width'? Known: build_width, n_links, width",
        ),
        (["--engine", "hnsw", "--engine_option", "width=wide"], "width must be of type int, not 'wide'"),
        (["--engine", "hnsw", "--engine_option", "width"], "KEY=VALUE"),
        (["--engine", "exact", "--engine_option", "width=3"], "Known: none"),
        (["--engine_option", "width=3"], "belongs to an engine"),
        (["--engine", "nowhere:Flat"], "cannot be imported"),
    ],
)
def test_an_invalid_engine_is_refused_before_anything_is_written(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], message: str
) -> None:
    assert call(folder, "MFCCStats", "--model_dir", tmp_path / "m", *args) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "m").exists()
