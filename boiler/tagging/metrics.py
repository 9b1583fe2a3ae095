"""How good the tags of a model are, accumulated over batches: the results are those of all examples at once.

Memory does not grow with the number of examples: scores are counted in bins of equal width in log-odds. A bin is so
narrow that an average precision differs from that of the sorted scores in the fourth decimal place; scores in one bin
count as ties, as equal scores do in scikit-learn's `average_precision_score`.

=================  ====================================================================================================
`precision`        predicted tags that are right, of all predicted, at each tag's threshold
`recall`           labels that are predicted, of all labels
`hit_at_1`         examples whose most probable tag is a label
`perr`             precision at equal recall rate: an example with n labels counts how many of its n most probable
                   tags are labels, divided by n
`gap`              average precision of the 20 most probable tags of each example, all in one list (GAP@20)
`map`              mean over tags, of those that some example has, of the average precision over examples
`mean_predicted`   predicted tags per example
=================  ====================================================================================================

Examples without labels count in `precision`, `gap`, `map` and `mean_predicted` only.

Source: https://github.com/google/youtube-8m, eval_util.py
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from boiler.arrays import Float32Array, Float64Array, Int64Array

GAP_TOP = 20
MAX_LOGIT = 18.0
"""Scores beyond are the same: a probability of 1.5e-8."""
_MAX_CELLS = 1 << 22
_MIN_BINS, _MAX_BINS = 1 << 10, 1 << 14


class LogitHistogram:
    """Counts of scores of examples that have a tag (`positive`), and of all (`total`), by tag and bin.

    Shape: [C, bins]
    """

    def __init__(self, n_classes: int) -> None:
        self.n_bins = int(np.clip(_MAX_CELLS // max(n_classes, 1), _MIN_BINS, _MAX_BINS))
        self.positive: Int64Array = np.zeros((n_classes, self.n_bins), np.int64)
        self.total: Int64Array = np.zeros((n_classes, self.n_bins), np.int64)

    def add(self, logits: Float32Array, rows: Int64Array, classes: Int64Array) -> None:
        """Count a batch. Shape: [B, C]; the labels as in `ExampleBatch`."""
        n_classes = len(self.total)
        cells = self.bins(logits) + np.arange(n_classes) * self.n_bins
        size = n_classes * self.n_bins
        self.total += np.bincount(cells.ravel(), minlength=size).reshape(self.total.shape)
        np.add.at(self.positive.reshape(-1), cells[rows, classes], 1)

    def bins(self, logits: Float32Array) -> Int64Array:
        """The bin of each score."""
        scaled = (logits + MAX_LOGIT) * (self.n_bins / (2 * MAX_LOGIT))
        found: Int64Array = np.clip(scaled, 0, self.n_bins - 1).astype(np.int64)
        return found

    @property
    def edges(self) -> Float64Array:
        """The lower edge of each bin. Shape: [bins]"""
        return np.linspace(-MAX_LOGIT, MAX_LOGIT, self.n_bins, endpoint=False, dtype=np.float64)

    def average_precision(self) -> Float64Array:
        """Of each tag; NaN for one that no example has. Shape: [C]"""
        return np.array([average_precision(*pair) for pair in zip(self.positive, self.total, strict=True)])


def average_precision(positive: Int64Array, total: Int64Array, n_positive: int | None = None) -> float:
    """From counts by ascending bin. `n_positive`: of all, if not all of them were counted. NaN without any."""
    n_positive = int(positive.sum()) if n_positive is None else n_positive
    if not n_positive:
        return float("nan")
    used = np.flatnonzero(total)[::-1]
    hits, seen = np.cumsum(positive[used]), np.cumsum(total[used])
    return float((positive[used] * (hits / seen)).sum() / n_positive)


class TagMetrics:
    """Accumulates the measures of a model.

    thresholds: of the probability of each tag, from which on it is predicted. Shape: [C]
    """

    def __init__(self, thresholds: Float32Array) -> None:
        n_classes = len(thresholds)
        odds = np.clip(thresholds.astype(np.float64), 1e-12, 1 - 1e-12)
        self._logit_thresholds = np.log(odds / (1 - odds)).astype(np.float32)
        self.histogram = LogitHistogram(n_classes)
        self._pooled = LogitHistogram(1)
        self.n_examples = 0
        self._n_labelled = self._n_labels = 0
        self._hits = 0
        self._perr = 0.0
        self.true_positives: Int64Array = np.zeros(n_classes, np.int64)
        self.predicted: Int64Array = np.zeros(n_classes, np.int64)
        self.labels: Int64Array = np.zeros(n_classes, np.int64)

    def add(self, logits: Float32Array, rows: Int64Array, classes: Int64Array) -> None:
        """Add a batch: the log-odds of each tag, and the labels as in `ExampleBatch`. Shape: [B, C]"""
        n_examples, n_classes = logits.shape
        self.histogram.add(logits, rows, classes)
        is_label = np.zeros(logits.shape, bool)
        is_label[rows, classes] = True
        is_predicted = logits >= self._logit_thresholds
        self.true_positives += (is_label & is_predicted).sum(axis=0)
        self.predicted += is_predicted.sum(axis=0)
        self.labels += is_label.sum(axis=0)
        n_labels = is_label.sum(axis=1)
        self.n_examples += n_examples
        self._n_labelled += int((n_labels > 0).sum())
        self._n_labels += int(n_labels.sum())

        depth = min(max(GAP_TOP, int(n_labels.max(initial=0))), n_classes)
        top = np.argpartition(-logits, depth - 1, axis=1)[:, :depth] if depth < n_classes else None
        if top is None:
            top = np.tile(np.arange(n_classes), (n_examples, 1))
        order = np.argsort(-np.take_along_axis(logits, top, axis=1), axis=1, kind="stable")
        top = np.take_along_axis(top, order, axis=1)
        is_hit = np.take_along_axis(is_label, top, axis=1)
        self._hits += int(is_hit[:, 0].sum())
        among_n = np.arange(depth) < n_labels[:, None]
        self._perr += float(((is_hit & among_n).sum(axis=1) / np.maximum(n_labels, 1)).sum())
        best, best_hit = np.take_along_axis(logits, top[:, :GAP_TOP], axis=1), is_hit[:, :GAP_TOP]
        pooled_rows = np.flatnonzero(best_hit.ravel())
        self._pooled.add(best.reshape(-1, 1), pooled_rows, np.zeros(len(pooled_rows), np.int64))

    def results(self) -> dict[str, float]:
        """The measures by name, see the module; NaN where there is nothing to measure."""
        true, predicted, labels = self.true_positives.sum(), self.predicted.sum(), self.labels.sum()
        precisions = self.histogram.average_precision()
        return {
            "precision": _ratio(true, predicted),
            "recall": _ratio(true, labels),
            "hit_at_1": _ratio(self._hits, self._n_labelled),
            "perr": _ratio(self._perr, self._n_labelled),
            "gap": average_precision(self._pooled.positive[0], self._pooled.total[0], self._n_labels),
            "map": float(np.nanmean(precisions)) if self._n_labels else float("nan"),
            "mean_predicted": _ratio(predicted, self.n_examples),
        }

    def recall_of_rarest(self, share: float = 0.1, by: Sequence[int] | None = None) -> float:
        """The recall over the labels of the rarest tags: the `share` of those that occur with the fewest examples, here
        or by the counts `by`."""
        present = np.flatnonzero(self.labels)
        counts = self.labels if by is None else np.asarray(by)
        rarest = present[np.argsort(counts[present], kind="stable")][: max(1, round(share * len(present)))]
        return _ratio(self.true_positives[rarest].sum(), self.labels[rarest].sum())


def _ratio(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else float("nan")


def best_thresholds(histogram: LogitHistogram, min_positives: int = 5) -> Float32Array:
    """For each tag the probability from which on predicting it gives the best F1 score on the counted examples. Tags
    with fewer than `min_positives` examples get the threshold that is best for all tags together. Shape: [C]

    The midpoint of a gap without scores is taken, so that no threshold lies on a score.
    """
    overall = _best_f1(histogram.positive.sum(axis=0), histogram.total.sum(axis=0), histogram.edges)
    logits = [
        _best_f1(positive, total, histogram.edges) if positive.sum() >= min_positives else overall
        for positive, total in zip(histogram.positive, histogram.total, strict=True)
    ]
    thresholds: Float32Array = (1 / (1 + np.exp(-np.array(logits)))).astype(np.float32)
    return thresholds


def _best_f1(positive: Int64Array, total: Int64Array, edges: Float64Array) -> float:
    n_positive = positive.sum()
    if not n_positive:
        return 0.0
    hits, predicted = np.cumsum(positive[::-1])[::-1], np.cumsum(total[::-1])[::-1]
    best = int(np.argmax(2 * hits / (predicted + n_positive)))
    used = np.flatnonzero(total)
    at = int(np.searchsorted(used, best))
    best = int(used[at])  # the lowest bin of those that are predicted
    below = int(used[at - 1]) + 1 if at else max(best - 1, 0)
    return float((edges[min(below, best)] + edges[best]) / 2)
