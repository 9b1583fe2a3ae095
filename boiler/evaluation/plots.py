"""Plots of an evaluation: confusion matrix, a measure by class, and a map of the items by principal components.

Each function writes one PNG.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from boiler.arrays import Float64Array, FloatArray, IntArray

MAX_CLASSES = 60  # more names cannot be read in one plot
MAX_COLORS = 20
MAX_POINTS = 20_000


def plot_confusion(path: Path, shares: FloatArray, names: Sequence[str], title: str) -> None:
    """Plot a confusion matrix. Shape: shares [L, L], rows are labels of queries, columns those of answers"""
    side = 2.5 + 0.28 * len(names)
    figure = _figure(side + 1, side)
    axes = figure.add_subplot()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("label of the answer")
    axes.set_ylabel("label of the query")
    axes.set_title(title)
    if len(names) <= 20:
        for row, column in np.argwhere(shares >= 0.01):
            share = shares[row, column]
            axes.text(
                column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=8,
                color="white" if share > 0.5 else "black",
            )  # fmt: skip
    figure.colorbar(image, ax=axes, label="share of the answers", fraction=0.046)
    figure.savefig(path)


def plot_per_class(
    path: Path, names: Sequence[str], values: Mapping[str, FloatArray], chance: float, measure: str, title: str
) -> None:
    """Plot a measure by class, best first. `values`: by encoder, ordered by the first; NaN where a class has none."""
    first = next(iter(values.values()))
    order = np.argsort(np.nan_to_num(first, nan=-1.0), kind="stable")[-MAX_CLASSES:]
    figure = _figure(8, 1.5 + 0.28 * len(order))
    axes = figure.add_subplot()
    height = 0.8 / len(values)
    for place, (encoder, of_class) in enumerate(values.items()):
        where = np.arange(len(order)) + 0.4 - height * (place + 0.5)
        axes.barh(where, of_class[order], height, label=encoder, color=f"C{place}")
    axes.axvline(chance, color="0.4", linestyle=":", label="chance")
    axes.set_yticks(range(len(order)), [names[place] for place in order])
    axes.set_xlim(0, 1)
    axes.set_xlabel(measure)
    axes.set_title(title)
    axes.legend(loc="lower right")
    figure.savefig(path)


def plot_map(path: Path, vectors: FloatArray, labels: IntArray, names: Sequence[str], title: str) -> None:
    """Plot the items on their first two principal components, coloured by class.

    Shape: vectors [N, D], labels [N], -1 for none
    """
    chosen = np.random.default_rng(0).permutation(len(vectors))[:MAX_POINTS]
    points, share = principal_components(vectors[chosen])
    figure = _figure(9, 7)
    axes = figure.add_subplot()
    frequent = np.argsort(-np.bincount(labels[labels >= 0], minlength=len(names)), kind="stable")[:MAX_COLORS]
    rest = ~np.isin(labels[chosen], frequent)
    size = float(np.clip(4000 / max(len(chosen), 1), 2, 24))
    if rest.any():
        axes.scatter(points[rest, 0], points[rest, 1], s=size, color="0.8", linewidths=0)
    colours = colormaps["tab10" if len(frequent) <= 10 else "tab20"]
    for place, label in enumerate(sorted(frequent.tolist())):
        here = labels[chosen] == label
        colour = colours(place % MAX_COLORS)
        axes.scatter(points[here, 0], points[here, 1], s=size, color=colour, label=names[label], linewidths=0)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(f"the two components explain {100 * share:.0f} % of the variance")
    axes.set_title(title)
    if names:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=1.5, frameon=False)
    figure.savefig(path)


def principal_components(vectors: FloatArray) -> tuple[Float64Array, float]:
    """The first two principal components, and the fraction of the variance that they explain. Their signs are fixed, so
    the same vectors give the same plot on every machine.

    Shape: [N, D] -> [N, 2]
    """
    centred = np.asarray(vectors, np.float64)
    centred = centred - centred.mean(0, keepdims=True)
    variances, directions = np.linalg.eigh(centred.T @ centred)
    chosen = directions[:, ::-1][:, :2]
    chosen = chosen * np.sign(chosen[np.abs(chosen).argmax(0), np.arange(chosen.shape[1])])
    points = np.zeros((len(vectors), 2))
    points[:, : chosen.shape[1]] = centred @ chosen
    total = float(variances.sum())
    return points, float(variances[-2:].sum()) / total if total > 0 else 0.0


def _figure(width: float, height: float) -> Figure:
    """A figure without pyplot, which would share state between threads."""
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
