"""JSON and Markdown have the same figures, also if some are missing."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from boiler.evaluation.metrics import CodebookStats, Hubness, Interval
from boiler.evaluation.robustness import Robustness
from boiler.evaluation.scorecard import (
    Calibration,
    ClassRow,
    EngineRecall,
    KNNResult,
    MeasureRow,
    ResultTable,
    Scorecard,
)

DEPRECATED = {
    "floor": "baseline",
    "floor_hubness": "baseline_hubness",
    "words": "codebook",
    "context": "calibration",
    "several": "multilabel",
}
NAN = float("nan")
BIN = {"low": 0.0, "high": 1.0, "n": 0, "gain": NAN}


@pytest.fixture
def scorecard() -> Scorecard:
    line = MeasureRow("P@1", Interval(0.75, 0.7, 0.8), Interval(0.5, 0.45, 0.55), Interval(0.25, -0.01, 0.3), 0.1)
    classes = [ClassRow("a|b", 3, {"P@1": 1.0}, {"P@1": NAN}), ClassRow("c", 1, {"P@1": 0.0}, {"P@1": 0.25})]
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
        multilabel=False,
        baseline="MFCCStats",
        tables=[ResultTable("speaker", 4, 1, [line], classes, [[1.0, 0.0], [0.5, 0.5]], 5)],
        knn=KNNResult(5, {"1": 0.5, "2": 1.0}, 0.75, 0.25, 0.5, 0.1),
        hubness=Hubness(10, 1.25, 0.031, 77),
        baseline_hubness=Hubness(10, 3.5, 0.2, 200),
        engine=EngineRecall("exact", 10, 1000, 0.987, 0.99),
        codebook=CodebookStats(64, 53.21, 60, 7.5),
        calibration=Calibration(100, {"50 %": 1.4, "99.8 %": NAN}, 100, 0.002, 0.0021, [BIN]),
        robustness={"8 kHz": Robustness(10, Interval(0.9, 0.8, 1.0), 1.0, 12, 0.95, -0.2)},
        notes=["One note."],
        seconds={"in all": 12.34},
        seed=3,
    )


def test_json_has_every_field_and_null_for_nan(scorecard: Scorecard) -> None:
    read = json.loads(scorecard.to_json())
    assert set(read) - set(DEPRECATED) == set(scorecard.__dataclass_fields__)
    assert read["format_version"] == 2
    assert read["tables"][0]["lines"][0]["encoder"] == {"mean": 0.75, "low": 0.7, "high": 0.8}
    assert read["tables"][0]["classes"][0]["baseline"] == {"P@1": None}
    assert read["calibration"]["quantiles"] == {"50 %": 1.4, "99.8 %": None}
    assert "NaN" not in scorecard.to_json()


def test_json_has_renamed_keys_under_both_names(scorecard: Scorecard) -> None:
    read = json.loads(scorecard.to_json())
    for old, new in DEPRECATED.items():
        assert read[old] == read[new], old
    line, row = read["tables"][0]["lines"][0], read["tables"][0]["classes"][0]
    assert (line["floor"], line["over_floor"]) == (line["baseline"], line["over_baseline"])
    assert row["floor"] == row["baseline"]
    assert read["knn"]["floor"] == read["knn"]["baseline"]
    assert read["engine"]["answers"] == read["engine"]["name"] == "exact"
    assert read["context"]["right"] == read["calibration"]["bins"]
    assert read["context"]["closer_than_998"] == read["calibration"]["share_closer_than_998"]


def test_markdown_has_the_figures(scorecard: Scorecard) -> None:
    markdown = scorecard.to_markdown()
    for part in (
        "# Mine on 4 sounds of 2 classes",
        "Excluded from the answers: itself and its speaker",
        "4 queries; 1 more have no relevant answer",
        "| P@1 | **.750** | .700 to .800 | .500 | -.010 to +.300 | .100 |",
        "4,996 items have no label",
        "**.750** (standard deviation over folds .250)",
        "| Mine | 1.25 | 3.1 % | 77 |",
        "annoy finds 0.987 of the true 10 nearest",
        "perplexity 53.2 of 64, 60 codes used",
        "| 8 kHz | **.900** | .800 to 1.000 | 1 | 12 | 0.950 | -0.200 |",
        "0.21 % are closer than 99.8 %",
        "| a\\|b | 3 | 1.000 | - |",
        "One note.",
        "in all 12.3",
    ):
        assert part in markdown


def test_all_rows_of_a_markdown_table_have_as_many_cells(scorecard: Scorecard) -> None:
    tables = re.findall(r"(?:^\|.*\|$\n?)+", scorecard.to_markdown(), re.MULTILINE)
    assert len(tables) == 6
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.strip().splitlines()}
        assert len(widths) == 1, table


def test_without_baseline_folds_codebook_and_robustness(scorecard: Scorecard) -> None:
    table = scorecard.tables[0]
    line = replace(table.lines[0], baseline=None, over_baseline=None)
    classes = [replace(one, baseline=None) for one in table.classes]
    bare = replace(
        scorecard,
        tables=[replace(table, group="none", lines=[line], classes=classes, confusion=None)],
        knn=None,
        codebook=None,
        baseline_hubness=None,
        robustness={},
        notes=[],
    )
    markdown = bare.to_markdown()
    assert "Excluded from the answers: itself\n" in markdown
    assert "| P@1 | **.750** | .700 to .800 | .100 |" in markdown
    assert all(word not in markdown for word in ("MFCCStats", "Robustness", "kNN", "Codebook", "Notes"))
    assert json.loads(bare.to_json())["knn"] is None
