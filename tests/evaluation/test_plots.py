"""Plots are written for few and many classes, and the map shows the principal components."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boiler.evaluation import plots


def is_png(path: Path) -> bool:
    return path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and path.stat().st_size > 5000


@pytest.mark.parametrize("n_labels", [1, 3, 25])
def test_plots_are_written(n_labels: int, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    names = [f"class {n}" for n in range(n_labels)]
    shares = draw.random((n_labels, n_labels))
    plots.plot_confusion(tmp_path / "c.png", shares / shares.sum(1, keepdims=True), names, "title")
    values = {"one": draw.random(n_labels), "other": np.full(n_labels, np.nan)}
    plots.plot_per_class(tmp_path / "p.png", names, values, 0.1, "P@10", "title")
    labels = draw.integers(-1, n_labels, 200)
    plots.plot_map(tmp_path / "m.png", draw.standard_normal((200, 7)), labels, names, "title")
    assert all(is_png(tmp_path / name) for name in ("c.png", "p.png", "m.png"))


def test_principal_components_find_the_plane_of_largest_variance() -> None:
    draw = np.random.default_rng(3)
    plane = draw.standard_normal((400, 2)) * [5, 2]
    directions = np.linalg.qr(draw.standard_normal((9, 9)))[0][:, :2]
    points, share = plots.principal_components(plane @ directions.T + 0.01 * draw.standard_normal((400, 9)) + 7)
    assert share == pytest.approx(1, abs=1e-3)
    # distances between points are kept
    np.testing.assert_allclose(
        np.linalg.norm(points[:-1] - points[1:], axis=1), np.linalg.norm(plane[:-1] - plane[1:], axis=1), atol=0.15
    )
    assert points[:, 0].var() > points[:, 1].var()


@pytest.mark.parametrize("shape", [(1, 4), (5, 1), (3, 2)])
def test_principal_components_of_very_little(shape: tuple[int, int]) -> None:
    points, share = plots.principal_components(np.ones(shape))
    assert points.shape == (shape[0], 2)
    assert not points.any()
    assert share == 0


def test_the_same_vectors_give_the_same_map() -> None:
    vectors = np.random.default_rng(1).standard_normal((50, 6))
    one, _ = plots.principal_components(vectors)
    other, _ = plots.principal_components(vectors[::-1])
    np.testing.assert_allclose(one, other[::-1], atol=1e-9)
