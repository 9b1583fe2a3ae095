"""The points of the map as they are sent: thinned only where there are too many, outliers never."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from browsing import collection
from hypothesis import given, settings
from hypothesis import strategies as st

from boiler.browser import map_data
from boiler.errors import QueryError
from boiler.search.nearest import Map, Nearest


@pytest.mark.parametrize(("n_points", "max_points"), [(5_000, 1_000), (5_000, 37), (5_000, 4_999), (60, 1)])
def test_thinning_keeps_as_many_as_allowed_and_every_outlier(n_points: int, max_points: int) -> None:
    random = np.random.default_rng(0)
    xy = (0.5 + 0.01 * random.normal(size=(n_points, 2))).astype(np.float32)
    xy[:3] = [[0, 0], [1, 1], [0, 1]]
    kept = map_data.thin_points(xy, max_points)
    assert len(kept) <= max_points
    assert (np.diff(kept) > 0).all()
    if max_points >= 1_000:
        assert {0, 1, 2} <= set(kept.tolist())
        assert len(kept) > 0.9 * max_points


@given(n_points=st.integers(0, 300), max_points=st.integers(1, 300), seed=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_thinning_never_exceeds_and_never_repeats(n_points: int, max_points: int, seed: int) -> None:
    xy = np.random.default_rng(seed).random((n_points, 2)).astype(np.float32)
    kept = map_data.thin_points(xy, max_points)
    assert len(kept) == len(set(kept.tolist())) <= max_points
    assert n_points > max_points or len(kept) == n_points


def unpacked(body: bytes) -> tuple[int, int, np.ndarray, np.ndarray, np.ndarray]:
    count, total = struct.unpack_from("<II", body)
    n = np.frombuffer(body, "<u4", count, 8)
    x = np.frombuffer(body, "<u2", count, 8 + 4 * count)
    y = np.frombuffer(body, "<u2", count, 8 + 6 * count)
    colour = np.frombuffer(body, np.uint8, count, 8 + 8 * count)
    assert len(body) == 8 + 9 * count
    return count, total, n, np.stack([x, y], axis=1) / 65_535, colour


@pytest.mark.slow
def test_the_packed_points_are_the_map_of_the_index() -> None:
    nearest = Nearest(collection()[1])
    coloured = map_data.current_map(nearest)
    assert coloured is not None
    count, total, n, xy, colour = unpacked(map_data.pack_points(coloured, "label", None))
    assert count == total == 21  # without the silent one
    assert n.tolist() == coloured.map.n.tolist()
    assert np.abs(xy - coloured.map.xy).max() < 1e-4
    names = [name for name, _ in coloured.legends["label"]]
    assert [names[one] for one in colour] == list(coloured.map.labels)


@pytest.mark.slow
def test_a_box_selects_a_part_of_the_map() -> None:
    coloured = map_data.current_map(Nearest(collection()[1]))
    assert coloured is not None
    _, total, _, xy, _ = unpacked(map_data.pack_points(coloured, "cluster", (0.0, 0.0, 0.5, 1.0)))
    assert 0 < total < 21
    assert xy[:, 0].max() <= 0.5


def test_labels_beyond_the_palette_share_a_colour() -> None:
    n_labels = map_data.N_COLOURS + 3
    labels = (*(f"label {n % n_labels}" for n in range(5 * n_labels)), None)
    numbers = np.arange(len(labels))
    coloured = map_data.colour_map(
        Map(numbers, np.zeros((len(labels), 2), np.float32), np.zeros(len(labels), np.int64), labels)
    )
    assert coloured.default_by == "label"
    assert len(coloured.legends["label"]) == map_data.N_COLOURS + 1
    assert coloured.legends["label"][-1] == ("all others", 3 * 5 + 1)
    assert (coloured.colours["label"] == map_data.OTHER).sum() == 3 * 5 + 1


def test_a_single_label_beyond_the_palette_is_named() -> None:
    labels = tuple(f"label {n}" for n in range(map_data.N_COLOURS + 1))
    count = len(labels)
    coloured = map_data.colour_map(
        Map(np.arange(count), np.zeros((count, 2), np.float32), np.zeros(count, np.int64), labels)
    )
    assert coloured.legends["label"][-1] == ("label 9", 1)


def test_without_labels_the_colours_are_clusters() -> None:
    coloured = map_data.colour_map(Map(np.arange(4), np.zeros((4, 2), np.float32), np.array([0, 0, 1, 0]), (None,) * 4))
    assert coloured.default_by == "cluster"
    assert coloured.legends["cluster"] == [("Cluster 1", 3), ("Cluster 2", 1)]


@pytest.mark.parametrize("text", ["", "1,2,3", "a,b,c,d", "1,2,3,4,5"])
def test_a_malformed_box_is_refused(text: str) -> None:
    with pytest.raises(QueryError, match="four numbers"):
        map_data.parse_box(text)
