"""The README is correct: its Python runs, and its links, commands, flags and files exist."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import running

from boiler import cli, encoder
from boiler.audio.synthesis import write_collection
from boiler.indexing.pipeline import IndexSettings, index
from boiler.search.nearest import Nearest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    write_collection(folder / "sounds", per_kind=2)
    index(IndexSettings(wav_dir=folder / "sounds", encoder="MFCCStats", model_dir=folder / "model", device="cpu"))
    (folder / "dog.wav").write_bytes((folder / "sounds/chirp/chirp_000.wav").read_bytes())
    return folder / "model"


@pytest.fixture(scope="module")
def address(model_dir: Path) -> Iterator[str]:
    with running(["uvicorn", "boiler.api.web:app", "--port", "0"], {"BOILER_MODEL_DIR": str(model_dir)}) as server:
        yield server.url


@pytest.fixture(scope="module")
def printed(model_dir: Path, address: str) -> list[list[str]]:
    """The lines that each Python block prints, pasted one after another, where its index and `dog.wav` are."""
    place = model_dir.parent / "exp/sounds"
    place.mkdir(parents=True)
    (place / "JoinedGeneral").symlink_to(model_dir)
    names: dict[str, object] = {}
    lines = []
    with contextlib.chdir(model_dir.parent):
        for block in PYTHON:
            code = block.replace("http://localhost:8000", address)
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(code, "README.md", "exec"), names)  # noqa: S102  # our own README
            lines.append(out.getvalue().splitlines())
    return lines


def test_the_python_example_finds_neighbours(printed: list[list[str]]) -> None:
    assert len(printed[0]) == 5
    name, label, start_s, distance, _ = printed[0][0].split()
    assert (name, label, start_s) == ("chirp/chirp_000.wav", "chirp", "0.0")
    assert float(distance) == pytest.approx(0, abs=1e-4)


def test_the_http_example_gets_the_same_results(printed: list[list[str]], model_dir: Path) -> None:
    with Nearest(model_dir) as nearest, contextlib.chdir(model_dir.parent):
        expected = [match.id for match in nearest.by_sound("dog.wav", 3)]
    assert [line.split()[0] for line in printed[1]] == expected


def test_all_python_examples_are_tested() -> None:
    assert len(PYTHON) == 2


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", README))
def test_links_and_pictures_exist(link: str) -> None:
    assert (ROOT / link).exists()


def test_commands_flags_and_encoders_exist() -> None:
    assert set(re.findall(r"\$ boiler (\w+)", README)) <= set(cli.COMMANDS)
    first_cells = re.findall(r"^\|([^|]+)\|", README, re.MULTILINE)
    documented = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}
    assert not encoder.ENCODERS.keys() - documented, "encoders that are in no table of the README"
    assert not documented & set(encoder.RENAMED)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:exp|boiler|docs|deploy)/[\w./]+)`", README))))
def test_files_that_are_mentioned_exist(path: str) -> None:
    assert (ROOT / path).exists()
