"""A scorecard is told the same to programs and to people, also where figures do not exist."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from boiler.evaluation.metrics import Hubness, Interval, Words
from boiler.evaluation.robustness import Robustness
from boiler.evaluation.scorecard import KNN, ClassLine, Context, EngineRecall, Line, Scorecard, Table

NAN = float("nan")
BIN = {"low": 0.0, "high": 1.0, "n": 0, "gain": NAN}


@pytest.fixture
def scorecard() -> Scorecard:
    line = Line("P@1", Interval(0.75, 0.7, 0.8), Interval(0.5, 0.45, 0.55), Interval(0.25, -0.01, 0.3), 0.1)
    classes = [ClassLine("a|b", 3, {"P@1": 1.0}, {"P@1": NAN}), ClassLine("c", 1, {"P@1": 0.0}, {"P@1": 0.25})]
    return Scorecard(
        boiler_version="0",
        generation="000001-aa",
        encoder="Mine",
        dim=8,
        n_items=5000,
        n_rows=5001,
        n_evaluated=4,
        n_without_label=4996,
        source="a table",
        n_labels=2,
        several=False,
        floor="MFCCStats",
        tables=[Table("speaker", 4, 1, [line], classes, [[1.0, 0.0], [0.5, 0.5]], 5)],
        knn=KNN(5, {"1": 0.5, "2": 1.0}, 0.75, 0.25, 0.5, 0.1),
        hubness=Hubness(10, 1.25, 0.031, 77),
        floor_hubness=Hubness(10, 3.5, 0.2, 200),
        engine=EngineRecall("exact", 10, 1000, 0.987, 0.99),
        words=Words(64, 53.21, 60, 7.5),
        context=Context(100, {"50 %": 1.4, "99.8 %": NAN}, 100, 0.002, 0.0021, [BIN]),
        robustness={"8 kHz": Robustness(10, Interval(0.9, 0.8, 1.0), 1.0, 12, 0.95, -0.2)},
        notes=["One note."],
        seconds={"in all": 12.34},
        seed=3,
    )


def test_json_holds_every_field_and_null_for_what_is_not_a_number(scorecard: Scorecard) -> None:
    read = json.loads(scorecard.to_json())
    assert set(read) == set(scorecard.__dataclass_fields__)
    assert read["format_version"] == 1
    assert read["tables"][0]["lines"][0]["encoder"] == {"mean": 0.75, "low": 0.7, "high": 0.8}
    assert read["tables"][0]["classes"][0]["floor"] == {"P@1": None}
    assert read["context"]["quantiles"] == {"50 %": 1.4, "99.8 %": None}
    assert "NaN" not in scorecard.to_json()


def test_markdown_tells_the_figures(scorecard: Scorecard) -> None:
    told = scorecard.to_markdown()
    for part in (
        "# Mine on 4 sounds of 2 classes",
        "Left out of the answers: itself and its speaker",
        "4 queries, 1 more that nothing left could answer",
        "| P@1 | **.750** | .700 to .800 | .500 | -.010 to +.300 | .100 |",
        "4,996 items have no label",
        "**.750** (deviation .250)",
        "| Mine | 1.25 | 3.1 % | 77 |",
        "annoy finds 0.987 of the true 10 nearest",
        "perplexity 53.2 of 64, 60 words used",
        "| 8 kHz | **.900** | .800 to 1.000 | 1 | 12 | 0.950 | -0.200 |",
        "0.21 % of them are said",
        "| a\\|b | 3 | 1.000 | - |",
        "One note.",
        "in all 12.3",
    ):
        assert part in told


def test_every_table_of_the_markdown_is_even(scorecard: Scorecard) -> None:
    tables = re.findall(r"(?:^\|.*\|$\n?)+", scorecard.to_markdown(), re.MULTILINE)
    assert len(tables) == 6
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.strip().splitlines()}
        assert len(widths) == 1, table


def test_without_floor_folds_words_and_altered_sounds(scorecard: Scorecard) -> None:
    table = scorecard.tables[0]
    line = replace(table.lines[0], floor=None, over_floor=None)
    classes = [replace(one, floor=None) for one in table.classes]
    bare = replace(
        scorecard,
        tables=[replace(table, group="none", lines=[line], classes=classes, confusion=None)],
        knn=None,
        words=None,
        floor_hubness=None,
        robustness={},
        notes=[],
    )
    told = bare.to_markdown()
    assert "Left out of the answers: itself\n" in told
    assert "| P@1 | **.750** | .700 to .800 | .100 |" in told
    assert all(word not in told for word in ("MFCCStats", "Robustness", "kNN", "Codebook", "Notes"))
    assert json.loads(bare.to_json())["knn"] is None
