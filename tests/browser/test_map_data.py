"""The points of the map as they are sent: none lost without need, the lonely ones never."""

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


@pytest.mark.parametrize(("n_points", "most"), [(5_000, 1_000), (5_000, 37), (5_000, 4_999), (60, 1)])
def test_thinning_keeps_as_many_as_it_may_and_every_lonely_one(n_points: int, most: int) -> None:
    random = np.random.default_rng(0)
    xy = (0.5 + 0.01 * random.normal(size=(n_points, 2))).astype(np.float32)
    xy[:3] = [[0, 0], [1, 1], [0, 1]]
    kept = map_data.thinned(xy, most)
    assert len(kept) <= most
    assert (np.diff(kept) > 0).all()
    if most >= 1_000:
        assert {0, 1, 2} <= set(kept.tolist())
        assert len(kept) > 0.9 * most


@given(n_points=st.integers(0, 300), most=st.integers(1, 300), seed=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_thinning_never_exceeds_and_never_repeats(n_points: int, most: int, seed: int) -> None:
    xy = np.random.default_rng(seed).random((n_points, 2)).astype(np.float32)
    kept = map_data.thinned(xy, most)
    assert len(kept) == len(set(kept.tolist())) <= most
    assert n_points > most or len(kept) == n_points


def unpacked(body: bytes) -> tuple[int, int, np.ndarray, np.ndarray, np.ndarray]:
    count, total = struct.unpack_from("<II", body)
    n = np.frombuffer(body, "<u4", count, 8)
    x = np.frombuffer(body, "<u2", count, 8 + 4 * count)
    y = np.frombuffer(body, "<u2", count, 8 + 6 * count)
    colour = np.frombuffer(body, np.uint8, count, 8 + 8 * count)
    assert len(body) == 8 + 9 * count
    return count, total, n, np.stack([x, y], axis=1) / 65_535, colour


def test_what_is_packed_is_the_map_of_the_index() -> None:
    nearest = Nearest(collection()[1])
    found = map_data.grouped(nearest)
    assert found is not None
    count, total, n, xy, colour = unpacked(map_data.pack(found, "label", None))
    assert count == total == 21  # the silent one has no place
    assert n.tolist() == found.map.n.tolist()
    assert np.abs(xy - found.map.xy).max() < 1e-4
    names = [name for name, _ in found.names["label"]]
    assert [names[one] for one in colour] == list(found.map.labels)


def test_a_box_is_a_piece_of_it() -> None:
    found = map_data.grouped(Nearest(collection()[1]))
    assert found is not None
    _, total, _, xy, _ = unpacked(map_data.pack(found, "cluster", (0.0, 0.0, 0.5, 1.0)))
    assert 0 < total < 21
    assert xy[:, 0].max() <= 0.5


def test_labels_beyond_the_palette_are_the_rest() -> None:
    n_labels = map_data.COLOURS + 3
    labels = (*(f"label {n % n_labels}" for n in range(5 * n_labels)), None)
    numbers = np.arange(len(labels))
    found = map_data.group(
        Map(numbers, np.zeros((len(labels), 2), np.float32), np.zeros(len(labels), np.int64), labels)
    )
    assert found.by == "label"
    assert len(found.names["label"]) == map_data.COLOURS + 1
    assert found.names["label"][-1] == ("all others", 3 * 5 + 1)
    assert (found.colours["label"] == map_data.REST).sum() == 3 * 5 + 1


def test_a_single_label_beyond_the_palette_is_named() -> None:
    labels = tuple(f"label {n}" for n in range(map_data.COLOURS + 1))
    count = len(labels)
    found = map_data.group(Map(np.arange(count), np.zeros((count, 2), np.float32), np.zeros(count, np.int64), labels))
    assert found.names["label"][-1] == ("label 9", 1)


def test_without_labels_there_are_clusters() -> None:
    found = map_data.group(Map(np.arange(4), np.zeros((4, 2), np.float32), np.array([0, 0, 1, 0]), (None,) * 4))
    assert found.by == "cluster"
    assert found.names["cluster"] == [("Group 1", 3), ("Group 2", 1)]


@pytest.mark.parametrize("text", ["", "1,2,3", "a,b,c,d", "1,2,3,4,5"])
def test_a_box_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(QueryError, match="four numbers"):
        map_data.box_of(text)
