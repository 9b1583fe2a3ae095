"""Turns scores per query into the tables of a scorecard: measures with intervals, classes, confusion, kNN over
folds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from boiler.evaluation import ground_truth, metrics, ranking
from boiler.evaluation.ground_truth import GroundTruth
from boiler.evaluation.metrics import Interval
from boiler.evaluation.ranking import Collection, Scores
from boiler.evaluation.scorecard import ClassRow, KNNResult, MeasureRow, ResultTable

CLASS_MEASURES = ("P@1", "P@10", "mAP")
CONFUSION_K = 5
MAX_CONFUSION_CLASSES = 200  # the matrix has that many squared


def result_table(group: str, truth: GroundTruth, scores: Sequence[Scores], *, seed: int) -> ResultTable:
    """The table of one group.

    scores: of the encoder and, if there is one, of the baseline, over the same queries
    seed: of the bootstrap
    """
    encoder = scores[0]
    measures = list(encoder.by_query)
    intervals = [metrics.bootstrap_intervals(one.by_query, seed=seed) for one in scores]
    differences: dict[str, Interval] = {}
    if len(scores) > 1:
        paired = {name: encoder.by_query[name] - scores[1].by_query[name] for name in measures}
        differences = metrics.bootstrap_intervals(paired, seed=seed)
    lines = [
        MeasureRow(
            measure=name,
            encoder=intervals[0][name],
            baseline=intervals[1][name] if differences else None,
            over_baseline=differences.get(name),
            chance=float(encoder.chance[name].mean()),
        )
        for name in measures
    ]
    class_measures = [name for name in CLASS_MEASURES if name in measures] or measures[:1]
    tags = truth.tag_matrix()[encoder.queries]
    classes = []
    for label, has_label in zip(truth.label_names, tags.T, strict=True):
        if has_label.any():
            means = [{name: float(one.by_query[name][has_label].mean()) for name in class_measures} for one in scores]
            classes.append(ClassRow(label, int(has_label.sum()), means[0], means[1] if differences else None))
    confusion = None
    if not truth.multilabel and len(truth.label_names) <= MAX_CONFUSION_CLASSES:
        labels, near = truth.class_indices(), encoder.neighbours[:, :CONFUSION_K]
        answered = np.where(near >= 0, labels[near], -1)
        shares = metrics.confusion_matrix(labels[encoder.queries], answered, len(truth.label_names))
        confusion = shares.round(4).tolist()
    return ResultTable(group, len(encoder.queries), len(encoder.unanswerable), lines, classes, confusion, CONFUSION_K)


def knn_result(truth: GroundTruth, collections: Sequence[Collection], k: int) -> KNNResult | None:
    """kNN accuracy over the folds, of the encoder and, if there is one, the baseline. None without at least two folds,
    or for multi-label ground truth."""
    names = sorted(set(truth.folds) - {""})
    if truth.multilabel or len(names) < 2:
        return None
    labels, folds = truth.class_indices(), ground_truth.as_indices(truth.folds)
    accuracies = [ranking.knn_accuracy(one, labels, folds, k, n_folds=len(names)) for one in collections]
    shares = np.bincount(labels) / len(labels)
    return KNNResult(
        k=k,
        folds=dict(zip(names, accuracies[0].tolist(), strict=True)),
        mean=float(accuracies[0].mean()),
        deviation=float(accuracies[0].std()),
        baseline=float(accuracies[1].mean()) if len(accuracies) > 1 else None,
        chance=float((shares**2).sum()),
    )
