"""Calibration finds how overconfident log-odds are, and the expected calibration error sees it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

from boiler.tagging.calibration import NOT_CALIBRATED, Reliability, fit_platt, plot_reliability
from boiler.tagging.metrics import LogitHistogram


def overconfident(slope: float, offset: float, n: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds [n, 1] and labels for which `slope * logit + offset` are the true log-odds."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 3, (n, 1)).astype(np.float32)
    labels = rng.random((n, 1)) < 1 / (1 + np.exp(-(slope * logits + offset)))
    return logits, labels


@pytest.mark.parametrize(("slope", "offset"), [(0.4, -1.0), (1.0, 0.0), (2.5, 2.0)])
def test_platt_scaling_is_found_as_scikit_learn_finds_it(slope: float, offset: float) -> None:
    logits, labels = overconfident(slope, offset)
    histogram = LogitHistogram(1)
    histogram.add(logits, *np.nonzero(labels))
    found = fit_platt(histogram)
    theirs = LogisticRegression(C=1e6).fit(logits, labels[:, 0])
    assert found.slope == pytest.approx(theirs.coef_[0, 0], rel=0.01)
    assert found.offset == pytest.approx(theirs.intercept_[0], abs=0.01)
    assert found == pytest.approx((slope, offset), abs=0.1)


@pytest.mark.parametrize("n_labels", [0, 19, 1000])
def test_too_few_labels_change_nothing(n_labels: int) -> None:
    histogram = LogitHistogram(1)
    histogram.add(np.full((1000, 1), -1.0, np.float32), np.arange(n_labels), np.zeros(n_labels, np.int64))
    assert fit_platt(histogram) == NOT_CALIBRATED


def test_labels_that_contradict_the_scores_change_nothing() -> None:
    logits, labels = overconfident(-1.0, 0.0, 2_000)
    histogram = LogitHistogram(1)
    histogram.add(logits, *np.nonzero(labels))
    assert fit_platt(histogram) == NOT_CALIBRATED


def test_the_expected_error_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(2)
    probabilities = rng.random(5_000).astype(np.float32)
    is_right = (rng.random(5_000) < probabilities**2).astype(np.int64)
    curve = Reliability()
    for part in np.array_split(np.arange(5_000), 7):
        curve.add(probabilities[part], is_right[part])
    bins = np.minimum((probabilities * 15).astype(int), 14)
    expected = sum(
        abs(probabilities[bins == at].mean() - is_right[bins == at].mean()) * (bins == at).mean() for at in range(15)
    )
    assert curve.expected_error() == pytest.approx(expected, rel=1e-4)
    assert curve.expected_error() > 0.1
    assert np.isnan(Reliability().expected_error())


def test_calibration_lowers_the_error() -> None:
    logits, labels = overconfident(0.3, 0.0)
    histogram = LogitHistogram(1)
    histogram.add(logits, *np.nonzero(labels))
    slope, offset = fit_platt(histogram)
    errors = []
    for scaled in (logits, slope * logits + offset):
        curve = Reliability()
        curve.add(1 / (1 + np.exp(-scaled)), labels.astype(np.int64))
        errors.append(curve.expected_error())
    assert errors[0] > 0.1
    assert errors[1] < 0.01


def test_the_picture_is_written(tmp_path: Path) -> None:
    curve = Reliability()
    curve.add(np.array([0.1, 0.9], np.float32), np.array([0, 1]))
    plot_reliability({"all tags": curve}, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (600, 600)
