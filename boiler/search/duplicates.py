"""Groups of near-identical sounds in a whole collection, without comparing all pairs: proposed, never merged.

Each item is compared with the neighbours of its first window alone, which the engine finds. Two items are alike when
their vectors are nearer than a given distance and their lengths differ by 5 % at most; a group is what hangs together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from boiler.arrays import Float32Array, Int64Array
from boiler.deprecated import RenamedAttribute
from boiler.errors import QueryError
from boiler.progress import ProgressCallback, ignore_progress
from boiler.search.rerank import SAME_LENGTH
from boiler.search.snapshot import Snapshot

MAX_DISTANCE = 0.1  # two codings of one recording mostly are
NEIGHBOURS = 16
_BLOCK = 1_024


@dataclass(frozen=True)
class DuplicateGroup:
    """The ids of sounds that are nearly the same, in the order of their numbers, and the greatest distance between
    two that were found alike."""

    ids: tuple[str, ...]
    max_distance: float

    widest = RenamedAttribute("max_distance")


def find_groups(
    snapshot: Snapshot, max_distance: float = MAX_DISTANCE, on_progress: ProgressCallback = ignore_progress
) -> list[DuplicateGroup]:
    """The groups, the largest first, equally large ones in the order of their numbers.

    Raises: QueryError: a distance that is not from 0 to 2; and what `on_progress` raises.
    """
    numbers = _sounding(snapshot)
    parents = np.arange(len(numbers))
    found = list(_alike(snapshot, numbers, max_distance, on_progress))
    for one, other, _ in found:
        _join(parents, one, other)
    members: dict[int, set[int]] = {}
    widest: dict[int, float] = {}
    for one, other, distance in found:
        root = _root(parents, one)
        members.setdefault(root, set()).update((one, other))
        widest[root] = max(widest.get(root, 0.0), distance)
    ordered = sorted(members, key=lambda root: (-len(members[root]), root))  # the root is the first of its group
    return [DuplicateGroup(_ids(snapshot, numbers[sorted(members[root])]), widest[root]) for root in ordered]


def find_pairs(snapshot: Snapshot, max_distance: float = MAX_DISTANCE) -> list[tuple[int, int, float]]:
    """The numbers of every two items that were found alike, the lower first, and their distance; in rising order.

    Raises: QueryError: a distance that is not from 0 to 2.
    """
    numbers = _sounding(snapshot)
    found = _alike(snapshot, numbers, max_distance, ignore_progress)
    once = {(min(one, other), max(one, other)): apart for one, other, apart in found}
    return [(int(numbers[one]), int(numbers[other]), apart) for (one, other), apart in sorted(once.items())]


def _sounding(snapshot: Snapshot) -> Int64Array:
    return snapshot.numbers[np.flatnonzero(np.diff(snapshot.numbers, prepend=-1))]


def _alike(
    snapshot: Snapshot, numbers: Int64Array, max_distance: float, on_progress: ProgressCallback
) -> Iterator[tuple[int, int, float]]:
    """Positions in `numbers` of two items that are alike, and their distance; a pair may come from both sides."""
    if not 0 <= max_distance <= 2:
        raise QueryError(f"a distance is from 0 to 2, not {max_distance}")
    vectors: Float32Array = np.asarray(snapshot.generation.item_vectors)
    firsts = np.flatnonzero(np.diff(snapshot.numbers, prepend=-1))
    lengths_s = np.array(snapshot.items.column("duration_s"))
    for begin in range(0, len(firsts), _BLOCK):
        on_progress(begin / len(firsts))
        mine = np.arange(begin, min(begin + _BLOCK, len(firsts)))
        found = snapshot.engine.query(snapshot.vectors[firsts[mine]], NEIGHBOURS + 1)
        others = np.searchsorted(numbers, snapshot.numbers[found.rows])
        for one, some in zip(mine.tolist(), others, strict=True):
            apart = np.linalg.norm(vectors[some] - vectors[one], axis=1)
            longer = np.maximum(lengths_s[some], lengths_s[one])
            alike = (some != one) & (apart < max_distance)
            alike &= np.abs(lengths_s[some] - lengths_s[one]) <= SAME_LENGTH * longer
            for other, distance in zip(some[alike].tolist(), apart[alike].tolist(), strict=True):
                yield one, other, distance


def _ids(snapshot: Snapshot, numbers: Int64Array) -> tuple[str, ...]:
    return tuple(name.id for name in snapshot.names(numbers.tolist()))


def _root(parents: Int64Array, item: int) -> int:
    while parents[item] != item:
        parents[item] = parents[parents[item]]
        item = int(parents[item])
    return item


def _join(parents: Int64Array, one: int, other: int) -> None:
    one, other = _root(parents, one), _root(parents, other)
    parents[max(one, other)] = min(one, other)
