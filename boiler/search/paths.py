"""Sequences of sounds: a path from one sound to another in even steps, and a playlist that drifts away from its seeds.

No sound appears twice. The same index, arguments and seed give the same sequence.

>>> from boiler.search.nearest import ByItem, Nearest
>>> nearest = Nearest("exp/esc10/MFCCStats")  # doctest: +SKIP
>>> path_between(nearest, ByItem("rain/a.ogg"), ByItem("dog/b.ogg"), steps=8)  # doctest: +SKIP
>>> playlist(nearest, [ByItem("rain/a.ogg"), ByItem("rain/b.ogg")], 30, drift=0.2)  # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from boiler import engine
from boiler.arrays import Float32Array
from boiler.errors import QueryError
from boiler.search.nearest import ByVector, Nearest
from boiler.search.query import Match, Options
from boiler.search.seeds import ByItem, QueryInput, checked_k, to_seeds

CANDIDATES = 4
"""A playlist draws its next sound at random from this many nearest ones."""
_SMALL_ANGLE = 1e-6  # radians, or length of a vector: below it there is no direction to go


def path_between(
    nearest: Nearest, start: QueryInput, end: QueryInput, steps: int = 10, options: Options | None = None
) -> list[Match]:
    """`steps` sounds on the way from `start` to `end`, both left out: those nearest to points at even angles on the
    great circle between them. `Match.distance` is the distance to the point. Fewer only where there are fewer sounds.

    Raises: QueryError: steps below 1; start and end are opposite vectors; and what `Nearest.query` raises.
    """
    steps = checked_k(steps)
    options = options or Options()
    first, last = nearest.query_vector(start).astype(np.float64), nearest.query_vector(end).astype(np.float64)
    angle = float(np.arccos(np.clip(first @ last, -1, 1)))
    if np.pi - angle < 1e-3:
        raise QueryError("the two vectors are opposite, so no path between them is the shortest: choose another sound")
    used = set(options.without) | _items_of(start) | _items_of(end)
    path: list[Match] = []
    for share in np.arange(1, steps + 1) / (steps + 1):
        # At a tiny angle a straight line is the same, and needs no division by the angle.
        weights = (np.sin((1 - share) * angle), np.sin(share * angle)) if angle > _SMALL_ANGLE else (1 - share, share)
        point = engine.normalize(weights[0] * first + weights[1] * last)
        path += nearest.query(ByVector(point), 1, replace(options, without=frozenset(used))).matches
        used |= {match.n for match in path}
    return path


def playlist(
    nearest: Nearest,
    seeds: QueryInput,
    length: int = 30,
    *,
    drift: float = 0.2,
    seed: int = 0,
    options: Options | None = None,
) -> list[Match]:
    """`length` sounds, starting near `seeds`. After each one the query moves towards it by the fraction `drift`: at 0
    the playlist stays around the seeds, at 1 each sound resembles only the one before. Each is drawn at random, with
    the random seed `seed`, from the `CANDIDATES` nearest sounds that were not used yet.

    Raises: QueryError: length below 1, drift not from 0 to 1; and what `Nearest.query` raises.
    """
    length = checked_k(length)
    if not 0 <= drift <= 1:
        raise QueryError(f"drift is from 0 to 1, not {drift}")
    options = options or Options()
    random = np.random.default_rng(seed)
    point: Float32Array = nearest.query_vector(seeds)
    used = set(options.without) | _items_of(seeds)
    chosen: list[Match] = []
    while len(chosen) < length:
        candidates = nearest.query(ByVector(point), CANDIDATES, replace(options, without=frozenset(used))).matches
        if not candidates:
            break
        match = candidates[int(random.integers(len(candidates)))]
        chosen.append(match)
        used.add(match.n)
        moved = (1 - drift) * point + drift * nearest.query_vector(ByItem(match.n)).astype(np.float64)
        if np.linalg.norm(moved) > _SMALL_ANGLE:  # else the two are opposite, and the query stays
            point = engine.normalize(moved)
    return chosen


def _items_of(query: QueryInput) -> set[str | int]:
    return {seed.id_or_n for seed in to_seeds(query) if isinstance(seed, ByItem)}
