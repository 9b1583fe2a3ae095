"""`boiler search` prints the results of `Nearest`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from evaluating import indexed

from boiler import cli, engine
from boiler.catalog.items import Item
from boiler.cli import search
from boiler.search import relevance_feedback
from boiler.search.filters import field
from boiler.search.nearest import ByItem, BySound, GroupLimit, Nearest, Options
from boiler.store import generation
from boiler.store.generation import Header, rows_of


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search") / "model"
    vectors = engine.normalize(np.random.default_rng(0).normal(size=(20, 6)))
    items = [Item(n, f"[bold]kind{n % 2}/s{n}.wav", label=f"kind{n % 2}") for n in range(20)]
    generation.publish(folder, Header(encoder="none", dim=6), vectors, rows_of(np.arange(20), end_s=5.0), items)
    return folder


def test_json_has_the_results_of_nearest(model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["search", str(model_dir), "[bold]kind1/s3.wav", "-k", "4", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    expected = Nearest(model_dir).by_item(3, 4)
    assert [(row["n"], row["distance"]) for row in rows] == [(match.n, match.distance) for match in expected]


def test_the_table_shows_names_as_they_are(model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search.main([str(model_dir), "[bold]kind1/s3.wav", "-k", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["distance", "closer", "than", "from", "to", "id", "label"]
    first = Nearest(model_dir).by_item(3, 1)[0]
    assert lines[1].split()[0] == f"{first.distance:.3f}"
    assert first.id in lines[1]
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["nothing.wav"], "no item of this index has the id 'nothing.wav'; and there is no such file"),
        (
            ["nothing.wav", "--start_s", "1"],
            "no item of this index has the id 'nothing.wav'; and there is no such file",
        ),
        (["a", "b", "--end_s", "1"], "--start_s and --end_s need a single sound"),
        (["[bold]kind1/s3.wav", "--where", "lable == 1"], "did you mean label"),
        (["[bold]kind1/s3.wav", "--where", "nope = 3"], "with == for equality. Fields: n, id, url, label"),
        (["[bold]kind1/s3.wav", "--dedup_distance", "-1"], "--dedup_distance is from 0 to 2, not -1"),
        (["[bold]kind1/s3.wav", "--fold", "nan"], "--dedup_distance is from 0 to 2"),
        (["[bold]kind1/s3.wav", "--explain", "--json"], "cannot be combined with --format json"),
        (["[bold]kind1/s3.wav", "[bold]kind0/s4.wav", "--explain"], "one at a time"),
        (["[bold]kind1/s3.wav", "--less", "[bold]kind0/s4.wav", "--explain"], "one at a time"),
        (["[bold]kind1/s3.wav", "--explain"], "the folder of the sounds is not here"),
        (["[bold]kind1/s3.wav", "--per_group", "label:x"], "FIELD:LIMIT"),
        (["[bold]kind1/s3.wav", "--diversity", "2"], "diversity is from 0 to 1"),
        (["[bold]kind1/s3.wav", "-k", "0"], "k is a whole number"),
        (["[bold]kind1/s3.wav", "--engine", "fast"], "no engine is called 'fast'"),
    ],
)
def test_an_invalid_query_is_refused_in_one_sentence(
    model_dir: Path, arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search.main([str(model_dir), *arguments]) == 2
    assert error in capsys.readouterr().err


def test_a_file_that_is_no_sound_is_named(model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    assert search.main([str(model_dir), str(tmp_path / "text.wav")]) == 2
    assert "text.wav" in capsys.readouterr().err


def test_several_sounds_and_options_make_one_query(model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["[bold]kind1/s3.wav", "[bold]kind0/s4.wav", "--less", "[bold]kind1/s5.wav"]
    options = ["--where", "n > 2", "--per_group", "label:2", "--diversity", "0.2", "-k", "9", "--json"]
    assert search.main([str(model_dir), *words, *options]) == 0
    output = capsys.readouterr()
    seeds = [ByItem(3), ByItem(4), ByItem(5, weight=-relevance_feedback.DISLIKE_WEIGHT)]
    expected = Nearest(model_dir).query(
        seeds, 9, Options(where=field("n") > 2, per_group=GroupLimit("label", 2), diversity=0.2)
    )
    assert [row["n"] for row in json.loads(output.out)] == [match.n for match in expected.matches]
    assert "4 of 9 results" in output.err


def test_matches_are_exported_as_csv_and_as_a_playlist(model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = Nearest(model_dir).by_item(3, 2)
    assert search.main([str(model_dir), "[bold]kind1/s3.wav", "-k", "2", "--format", "csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["id"] for row in rows] == [match.id for match in expected]
    assert search.main([str(model_dir), "[bold]kind1/s3.wav", "-k", "2", "--format", "m3u8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "#EXTM3U"
    assert lines[2::2] == [match.id for match in expected]  # without the folder: the ids


def test_each_match_is_explained_by_codes_and_seconds(
    labelled_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = indexed(labelled_folder, tmp_path / "bands")
    sound = labelled_folder / "whistle" / "whistle-2.wav"
    assert search.main([str(folder), str(sound), "-k", "2", "--explain"]) == 0
    table, *explanations = capsys.readouterr().out.split("\n\n")
    with Nearest(folder) as nearest:
        matches = nearest.by_sound(sound, 2)
        assert len(explanations) == len(matches) == 2
        for text, match in zip(explanations, matches, strict=True):
            assert match.id in table
            why = nearest.explain(BySound(sound), match.n)
            lines = text.splitlines()
            assert lines[0] == f"{match.id}: similarity {match.similarity:.3f}"
            first = why.codes[0]
            assert f"  code {first.code} adds {first.share:.3f}; query 0.0-{first.query_spans[0].end_s:.1f} s" in text
            digits, seconds, unit = lines[-1].removeprefix("  over time, match: ").split()
            assert [int(digit) for digit in digits] == [
                min(max(int(10 * one.similarity), 0), 9) for one in why.answer_curve
            ]
            assert (seconds, unit) == (f"0.0-{why.answer_curve[-1].end_s:.1f}", "s")


def test_too_few_sounds_to_compare_with_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vectors = engine.normalize(np.eye(3))
    items = [Item(n, f"{n}.wav") for n in range(3)]
    generation.publish(tmp_path, Header(encoder="none", dim=3), vectors, rows_of(np.arange(3), end_s=5.0), items)
    assert search.main([str(tmp_path), "0.wav", "-k", "2"]) == 0
    printed = capsys.readouterr()
    assert [line.split()[1] for line in printed.out.splitlines()[1:]] == ["-", "-"]
    assert printed.err == "boiler: too few different sounds in this index to say how similar these are\n"
