"""`boiler locate` prints what `Nearest.locate` finds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sounds import write

from boiler import cli, engine
from boiler.audio.stream import SAMPLE_RATE_HZ
from boiler.catalog.items import Item
from boiler.cli import locate
from boiler.store import generation
from boiler.store.generation import Header, rows_of


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`day[1].wav`, 20 s of noise, where `call.wav` sounds at 7 s; and `other.wav`, noise alone."""
    folder = tmp_path_factory.mktemp("locate")
    random = np.random.default_rng(0)
    call = random.normal(0, 0.1, SAMPLE_RATE_HZ).astype(np.float32)
    day, other = random.normal(0, 0.1, (2, 20 * SAMPLE_RATE_HZ)).astype(np.float32)
    day[7 * SAMPLE_RATE_HZ : 8 * SAMPLE_RATE_HZ] += 0.5 * call
    (folder / "sounds").mkdir()
    for name, samples in (("day[1].wav", day), ("other.wav", other), ("call.wav", call)):
        write(folder / "sounds" / name, samples, SAMPLE_RATE_HZ)
    lengths_s = {"day[1].wav": 20.0, "other.wav": 20.0, "call.wav": 1.0}
    items = [Item(n, name, duration_s=length_s) for n, (name, length_s) in enumerate(lengths_s.items())]
    vectors = engine.normalize(random.normal(size=(3, 6)))
    generation.publish(
        folder / "model", Header(encoder="none", dim=6), vectors, rows_of(np.arange(3)), items,
        meta={"wav_dir": str(folder / "sounds")},
    )  # fmt: skip
    return folder / "model"


def test_an_item_is_found_with_its_time(model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["locate", str(model_dir), "call.wav"]) == 0
    heads, line = capsys.readouterr().out.splitlines()
    assert heads.split() == ["score", "gain", "from", "to", "id"]
    score, gain, unit, begin, end, name = line.split()
    assert (begin, end, name) == ("0:00:07.00", "0:00:08.00", "day[1].wav")
    assert 0.35 < float(score) < 0.55
    assert float(gain) == pytest.approx(-6, abs=0.7)
    assert unit == "dB"


def test_json_has_the_fields_of_an_occurrence(model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = model_dir.parent / "sounds" / "call.wav"
    words = ["--start_s", "0.25", "--end_s", "0.75", "--within", "day[1].wav", "--json"]
    assert locate.main([str(model_dir), str(path), *words]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["id"], row["n"], round(row["start_s"], 3), round(row["end_s"], 3)) == ("day[1].wav", 0, 7.25, 7.75)


def test_no_occurrence_is_no_error(model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert locate.main([str(model_dir), "call.wav", "--within", "other.wav"]) == 0
    assert "no occurrence found" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["nothing.wav"], "no item of this index has the id 'nothing.wav'"),
        (["call.wav", "--max_hours", "-1"], "--max_hours is 0 or more"),
        (["call.wav", "--most_hours", "-1"], "--most_hours is deprecated: use --max_hours"),
        (["call.wav", "--end_s", "0.01"], "start_s, end_s"),
        (["call.wav", "--max_hours", "0.001"], "without an encoder"),
    ],
)
def test_an_invalid_query_is_refused_in_one_sentence(
    model_dir: Path, arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert locate.main([str(model_dir), *arguments]) == 2
    assert error in capsys.readouterr().err
