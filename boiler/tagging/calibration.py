"""Probabilities that mean what they say: of the tags given 0.7, seven in ten should be right.

`fit_platt` finds the slope and the offset of log-odds that make held-out labels most likely (Platt scaling; with the
offset 0 it would be temperature scaling). `Reliability` compares probabilities with frequencies in bins; the expected
calibration error is the mean difference, weighted by the number of probabilities in each bin.

Source: Guo et al., On Calibration of Modern Neural Networks, 2017
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from boiler import files
from boiler.arrays import Float32Array, Float64Array, Int64Array
from boiler.tagging.metrics import MAX_LOGIT, LogitHistogram

MIN_POSITIVES = 20
"""Fewer held-out labels do not determine a slope."""
_ITERATIONS = 50
_N_BINS = 15


class Platt(NamedTuple):
    """Calibrated log-odds are `slope * logit + offset`."""

    slope: float
    offset: float


NOT_CALIBRATED = Platt(1.0, 0.0)


def fit_platt(histogram: LogitHistogram) -> Platt:
    """The scaling with the highest likelihood of the labels that were counted, over all tags.

    Without `MIN_POSITIVES` labels, or without as many negatives, nothing is changed.
    """
    positive, total = histogram.positive.sum(axis=0).astype(float), histogram.total.sum(axis=0).astype(float)
    used = total > 0
    centres = (histogram.edges + MAX_LOGIT / histogram.n_bins)[used]
    positive, total = positive[used], total[used]
    if positive.sum() < MIN_POSITIVES or (total - positive).sum() < MIN_POSITIVES:
        return NOT_CALIBRATED
    design = np.stack([centres, np.ones_like(centres)], axis=1)
    at = np.array([1.0, 0.0])
    best = _loss(design @ at, positive, total)
    for _ in range(_ITERATIONS):  # Newton's method; the loss is convex
        probability = _sigmoid(design @ at)
        gradient = design.T @ (total * probability - positive)
        curvature = (design * (total * probability * (1 - probability))[:, None]).T @ design
        step = np.linalg.solve(curvature + 1e-9 * np.trace(curvature) * np.eye(2), gradient)
        length = 1.0
        while (loss := _loss(design @ (at - length * step), positive, total)) > best and length > 1e-6:
            length /= 2
        if best - loss < 1e-9 * total.sum():
            break
        at, best = at - length * step, loss
    return Platt(float(at[0]), float(at[1])) if at[0] > 0 else NOT_CALIBRATED


def _sigmoid(logits: Float64Array) -> Float64Array:
    return 1 / (1 + np.exp(-np.clip(logits, -700, 700)))


def _loss(logits: Float64Array, positive: Float64Array, total: Float64Array) -> float:
    return float((total * np.logaddexp(0, logits) - positive * logits).sum())


class Reliability:
    """Probabilities and how often they were right, in bins of equal width."""

    def __init__(self) -> None:
        self.counts: Int64Array = np.zeros(_N_BINS, np.int64)
        self._right: Int64Array = np.zeros(_N_BINS, np.int64)
        self._sums: Float64Array = np.zeros(_N_BINS)

    def add(self, probabilities: Float32Array, is_right: Int64Array) -> None:
        """Shape: any, the same for both."""
        flat = probabilities.ravel().astype(np.float64)
        bins = np.minimum((flat * _N_BINS).astype(np.int64), _N_BINS - 1)
        self.counts += np.bincount(bins, minlength=_N_BINS)
        self._right += np.bincount(bins, is_right.ravel(), _N_BINS).astype(np.int64)
        self._sums += np.bincount(bins, flat, _N_BINS)

    def curve(self) -> tuple[Float64Array, Float64Array, Int64Array]:
        """The mean probability, the frequency and the count of each bin that has any. Shape: 3 x [bins]"""
        used = self.counts > 0
        counts = self.counts[used]
        return self._sums[used] / counts, self._right[used] / counts, counts

    def expected_error(self) -> float:
        """The expected calibration error, 0 to 1; NaN without any probability."""
        probability, frequency, counts = self.curve()
        return float((np.abs(probability - frequency) * counts).sum() / counts.sum()) if len(counts) else float("nan")


def plot_reliability(curves: dict[str, Reliability], path: Path) -> None:
    """Write a picture (PNG) of frequencies over probabilities; the area of a dot is the logarithm of its count."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for name, curve in curves.items():
        probability, frequency, counts = curve.curve()
        line = axes.plot(probability, frequency, label=f"{name} (error {curve.expected_error():.3f})")[0]
        axes.scatter(probability, frequency, s=8 * np.log1p(counts), color=line.get_color())
    axes.set(xlabel="probability", ylabel="frequency", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    with files.replacing(path) as aside:
        figure.savefig(aside, dpi=120)
