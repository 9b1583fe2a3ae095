"""Batched searches give the results of single ones, and do not affect each other."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import publish

from boiler.errors import QueryError
from boiler.search.nearest import Nearest
from boiler.search.snapshot import RankedItems, Snapshot
from boiler.service.batching import QueryBatcher
from boiler.store import generation
from boiler.store.generation import Header, Item, rows_of


@pytest.fixture
def nearest(tmp_path: Path) -> Nearest:
    publish(tmp_path, n_items=500)
    return Nearest(tmp_path)


class Recording:
    """A `Nearest` that records the number of queries of each search."""

    def __init__(self, nearest: Nearest) -> None:
        self._nearest = nearest
        self.searches: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._nearest, name)

    def rank(self, query: Any, k: int) -> tuple[Snapshot, RankedItems]:
        self.searches.append(1)
        return self._nearest.rank(query, k)

    def rank_many(self, vectors: Any, k: int) -> tuple[Snapshot, list[RankedItems]]:
        self.searches.append(len(vectors))
        return self._nearest.rank_many(vectors, k)


def queries(n: int, dim: int = 16) -> Any:
    return 7.0 * np.random.default_rng(5).normal(size=(n, dim))


def same(found: tuple[Snapshot, RankedItems], alone: tuple[Snapshot, RankedItems]) -> bool:
    return found[0] is alone[0] and all(
        np.array_equal(getattr(found[1], name), getattr(alone[1], name))
        for name in ("numbers", "rows", "query_index", "distances")
    )


def batcher_of(nearest: Any) -> QueryBatcher:
    return QueryBatcher(nearest)


def test_simultaneous_queries_are_one_search(nearest: Nearest) -> None:
    recording = Recording(nearest)
    batcher = batcher_of(recording)

    async def main() -> list[tuple[Snapshot, RankedItems]]:
        return await asyncio.gather(*(batcher.ranked(query, 7) for query in queries(20)))

    found = asyncio.run(main())
    assert recording.searches == [20]
    assert all(same(one, nearest.rank(query, 7)) for one, query in zip(found, queries(20), strict=True))


def test_single_query_is_searched_alone(nearest: Nearest) -> None:
    recording = Recording(nearest)
    for query in queries(50):  # normalising twice changes the last digits of some
        recording.searches.clear()
        found = asyncio.run(batcher_of(recording).ranked(query, 7))
        assert recording.searches == [1]
        assert same(found, nearest.rank(query, 7))


def test_each_k_is_a_batch(nearest: Nearest) -> None:
    recording = Recording(nearest)
    batcher = batcher_of(recording)

    async def main() -> list[tuple[Snapshot, RankedItems]]:
        return await asyncio.gather(*(batcher.ranked(query, 3 + at % 2) for at, query in enumerate(queries(9))))

    found = asyncio.run(main())
    assert sorted(recording.searches) == [4, 5]
    assert [len(ranked.rows) for _, ranked in found] == [3, 4] * 4 + [3]


def test_invalid_and_cancelled_queries_do_not_affect_others(nearest: Nearest) -> None:
    batcher = batcher_of(nearest)

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(batcher.ranked(query, 5)) for query in [*queries(4), [1.0, 2.0]]]
        await asyncio.sleep(0)
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    *found, wrong = asyncio.run(main())
    assert isinstance(wrong, QueryError)
    assert isinstance(found.pop(1), asyncio.CancelledError)
    assert all(same(one, nearest.rank(queries(4)[at], 5)) for one, at in zip(found, (0, 2, 3), strict=True))


def test_index_of_another_dim_opened_meanwhile_is_an_error_for_each(nearest: Nearest, tmp_path: Path) -> None:
    batcher = batcher_of(nearest)

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(batcher.ranked(query, 5)) for query in queries(3)]
        await asyncio.sleep(0)
        items = [Item(n, f"s{n}.wav") for n in range(9)]
        header = Header(encoder="other", dim=9)
        generation.publish(tmp_path, header, np.eye(9, dtype=np.float32), rows_of(np.arange(9)), items)
        assert nearest.refresh()
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert [str(one) for one in asyncio.run(main())] == [
        "the vector has 16 numbers, this index has 9: embed with the encoder of this index"
    ] * 3
