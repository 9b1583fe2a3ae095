"""The measures of tags, against scikit-learn and against plain loops over all examples at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from boiler.tagging.metrics import LogitHistogram, TagMetrics, average_precision, best_thresholds

N, C = 600, 30


def made(seed: int, n: int = N, n_classes: int = C) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds [n, n_classes], and the truth as bools; some examples have no label."""
    rng = np.random.default_rng(seed)
    truth = rng.random((n, n_classes)) < np.linspace(0.002, 0.3, n_classes)
    logits = rng.normal(-2, 2, (n, n_classes)) + 2.5 * truth
    return logits.astype(np.float32), truth


def measured(logits: np.ndarray, truth: np.ndarray, thresholds: np.ndarray, size: int) -> TagMetrics:
    metrics = TagMetrics(thresholds)
    for at in range(0, len(logits), size):
        metrics.add(logits[at : at + size], *np.nonzero(truth[at : at + size]))
    return metrics


@pytest.mark.parametrize("size", [N, 17])
def test_measures_are_those_of_all_examples_at_once(size: int) -> None:
    logits, truth = made(0)
    thresholds = np.linspace(0.2, 0.6, C).astype(np.float32)
    found = measured(logits, truth, thresholds, size).results()
    predicted = 1 / (1 + np.exp(-logits)) >= thresholds
    assert found["precision"] == pytest.approx(precision_score(truth, predicted, average="micro"))
    assert found["recall"] == pytest.approx(recall_score(truth, predicted, average="micro"))
    assert found["mean_predicted"] == pytest.approx(predicted.sum() / N)
    labelled = truth.any(axis=1)
    assert not labelled.all()
    top = logits.argmax(axis=1)
    assert found["hit_at_1"] == pytest.approx(truth[np.arange(N), top][labelled].mean())
    perr = [truth[at, np.argsort(-logits[at])[: truth[at].sum()]].mean() for at in np.flatnonzero(labelled)]
    assert found["perr"] == pytest.approx(np.mean(perr))
    present = truth.any(axis=0)
    assert found["map"] == pytest.approx(average_precision_score(truth[:, present], logits[:, present]), abs=2e-3)
    best = np.argsort(-logits, axis=1)[:, :20]
    scores, hits = np.take_along_axis(logits, best, 1).ravel(), np.take_along_axis(truth, best, 1).ravel()
    order = np.argsort(-scores)
    precision_at = np.cumsum(hits[order]) / np.arange(1, len(order) + 1)
    assert found["gap"] == pytest.approx((precision_at * hits[order]).sum() / truth.sum(), abs=1e-3)


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 25))
def test_batches_do_not_change_the_measures(seed: int, size: int, n_classes: int) -> None:
    logits, truth = made(seed, 60, n_classes)
    thresholds = np.full(n_classes, 0.4, np.float32)
    once = measured(logits, truth, thresholds, 60).results()
    assert measured(logits, truth, thresholds, size).results() == pytest.approx(once, nan_ok=True)


def test_more_labels_than_gap_takes_count_in_perr() -> None:
    truth = np.ones((1, 30), bool)
    logits = np.arange(30, dtype=np.float32)[None] / 10
    found = measured(logits, truth, np.full(30, 0.5, np.float32), 1).results()
    assert found["perr"] == 1
    assert found["gap"] == pytest.approx(20 / 30)


def test_nothing_to_measure_is_nan() -> None:
    found = TagMetrics(np.full(3, 0.5, np.float32)).results()
    assert all(np.isnan(value) for value in found.values())


def test_equal_scores_are_ties() -> None:
    truth = np.array([True, False, True, False])
    histogram = LogitHistogram(1)
    histogram.add(np.zeros((4, 1), np.float32), np.flatnonzero(truth), np.zeros(2, np.int64))
    assert histogram.average_precision()[0] == average_precision_score(truth, np.zeros(4)) == 0.5
    assert np.isnan(average_precision(np.zeros(4, np.int64), np.ones(4, np.int64)))


def test_the_rarest_tags_have_their_own_recall() -> None:
    truth = np.zeros((10, 20), bool)
    truth[:, 2:] = True
    truth[:3, 0] = True
    truth[:2, 1] = True
    logits = np.where(truth, 1.0, -1.0).astype(np.float32)
    logits[0, :2] = -1  # missed: one label of each of the two rarest
    metrics = measured(logits, truth, np.full(20, 0.5, np.float32), 10)
    assert metrics.recall_of_rarest(0.1) == pytest.approx(3 / 5)
    assert metrics.recall_of_rarest(0.05) == pytest.approx(1 / 2)
    assert metrics.recall_of_rarest(0.05, by=[1, 2, *[9] * 18]) == pytest.approx(2 / 3)


def test_a_threshold_has_the_best_f1_of_its_tag() -> None:
    logits, truth = made(3, 2_000, 8)
    histogram = LogitHistogram(8)
    histogram.add(logits, *np.nonzero(truth))
    thresholds = best_thresholds(histogram)
    probabilities = 1 / (1 + np.exp(-logits))
    for tag in range(1, 8):
        mine = f1_score(truth[:, tag], probabilities[:, tag] >= thresholds[tag])
        others = [f1_score(truth[:, tag], probabilities[:, tag] >= other) for other in np.linspace(0.02, 0.98, 49)]
        assert mine >= max(others) - 0.01


def test_a_rare_tag_gets_the_threshold_of_all() -> None:
    logits, truth = made(4, 500, 3)
    truth[:, 0] = False
    truth[0, 0] = True
    histogram = LogitHistogram(3)
    histogram.add(logits, *np.nonzero(truth))
    together = LogitHistogram(1)
    together.positive, together.total = histogram.positive.sum(0)[None], histogram.total.sum(0)[None]
    assert best_thresholds(histogram)[0] == best_thresholds(together, 1)[0]
    assert best_thresholds(LogitHistogram(2)).tolist() == [0.5, 0.5]
