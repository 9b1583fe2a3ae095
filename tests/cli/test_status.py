"""`boiler status`: its figures, text and JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from boiler.cli import status
from boiler.store import generation
from boiler.store.generation import Failure, Header, Item, rows_of

TWO = [Item(0, "0.wav"), Item(1, "1.wav")]


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    """Five sounds and a silent one: 0 and 1 the same bytes, 2 nearly 0, 3 nearly 0 but longer, 4 another sound."""
    vectors = np.float32([[1, 0, 0], [1, 0, 0], [1, 0.01, 0], [1, 0.01, 0], [0, 0, 1]])
    items = [
        Item(0, "a/0.wav", label="a", duration_s=3600.0, format="wav", sha256="x"),
        Item(1, "a/1.wav", label="a", duration_s=3600.0, format="wav", sha256="x"),
        Item(2, "2.mp3", duration_s=3600.05, format="mp3", sha256="y"),
        Item(3, "3.mp3", duration_s=4000.0, format="mp3", sha256="z", warning="it ends 3.0 s early"),
        Item(4, "4.mp3", duration_s=3600.0, format="mp3", sha256="w"),
        Item(5, "5.mp3", duration_s=1.0, format="mp3", sha256="s", silent=True),
    ]
    failures = [Failure("bad.wav", "it is empty")]
    generation.publish(tmp_path / "m", Header("mine", 3), vectors, rows_of(range(5)), items, failures=failures)
    return tmp_path / "m"


def test_the_figures_are_those_of_the_index(model_dir: Path) -> None:
    found = status.status(model_dir)
    assert (found.n_items, found.n_rows, found.n_silent) == (6, 5, 1)
    assert found.hours == pytest.approx(5 + 401.05 / 3600)
    assert found.formats == {"mp3": 4, "wav": 2}
    assert found.labels == {"": 4, "a": 2}
    assert found.failures == {"bad.wav": "it is empty"}
    assert found.warnings == {"3.mp3": "it ends 3.0 s early"}
    assert found.size_bytes > 1000
    assert found.kept == [found.generation]


def test_duplicates_are_the_same_bytes_or_the_same_sound_and_length(model_dir: Path) -> None:
    found = status.status(model_dir)
    assert found.same_bytes == [["a/0.wav", "a/1.wav"]]
    assert found.near is not None
    assert [pair[:2] for pair in found.near] == [("a/0.wav", "2.mp3"), ("a/1.wav", "2.mp3")]


def test_in_a_large_index_near_duplicates_are_searched_only_on_demand(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = status.status(model_dir).near
    monkeypatch.setattr(status, "NEAR_UP_TO_ITEMS", 4)
    found = status.status(model_dir)
    assert found.near is None
    assert "--near" in "\n".join(found.lines())
    assert status.status(model_dir, near=True).near == few


def test_the_command_prints_text_and_json(model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.main([str(model_dir), "--check"]) == 0
    text = capsys.readouterr().out
    assert "6 sounds, 5.1 hours, 5 windows" in text
    assert "every byte checked" in text
    assert "a/0.wav = a/1.wav" in text
    assert "bad.wav: it is empty" in text
    assert "1 silent, 1 failed, 1 decoded in part" in text
    assert "3.mp3: it ends 3.0 s early" in text
    assert status.main([str(model_dir), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_items"] == 6


def test_a_missing_compiled_module_is_reported(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boiler.engine.RERANK", "compiled")
    assert "numpy" not in "\n".join(status.status(model_dir).lines())
    monkeypatch.setattr("boiler.engine.RERANK", "numpy")
    assert "computed by numpy" in "\n".join(status.status(model_dir).lines())


def test_a_damaged_index_is_reported_and_exits_with_2(model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = (model_dir / "annoy").resolve()
    data = bytearray(file.read_bytes())
    data[3] ^= 1
    file.unlink()
    file.write_bytes(data)
    assert status.main([str(model_dir)]) == 0
    assert status.main([str(model_dir), "--check"]) == 2
    assert "annoy" in capsys.readouterr().err


def test_a_damaged_index_is_code_1_and_the_figures_are_those_of_the_one_before(
    model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generation.publish(model_dir, Header("mine", 3), np.eye(2, 3, dtype=np.float32), rows_of([0, 1]), TWO)
    (model_dir / "vectors.npy").resolve().unlink()
    assert status.main([str(model_dir)]) == 1
    assert "6 sounds" in capsys.readouterr().out
    assert status.main([str(model_dir), "--check"]) == 2
