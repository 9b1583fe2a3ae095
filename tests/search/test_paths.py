"""Paths between two sounds and playlists from one sound, without repetition."""

from __future__ import annotations

import numpy as np
import pytest

from boiler import engine
from boiler.catalog.items import Item
from boiler.errors import QueryError
from boiler.search.filters import field
from boiler.search.nearest import ByItem, ByVector, Nearest, Options
from boiler.search.paths import path_between, playlist
from boiler.store import generation
from boiler.store.generation import Header, rows_of

N = 400
ANGLES = np.linspace(0, np.pi * 0.9, N)


@pytest.fixture(scope="module")
def nearest(tmp_path_factory: pytest.TempPathFactory) -> Nearest:
    """Sounds on a half circle, so that the path is known."""
    vectors = engine.normalize(np.stack([np.cos(ANGLES), np.sin(ANGLES), np.full(N, 0.01)], axis=1))
    folder = tmp_path_factory.mktemp("journeys") / "model"
    items = [Item(n, f"s{n}.wav", label=f"l{n % 2}") for n in range(N)]
    generation.publish(folder, Header(encoder="none", dim=3), vectors, rows_of(np.arange(N)), items)
    return Nearest(folder)


def test_a_path_has_even_steps(nearest: Nearest) -> None:
    way = [match.n for match in path_between(nearest, ByItem(0), ByItem(N - 1), 9)]
    assert way == sorted(way)
    strides = np.diff([0, *way, N - 1])
    assert strides.max() - strides.min() <= 2
    assert [match.n for match in path_between(nearest, ByItem(N - 1), ByItem(0), 9)] == way[::-1]


@pytest.mark.slow
def test_no_sound_is_repeated_and_filters_apply(nearest: Nearest) -> None:
    way = [match.n for match in path_between(nearest, ByItem(0), ByItem(2), 30)]
    assert len(way) == len(set(way)) == 30
    assert not {0, 2} & set(way)
    odd = path_between(
        nearest, ByItem(0), ByItem(100), 12, Options(where=field("label") == "l1", without=frozenset({51}))
    )
    assert all(match.n % 2 for match in odd)
    assert 51 not in {match.n for match in odd}
    assert len(path_between(nearest, ByItem(0), ByItem(9), 500)) == N - 2


def test_opposite_vectors_have_no_shortest_path(nearest: Nearest) -> None:
    with pytest.raises(QueryError, match="opposite"):
        path_between(nearest, ByVector([1.0, 0, 0]), ByVector([-1.0, 0, 0]))
    assert len(path_between(nearest, ByItem(5), ByItem(5), 3)) == 3


@pytest.mark.slow
def test_a_playlist_is_the_same_for_the_same_seed_and_never_repeats(nearest: Nearest) -> None:
    one = playlist(nearest, ByItem(200), 40, seed=3)
    assert one == playlist(nearest, ByItem(200), 40, seed=3) != playlist(nearest, ByItem(200), 40, seed=4)
    assert len({match.n for match in one}) == 40
    assert 200 not in {match.n for match in one}
    assert len(playlist(nearest, ByItem(200), 1000)) == N - 1


def test_drift_moves_farther_from_the_start(nearest: Nearest) -> None:
    def reach(drift: float) -> float:
        lists = [playlist(nearest, ByItem(200), 30, drift=drift, seed=seed) for seed in range(5)]
        return float(np.mean([max(abs(match.n - 200) for match in one) for one in lists]))

    assert reach(0.0) < reach(1.0)


@pytest.mark.parametrize("wrong", [{"length": 0}, {"drift": 1.5}])
def test_invalid_arguments_are_refused(nearest: Nearest, wrong: dict[str, float]) -> None:
    with pytest.raises(QueryError):
        playlist(nearest, ByItem(0), **wrong)  # type: ignore[arg-type]
