"""The tables of a scorecard, made from scores: measures with intervals, classes, confusion, the vote over folds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from boiler.evaluation import ground_truth, metrics, ranking
from boiler.evaluation.ground_truth import Truth
from boiler.evaluation.metrics import Interval
from boiler.evaluation.ranking import Collection, Scores
from boiler.evaluation.scorecard import KNN, ClassLine, Line, Table

CLASS_MEASURES = ("P@1", "P@10", "mAP")
CONFUSION_K = 5
CONFUSION_UP_TO = 200  # classes: the table has that many squared


def table(group: str, truth: Truth, found: Sequence[Scores], *, seed: int) -> Table:
    """Scores of the encoder, and of the floor as a second where there is one, over the same queries."""
    judged = found[0]
    names = list(judged.by_query)
    spans = [metrics.intervals(one.by_query, seed=seed) for one in found]
    above: dict[str, Interval] = {}
    if len(found) > 1:
        differences = {name: judged.by_query[name] - found[1].by_query[name] for name in names}
        above = metrics.intervals(differences, seed=seed)
    lines = [
        Line(
            name,
            spans[0][name],
            spans[1][name] if above else None,
            above.get(name),
            float(judged.chance[name].mean()),
        )
        for name in names
    ]
    tags = truth.tags()[judged.queries]
    shown = [name for name in CLASS_MEASURES if name in names] or names[:1]
    classes = []
    for place, label in enumerate(truth.names):
        asked = tags[:, place]
        if asked.any():
            means = [{name: float(one.by_query[name][asked].mean()) for name in shown} for one in found]
            classes.append(ClassLine(label, int(asked.sum()), means[0], means[1] if above else None))
    confusion = None
    if not truth.several and len(truth.names) <= CONFUSION_UP_TO:
        numbers = truth.numbers()
        near = judged.neighbours[:, :CONFUSION_K]
        answered = np.where(near >= 0, numbers[near], -1)
        confusion = metrics.confusion(numbers[judged.queries], answered, len(truth.names)).round(4).tolist()
    return Table(group, len(judged.queries), len(judged.unanswerable), lines, classes, confusion, CONFUSION_K)


def knn(truth: Truth, collections: Sequence[Collection], k: int) -> KNN | None:
    """The vote over the folds, by the encoder and the floor; None without folds, or with several labels an item."""
    names = sorted(set(truth.folds) - {""})
    if truth.several or len(names) < 2:
        return None
    numbers, folds = truth.numbers(), ground_truth.numbered(truth.folds)
    found = [ranking.knn_accuracy(one, numbers, folds, k, n_folds=len(names)) for one in collections]
    shares = np.bincount(numbers) / len(numbers)
    return KNN(
        k=k,
        folds=dict(zip(names, found[0].tolist(), strict=True)),
        mean=float(found[0].mean()),
        deviation=float(found[0].std()),
        floor=float(found[1].mean()) if len(found) > 1 else None,
        chance=float((shares**2).sum()),
    )
