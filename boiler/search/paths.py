"""Lists that lead somewhere: from one sound to another in even strides, and a playlist that drifts away from its seeds.

No sound comes twice, and the same index, arguments and seed give the same list.

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
from boiler.search.nearest import ByItem, ByVector, Nearest
from boiler.search.query import Match, Options
from boiler.search.seeds import QueryInput, k_of, seeds_of

CHOICE = 4  # of how many of the nearest a playlist draws the next


def path_between(
    nearest: Nearest, start: QueryInput, end: QueryInput, steps: int = 10, options: Options | None = None
) -> list[Match]:
    """`steps` sounds on the way from one to the other, without these two: the nearest to each of as many points at even
    angles between them. `Match.distance` is that to the point. Fewer only where there are fewer sounds.

    Raises: QueryError: steps not 1 or more; start and end are opposite each other; and what `Nearest.query` raises.
    """
    steps = k_of(steps)
    options = options or Options()
    one, other = nearest.query_vector(start), nearest.query_vector(end)
    angle = float(np.arccos(np.clip(one.astype(np.float64) @ other, -1, 1)))
    if np.pi - angle < 1e-3:
        raise QueryError(
            "the two sounds are opposite each other, so no way between them is the shortest: go by a third"
        )
    heard = set(options.without) | _items_of(start) | _items_of(end)
    found: list[Match] = []
    for share in np.arange(1, steps + 1) / (steps + 1):
        # Along the great circle; where the two are all but one, a straight line is the same.
        weights = (np.sin((1 - share) * angle), np.sin(share * angle)) if angle > 1e-6 else (1 - share, share)
        point = engine.normalize(weights[0] * one.astype(np.float64) + weights[1] * other)
        next_ = nearest.query(ByVector(point), 1, replace(options, without=frozenset(heard))).matches
        found += next_
        heard |= {match.n for match in next_}
    return found


def playlist(
    nearest: Nearest,
    question: QueryInput,
    length: int = 30,
    *,
    drift: float = 0.2,
    seed: int = 0,
    options: Options | None = None,
) -> list[Match]:
    """`length` sounds that begin near to the seeds. After each one the point asked with moves the share `drift` of the
    way to it: at 0 the list stays around the seeds, at 1 each sound only resembles the one before. Each is drawn from
    the few nearest that were not heard yet, by `seed`.

    Raises: QueryError: length not 1 or more, drift not from 0 to 1; and what `Nearest.query` raises.
    """
    length = k_of(length)
    if not 0 <= drift <= 1:
        raise QueryError(f"drift is from 0 to 1, not {drift}")
    options = options or Options()
    random = np.random.default_rng(seed)
    point: Float32Array = nearest.query_vector(question)
    heard = set(options.without) | _items_of(question)
    found: list[Match] = []
    while len(found) < length:
        near = nearest.query(ByVector(point), CHOICE, replace(options, without=frozenset(heard))).matches
        if not near:
            break
        chosen = near[int(random.integers(len(near)))]
        found.append(chosen)
        heard.add(chosen.n)
        towards = nearest.query_vector(ByItem(chosen.n)).astype(np.float64)
        moved = (1 - drift) * point + drift * towards
        if np.linalg.norm(moved) > 1e-6:  # else it is opposite: stay
            point = engine.normalize(moved)
    return found


def _items_of(question: QueryInput) -> set[str | int]:
    return {seed.id_or_n for seed in seeds_of(question) if isinstance(seed, ByItem)}
