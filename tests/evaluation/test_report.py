"""A report is written atomically into a new folder; its plots depend on the contents of the scorecard."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from evaluating import indexed

from boiler.errors import QueryError
from boiler.evaluation import plots, report
from boiler.evaluation.evaluate import EvaluateSettings, Evaluation, evaluate


@pytest.fixture(scope="module")
def evaluation(labelled_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    model_dir = indexed(labelled_folder, tmp_path_factory.mktemp("index") / "bands")
    return evaluate(EvaluateSettings(model_dir, robustness=0, baseline="never"))


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_the_report_has_figures_tables_and_plots(evaluation: Evaluation, tmp_path: Path) -> None:
    folder = report.default_folder(tmp_path, evaluation.scorecard.generation)
    written = report.write_report(evaluation, folder)
    assert names(written) == ["evaluation.json", "evaluation.md", "confusion.png", "per_class.png", "map.png"]
    assert {path.parent for path in written} == {tmp_path / "evaluation" / evaluation.scorecard.generation}
    assert written[0].read_text(encoding="utf-8") == evaluation.scorecard.to_json()
    assert written[1].read_text(encoding="utf-8") == evaluation.scorecard.to_markdown()
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written[2:])
    assert sorted(path.name for path in folder.iterdir()) == sorted(names(written))  # nothing temporary is left


def test_without_a_confusion_matrix_or_with_too_many_classes_it_is_not_plotted(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (table,) = evaluation.scorecard.tables
    without = replace(evaluation.scorecard, tables=[replace(table, confusion=None)])
    assert names(report.write_plots(evaluation._replace(scorecard=without), tmp_path)) == ["per_class.png", "map.png"]
    monkeypatch.setattr(plots, "MAX_CLASSES", 2)
    assert names(report.write_plots(evaluation, tmp_path)) == ["per_class.png", "map.png"]


def test_a_folder_that_cannot_be_written_is_refused(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(QueryError, match="another folder with --out"):
        report.write_report(evaluation, tmp_path / "file")
