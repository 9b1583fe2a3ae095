"""Near-duplicates in a whole collection, without comparing all pairs. They are reported; nothing is merged or deleted.

Two items are near-duplicates if their vectors are nearer than a given distance and their durations differ by at most
5 %. Each item is compared with the nearest neighbours of its first window, which the engine finds; a group is a
connected component of such pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from boiler.arrays import Float32Array, Int64Array
from boiler.deprecated import RenamedAttribute
from boiler.errors import QueryError
from boiler.progress import ProgressCallback, ignore_progress
from boiler.search.rerank import equally_long
from boiler.search.snapshot import Snapshot

MAX_DISTANCE = 0.1
"""Two encodings of one recording are mostly nearer than this."""
NEIGHBOURS = 16
_BLOCK = 1_024


@dataclass(frozen=True)
class DuplicateGroup:
    """The ids of near-duplicates in the order of their item numbers, and the largest distance of a pair among them."""

    ids: tuple[str, ...]
    max_distance: float

    widest = RenamedAttribute("max_distance")


def find_groups(
    snapshot: Snapshot, max_distance: float = MAX_DISTANCE, on_progress: ProgressCallback = ignore_progress
) -> list[DuplicateGroup]:
    """The groups, largest first; groups of equal size in the order of their item numbers.

    Raises: QueryError: a distance that is not from 0 to 2; and what `on_progress` raises.
    """
    numbers = _searchable_numbers(snapshot)
    pairs = list(_similar_pairs(snapshot, numbers, max_distance, on_progress))
    if not pairs:
        return []
    # Imported here: it takes a fifth of a second, which other searches need not spend.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one, other, distance = (np.array(values) for values in zip(*pairs, strict=True))
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(len(numbers), len(numbers)))
    n_groups, group_of = connected_components(graph, directed=False)
    widest = np.zeros(n_groups)
    np.maximum.at(widest, group_of[one], distance)
    by_group = np.argsort(group_of, kind="stable")
    members = np.split(by_group, np.cumsum(np.bincount(group_of, minlength=n_groups))[:-1])
    groups = sorted((some for some in members if len(some) > 1), key=lambda some: (-len(some), some[0]))
    return [
        DuplicateGroup(
            tuple(name.id for name in snapshot.names(numbers[some].tolist())), float(widest[group_of[some[0]]])
        )
        for some in groups
    ]


def find_pairs(snapshot: Snapshot, max_distance: float = MAX_DISTANCE) -> list[tuple[int, int, float]]:
    """Pairs of near-duplicates: the numbers of the two items, the lower first, and their distance; ascending.

    Raises: QueryError: a distance that is not from 0 to 2.
    """
    numbers = _searchable_numbers(snapshot)
    pairs = _similar_pairs(snapshot, numbers, max_distance, ignore_progress)
    once = {(min(one, other), max(one, other)): distance for one, other, distance in pairs}
    return [(int(numbers[one]), int(numbers[other]), distance) for (one, other), distance in sorted(once.items())]


def _searchable_numbers(snapshot: Snapshot) -> Int64Array:
    return snapshot.numbers[_first_rows(snapshot)]


def _first_rows(snapshot: Snapshot) -> Int64Array:
    return np.flatnonzero(np.diff(snapshot.numbers, prepend=-1))


def _similar_pairs(
    snapshot: Snapshot, numbers: Int64Array, max_distance: float, on_progress: ProgressCallback
) -> Iterator[tuple[int, int, float]]:
    """Positions in `numbers` of two near-duplicates, and their distance. A pair may appear in both orders."""
    if not 0 <= max_distance <= 2:
        raise QueryError(f"a distance is from 0 to 2, not {max_distance}")
    vectors: Float32Array = np.asarray(snapshot.generation.item_vectors)
    first_rows = _first_rows(snapshot)
    durations_s = np.array(snapshot.items.column("duration_s"))
    for begin in range(0, len(first_rows), _BLOCK):
        on_progress(begin / len(first_rows))
        block = np.arange(begin, min(begin + _BLOCK, len(first_rows)))
        found = snapshot.engine.query(snapshot.vectors[first_rows[block]], NEIGHBOURS + 1)
        neighbours_of = np.searchsorted(numbers, snapshot.numbers[found.rows])
        for item, neighbours in zip(block.tolist(), neighbours_of, strict=True):
            distances = np.linalg.norm(vectors[neighbours] - vectors[item], axis=1)
            similar = (neighbours != item) & (distances < max_distance)
            similar &= equally_long(durations_s[item], durations_s[neighbours])
            for other, distance in zip(neighbours[similar].tolist(), distances[similar].tolist(), strict=True):
                yield item, other, distance
