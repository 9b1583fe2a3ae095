"""Tables of the measures: against the baseline, by class, and over folds."""

from __future__ import annotations

import numpy as np
import pytest

from boiler.evaluation import aggregate, metrics, ranking
from boiler.evaluation.ground_truth import GroundTruth
from boiler.evaluation.ranking import Collection


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def case() -> tuple[GroundTruth, Collection, Collection]:
    """60 items of three classes: an encoder that distinguishes them fairly well, and a baseline that does not."""
    draw = np.random.default_rng(0)
    numbers = draw.integers(0, 3, 60)
    centres = draw.standard_normal((3, 8))
    good = unit(centres[numbers] + 0.7 * draw.standard_normal((60, 8)))
    truth = GroundTruth("test", tuple(("abc"[n],) for n in numbers), tuple(str(n) for n in draw.integers(1, 4, 60)), {})
    return truth, Collection(good), Collection(unit(draw.standard_normal((60, 8))))


def test_lines_are_the_means_and_the_difference_is_paired(case: tuple[GroundTruth, Collection, Collection]) -> None:
    truth, good, poor = case
    scores = [ranking.score_queries(one, truth.class_indices()) for one in (good, poor)]
    made = aggregate.result_table("none", truth, scores, seed=4)
    assert [line.measure for line in made.lines] == list(scores[0].by_query)
    for line in made.lines:
        one, other = (score.by_query[line.measure] for score in scores)
        assert line.baseline is not None
        assert line.over_baseline is not None
        assert line.encoder.mean == pytest.approx(one.mean())
        assert line.over_baseline.mean == pytest.approx((one - other).mean())
        assert line.encoder.low <= line.encoder.mean <= line.encoder.high
        assert line.chance == pytest.approx(scores[0].chance[line.measure].mean())
    assert made == aggregate.result_table("none", truth, scores, seed=4)
    alone = aggregate.result_table("none", truth, scores[:1], seed=4)
    assert alone.lines[0].baseline is None
    assert alone.lines[0].over_baseline is None
    assert alone.lines[0].encoder == made.lines[0].encoder


def test_classes_weigh_up_to_the_mean_and_confusion_to_its_diagonal(
    case: tuple[GroundTruth, Collection, Collection],
) -> None:
    truth, good, _ = case
    scores = ranking.score_queries(good, truth.class_indices())
    made = aggregate.result_table("none", truth, [scores], seed=0)
    total = sum(line.n_queries * line.encoder["P@1"] for line in made.classes)
    assert total / made.n_queries == pytest.approx(made.lines[0].encoder.mean)
    assert made.confusion is not None
    shares = np.array(made.confusion)
    np.testing.assert_allclose(shares.sum(1), 1, atol=2e-4)
    weights = np.array([line.n_queries for line in made.classes])
    p5 = next(line.encoder.mean for line in made.lines if line.measure == "P@5")
    assert (np.diag(shares) * weights).sum() / weights.sum() == pytest.approx(p5, abs=1e-3)


def test_several_labels_have_classes_and_no_confusion() -> None:
    draw = np.random.default_rng(2)
    named = tuple(tuple(name for name in "abcd" if draw.random() < 0.5) for _ in range(30))
    truth = GroundTruth("test", named, ("",) * 30, {}, multilabel=True)
    scores = ranking.score_queries(Collection(unit(draw.standard_normal((30, 4)))), truth.tag_matrix())
    made = aggregate.result_table("none", truth, [scores], seed=0)
    assert made.confusion is None
    for line in made.classes:
        queries = [n for n in scores.queries if line.label in named[n]]
        assert line.n_queries == len(queries)
    assert aggregate.knn_result(truth, [Collection(unit(draw.standard_normal((30, 4))))], 5) is None


def test_knn_accuracy_over_folds(case: tuple[GroundTruth, Collection, Collection]) -> None:
    truth, good, poor = case
    made = aggregate.knn_result(truth, [good, poor], 3)
    assert made is not None
    assert list(made.folds) == ["1", "2", "3"]
    assert made.mean == pytest.approx(np.mean(list(made.folds.values())))
    assert made.baseline is not None
    assert made.baseline < made.mean
    shares = np.bincount(truth.class_indices()) / 60
    assert made.chance == pytest.approx((shares**2).sum())
    no_folds = GroundTruth(truth.source, truth.labels, ("",) * 60, {})
    assert aggregate.knn_result(no_folds, [good], 3) is None


def test_hubness_of_both_is_measured_on_the_same_items(case: tuple[GroundTruth, Collection, Collection]) -> None:
    _, good, _ = case
    near = ranking.neighbours(good, 10)
    counted = np.bincount(near.ravel(), minlength=60)
    assert metrics.hubness(near, 60).most == counted.max()
