"""Near-duplicates are grouped, and other sounds are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boiler import engine
from boiler.catalog.items import Item
from boiler.errors import QueryError
from boiler.search import duplicates
from boiler.search.nearest import Nearest
from boiler.store import generation
from boiler.store.generation import Header, rows_of

DIM = 16


@pytest.fixture(scope="module")
def nearest(tmp_path_factory: pytest.TempPathFactory) -> Nearest:
    """200 sounds, every seventh of two windows; 40 to 59 are copies of 3, 60 to 62 of 7, 63 of 8 but longer."""
    random = np.random.default_rng(0)
    vectors = engine.normalize(random.normal(size=(200, DIM)))
    lengths_s = 1 + random.random(200)
    for first, copies in ((3, range(40, 60)), (7, range(60, 63)), (8, range(63, 64))):
        vectors[list(copies)] = engine.normalize(vectors[first] + random.normal(0, 0.003, size=(len(copies), DIM)))
        lengths_s[list(copies)] = lengths_s[first]
    lengths_s[63] *= 2
    numbers = np.repeat(np.arange(200), np.where(np.arange(200) % 7 == 0, 2, 1))
    items = [Item(n, f"s{n}.wav", duration_s=float(lengths_s[n])) for n in range(200)]
    folder = tmp_path_factory.mktemp("duplicates") / "model"
    generation.publish(folder, Header(encoder="none", dim=DIM), vectors[numbers], rows_of(numbers), items)
    return Nearest(folder)


def test_groups_are_sorted_by_size(nearest: Nearest) -> None:
    groups = nearest.duplicates(0.1)
    assert [set(group.ids) for group in groups] == [
        {f"s{n}.wav" for n in (3, *range(40, 60))},
        {f"s{n}.wav" for n in (7, 60, 61, 62)},
    ]
    assert groups[0].ids[0] == "s3.wav"
    assert all(0 < group.max_distance < 0.1 for group in groups)


def test_a_smaller_distance_finds_fewer(nearest: Nearest) -> None:
    assert nearest.duplicates(0.0) == []
    found = sum(len(group.ids) for group in nearest.duplicates(0.012))
    assert 0 < found < 25


def test_an_invalid_distance_is_refused(nearest: Nearest) -> None:
    with pytest.raises(QueryError, match="from 0 to 2"):
        nearest.duplicates(-1)


def test_progress_is_reported_and_can_stop_it(nearest: Nearest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_BLOCK", 50)
    shares: list[float] = []
    assert nearest.duplicates(on_progress=shares.append) == nearest.duplicates()
    assert shares == [0.0, 0.25, 0.5, 0.75]
    with pytest.warns(DeprecationWarning, match="on_progress="):
        nearest.duplicates(tell=shares.append)  # type: ignore[call-arg]  # its old name
    assert len(shares) == 8

    def enough(share: float) -> None:
        if share >= 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nearest.duplicates(on_progress=enough)


def test_an_empty_index_has_no_duplicates(tmp_path: Path) -> None:
    generation.publish(tmp_path / "m", Header(encoder="none", dim=3), np.zeros((0, 3), np.float32), rows_of([]), [])
    assert Nearest(tmp_path / "m").duplicates() == []


def test_the_deprecated_name_of_the_distance_still_works() -> None:
    with pytest.deprecated_call(match="DuplicateGroup.max_distance"):
        assert duplicates.DuplicateGroup(("a", "b"), 0.25).widest == 0.25
