"""The files of an evaluation: numbers as JSON, tables as Markdown, plots as PNG."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from boiler import files
from boiler.errors import QueryError
from boiler.evaluation import plots
from boiler.evaluation.evaluate import Evaluation

JSON_FILE = "evaluation.json"
MARKDOWN_FILE = "evaluation.md"
ZERO_SHOT_FILE = "zero_shot.json"


def default_folder(model_dir: Path, generation: str) -> Path:
    """The default folder for the report on a generation of an index."""
    return model_dir / "evaluation" / generation


def write_report(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write `evaluation.json`, `evaluation.md` and the plots into `folder`, which is created. Returns their paths.

    Raises: QueryError: the folder cannot be written.
    """
    scorecard = evaluation.scorecard
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for name, text in ((JSON_FILE, scorecard.to_json()), (MARKDOWN_FILE, scorecard.to_markdown())):
            with files.replacing(folder / name) as aside:
                aside.write_text(text, encoding="utf-8")
            written.append(folder / name)
        return written + write_plots(evaluation, folder)
    except OSError as error:
        raise QueryError(f"{folder} cannot be written ({error}): give another folder with --out") from error


def write_text(folder: Path, name: str, text: str) -> Path:
    """Write one file of a report, atomically. Raises: QueryError: the folder cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with files.replacing(folder / name) as aside:
            aside.write_text(text, encoding="utf-8")
    except OSError as error:
        raise QueryError(f"{folder} cannot be written ({error}): give another folder with --out") from error
    return folder / name


def write_plots(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write the plots into an existing folder: confusion matrix (for single labels, if not too many), a measure by
    class, and a map of the items. Returns their paths."""
    scorecard, index = evaluation
    truth, written = index.truth, []
    title = f"{scorecard.encoder}, {len(index.items):,} sounds of {truth.source}"

    def write(name: str, plot: Callable[[Path], None]) -> None:
        with files.replacing(folder / name) as aside:
            plot(aside)
        written.append(folder / name)

    table = scorecard.tables[-1]
    if table.confusion is not None and len(truth.label_names) <= plots.MAX_CLASSES:
        shares, heading = np.array(table.confusion), f"{title}\nfirst {table.confusion_k} answers, %"
        write("confusion.png", lambda path: plots.plot_confusion(path, shares, truth.label_names, heading))

    classes = table.classes
    measure = "P@10" if "P@10" in classes[0].encoder else next(iter(classes[0].encoder))
    values = {scorecard.encoder: np.array([row.encoder[measure] for row in classes])}
    if classes[0].baseline is not None:
        values[scorecard.baseline] = np.array([(row.baseline or {})[measure] for row in classes])
    chance = next(row.chance for row in table.lines if row.measure == measure)
    labels = [row.label for row in classes]
    write("per_class.png", lambda path: plots.plot_per_class(path, labels, values, chance, measure, title))

    vectors, indices = index.collection.vectors, truth.class_indices()
    write("map.png", lambda path: plots.plot_map(path, vectors, indices, truth.label_names, title))
    return written
