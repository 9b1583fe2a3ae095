"""Folders that cannot be written, files where folders should be, odd names and times, hardly any sounds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sounds import tone, write

from boiler import index, train_vqvae
from boiler.catalog.scan import stored_mtime_ns
from boiler.cli import evaluate, search, status
from boiler.store import generation


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `sounds` and their model directory `m`, of two generations. Do not write there."""
    top = tmp_path_factory.mktemp("places")
    (top / "sounds").mkdir()
    for n in range(3):
        write(top / "sounds" / f"{n}.wav", tone(200 + 50 * n, 0.5, 8_000), 8_000)
        assert index.main([str(top / "sounds"), "MFCCStats", "--model_dir", str(top / "m"), "--workers", "1"]) == 0
    return top


@pytest.fixture
def read_only(made: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of `made` on a disk that cannot be written."""
    shutil.copytree(made, tmp_path / "disk", symlinks=True)
    if os.geteuid():
        subprocess.run(["chmod", "-R", "a-w", tmp_path / "disk"], check=True)
        yield tmp_path / "disk"
        subprocess.run(["chmod", "-R", "u+w", tmp_path / "disk"], check=True)
        return
    for words in (["--bind", tmp_path / "disk", tmp_path / "disk"], ["-o", "remount,bind,ro", tmp_path / "disk"]):
        if subprocess.run(["mount", *words], check=False, capture_output=True).returncode:
            pytest.skip("a disk cannot be made read-only here")
    yield tmp_path / "disk"
    subprocess.run(["umount", tmp_path / "disk"], check=True)


@pytest.mark.parametrize(
    "words",
    [
        ["m"],
        ["m", "--rollback"],
        ["m", "--repair"],
        ["m", "--force"],
        ["sounds", "--model_dir", "new/m"],
    ],
)
def test_what_cannot_be_written_is_a_sentence_and_code_2(
    read_only: Path, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = generation.open(read_only / "m").name
    monkeypatch.chdir(read_only)
    assert index.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("boiler: ")
    assert "check its permissions" in error
    assert generation.check("m").name == before


def test_what_only_reads_works_on_a_disk_that_cannot_be_written(
    read_only: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(read_only)
    assert index.main(["m", "--dry_run"]) == 0
    assert "0 new, 0 changed, 0 moved, 0 gone, 3 unchanged" in capsys.readouterr().out
    assert status.main(["m", "--check"]) == 0
    assert search.main(["m", "0.wav"]) == 0


def test_training_into_a_folder_that_cannot_be_written_is_a_sentence(
    read_only: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--wav_dir", str(read_only / "sounds"), "--save_path", str(read_only / "run"), "--max_minutes", "0.01"]
    assert train_vqvae.main(words) == 2
    assert "boiler: " in capsys.readouterr().err


def test_a_file_or_the_folder_of_the_sounds_is_no_model_directory(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    shutil.copytree(made / "sounds", tmp_path / "sounds")
    words = [str(tmp_path / "sounds"), "MFCCStats", "--model_dir"]
    for place, message in (
        ("file", "is a file"),
        ("file/m", "Not a directory"),
        ("sounds", "the folder of the sounds"),
    ):
        assert index.main([*words, str(tmp_path / place)]) == 2
        assert message in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "sounds").iterdir()) == ["0.wav", "1.wav", "2.wav"]


def test_a_reader_that_has_seen_enough_is_no_traceback(made: Path) -> None:
    program = "import sys; from boiler.cli import main; sys.exit(main())"
    words = [sys.executable, "-c", program, "status", str(made / "m")]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_control_characters_of_names_do_not_reach_the_terminal(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "a\x1b[31mred\r\x9b.wav"
    (tmp_path / "sounds").mkdir()
    for other in (name, name.replace("red", "twin")):
        shutil.copy(made / "sounds" / "0.wav", tmp_path / "sounds" / other)
    (tmp_path / "sounds" / name.replace("red", "bad")).write_bytes(b"RIFF")
    model_dir = str(tmp_path / "m")
    words = [str(tmp_path / "sounds"), "MFCCStats", "--model_dir", model_dir, "--workers", "1"]
    index.main([*words, "--dry_run"])
    index.main(words)
    status.main([model_dir])
    search.main([model_dir, name])
    search.main([model_dir, "none\x1b[31m"])
    said = "".join(capsys.readouterr())
    assert "a\\x1b[31mred\\x0d\\x9b.wav" in said
    assert not set(said) & {"\x1b", "\r", "\x9b"}


@pytest.mark.parametrize("year_ns", [10**19, -11_644_473_600 * 10**9], ids=["after 2262", "1601"])
def test_a_time_that_64_bits_do_not_hold_is_indexed_and_unchanged_the_next_time(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, year_ns: int
) -> None:
    shutil.copytree(made / "sounds", tmp_path / "sounds")
    os.utime(tmp_path / "sounds" / "0.wav", ns=(0, year_ns))
    assert (tmp_path / "sounds" / "0.wav").stat().st_mtime_ns != stored_mtime_ns(year_ns) or year_ns < 0
    words = [str(tmp_path / "sounds"), "MFCCStats", "--model_dir", str(tmp_path / "m"), "--workers", "1"]
    assert index.main(words) == 0
    first = generation.open(tmp_path / "m").name
    assert index.main(words) == 0
    assert generation.open(tmp_path / "m").name == first
    (tmp_path / "m" / "catalogue.sqlite").unlink()
    assert index.main([str(tmp_path / "m"), "--repair"]) == 0


def test_only_silence_is_said_once_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sounds").mkdir()
    for n in range(2):
        write(tmp_path / "sounds" / f"{n}.wav", np.zeros(8_000 + n), 8_000)
    words = [str(tmp_path / "sounds"), "MFCCStats", "--model_dir", str(tmp_path / "m"), "--workers", "1"]
    for _ in range(2):
        assert index.main(words) == 1
        assert capsys.readouterr().out.count("only silence") == 1
    write(tmp_path / "sounds" / "sound.wav", tone(300, 1.0, 8_000), 8_000)
    assert index.main([*words[:1], *words[2:]]) == 0
    assert generation.open(tmp_path / "m").header.n_items == 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["one", "two", "three", "equal", "one label"])
def test_a_tiny_collection_gives_an_answer_or_a_sentence(
    made: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sounds" / ("label" if kind == "one label" else "")
    folder.mkdir(parents=True)
    for n in range({"one": 1, "two": 2}.get(kind, 3)):
        shutil.copy(made / "sounds" / f"{0 if kind == 'equal' else n}.wav", folder / f"{n}.wav")
    model_dir = str(tmp_path / "m")
    assert index.main([str(tmp_path / "sounds"), "MFCCStats", "--model_dir", model_dir, "--workers", "1"]) == 0
    id = "label/0.wav" if kind == "one label" else "0.wav"
    assert search.main([model_dir, id, "-k", "3"]) == 0
    assert search.main([model_dir, str(folder / "0.wav")]) == 0
    assert status.main([model_dir, "--check"]) == 0
    assert evaluate.main([model_dir, "--out", str(tmp_path / "out")]) in (0, 1, 2)
    assert "Traceback" not in "".join(capsys.readouterr())
