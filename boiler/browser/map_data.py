"""The points of the map, as the visitor's browser fetches them: small, by address, kept until the index changes.

==================================  ==================================================================================
``GET .../map``                     the points, packed: see `pack`; ``by`` label or cluster; ``box`` x0,y0,x1,y1 a piece
                                    of it; at most `MOST_DRAWN`, thinned where they lie thickest
``GET .../{n}/about``               what the map says of one of them, as JSON
==================================  ==================================================================================
"""

from __future__ import annotations

import collections
import functools
import struct
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

import anyio.to_thread
import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from boiler.arrays import Float32Array, Int64Array, UInt8Array
from boiler.errors import QueryError
from boiler.search.nearest import Map, Nearest
from boiler.service import media, problems

MOST_DRAWN = 60_000
COLOURS = 9  # as many as the palette of map.js has; what is beyond them is grey
REST = 255
_CELLS = 192  # a side: where points are counted that have to be thinned
_KEPT = "private, max-age=31536000, immutable"  # the generation stands in the address


@dataclass(frozen=True)
class Grouped:
    """The map of a generation, and the colour of each point by label and by cluster. Names of the colours in order,
    each with how many points have it; by ``label`` only where there are labels to tell apart."""

    map: Map
    colours: dict[str, UInt8Array]
    names: dict[str, list[tuple[str, int]]]

    @property
    def by(self) -> str:
        """What to colour by, when nothing is said."""
        return "label" if "label" in self.colours else "cluster"


_made: weakref.WeakKeyDictionary[Nearest, tuple[str, Grouped | None]] = weakref.WeakKeyDictionary()


def grouped(nearest: Nearest) -> Grouped | None:
    """The map of the current generation, made once for each; None where the index has none."""
    name = nearest.generation
    kept = _made.get(nearest)
    if kept is None or kept[0] != name:
        found = nearest.map()
        kept = _made[nearest] = (name, None if found is None else group(found))
    return kept[1]


def group(found: Map) -> Grouped:
    """Give each point its colours."""
    clusters = np.bincount(found.cluster, minlength=1)
    colours = {"cluster": np.minimum(found.cluster, REST).astype(np.uint8)}
    names = {"cluster": [(f"Group {place + 1}", int(count)) for place, count in enumerate(clusters)]}
    counted = collections.Counter(label for label in found.labels if label)
    if len(counted) > 1:
        most = sorted(counted, key=lambda label: (-counted[label], label))[:COLOURS]
        rank = {label: place for place, label in enumerate(most)}
        colours["label"] = np.array([rank.get(label or "", REST) for label in found.labels], np.uint8)
        names["label"] = [(label, counted[label]) for label in most]
        if rest := len(found.labels) - sum(counted[label] for label in most):
            last = set(counted) - set(most)
            alone = len(last) == 1 and rest == counted[next(iter(last))]
            names["label"].append((next(iter(last)) if alone else "all others", rest))
    return Grouped(found, colours, names)


def thinned(xy: Float32Array, most: int = MOST_DRAWN) -> Int64Array:
    """Which points to draw when all are too many: rows, rising, `most` at most. Where few lie all stay, so that no
    lonely sound is lost; of the cells where most lie, as many as there is room for, every so many-th.

    >>> crowd = np.full((100, 2), 0.5, np.float32)
    >>> crowd[0] = 0.1
    >>> thinned(crowd, 11).tolist()[:3], len(thinned(crowd, 11))
    ([0, 1, 11], 11)
    """
    if len(xy) <= most:
        return np.arange(len(xy))
    low, high = xy.min(axis=0), xy.max(axis=0)
    cells = np.minimum(((xy - low) / np.maximum(high - low, 1e-9) * _CELLS).astype(np.int64), _CELLS - 1)
    cell = cells[:, 0] * _CELLS + cells[:, 1]
    order = np.argsort(cell, kind="stable")
    _, first, count = np.unique(cell[order], return_index=True, return_counts=True)
    # The largest share of a cell for which all together fit.
    few, many = 0, int(count.max())
    while few < many:
        middle = (few + many + 1) // 2
        few, many = (middle, many) if np.minimum(count, middle).sum() <= most else (few, middle - 1)
    if not few:  # more cells than points to be drawn
        return np.sort(order[first[:: -(-len(first) // most)]])
    within = np.arange(len(order)) - np.repeat(first, count)
    total = np.repeat(count, count)
    share = np.minimum(total, few)
    keep = (within * share) // total != ((within - 1) * share) // total
    return np.sort(order[keep])


def pack(found: Grouped, by: str, box: tuple[float, float, float, float] | None) -> bytes:
    """The points for the page, little-endian: uint32 how many, uint32 how many there are in the box, then uint32 n of
    each, uint16 x and uint16 y of each (65,535 is 1), uint8 colour of each (255 is the rest)."""
    xy = found.map.xy
    rows = np.arange(len(xy))
    if box is not None:
        low, high = np.array(box[:2], np.float32), np.array(box[2:], np.float32)
        rows = np.flatnonzero(((xy >= low) & (xy <= high)).all(axis=1))
    drawn = rows[thinned(xy[rows])]
    places = np.rint(xy[drawn] * 65_535).astype("<u2")
    return b"".join(
        (
            struct.pack("<II", len(drawn), len(rows)),
            found.map.n[drawn].astype("<u4").tobytes(),
            np.ascontiguousarray(places[:, 0]).tobytes(),
            np.ascontiguousarray(places[:, 1]).tobytes(),
            found.colours[by][drawn].tobytes(),
        )
    )


def routes(nearest: Callable[[], Nearest]) -> list[BaseRoute]:
    """Both, to be mounted beside the sounds."""

    async def points(request: Request) -> Response:
        opened, query = nearest(), request.query_params
        found = await anyio.to_thread.run_sync(grouped, opened)
        if found is None:
            raise problems.Problem(404, "no-map", "this index was made without a map: run boiler index again")
        by = query.get("by", found.by)
        if by not in found.colours:
            raise QueryError(f"by is one of {', '.join(found.colours)}, not {by!r}")
        body = await anyio.to_thread.run_sync(pack, found, by, box_of(query.get("box")))
        kept = _KEPT if query.get("generation") == opened.generation else "no-cache"
        return Response(body, media_type="application/octet-stream", headers={"Cache-Control": kept})

    async def about(request: Request) -> Response:
        number = media.number(request.path_params["n"])
        item = await anyio.to_thread.run_sync(functools.partial(nearest().item, number))
        said = {
            "n": item.n,
            "name": PurePosixPath(item.id).name,
            "folder": item.folder,
            "label": item.label,
            "duration": item.duration_s,
        }
        return Response(orjson.dumps(said), media_type="application/json")

    return [
        Route("/map", media.guarded(points), methods=["GET"], name="map_points"),
        Route("/{n}/about", media.guarded(about), methods=["GET"], name="item_about"),
    ]


def box_of(text: str | None) -> tuple[float, float, float, float] | None:
    """The piece of the map that is asked for.

    Raises: QueryError: not four numbers.

    >>> box_of("0,0.25,0.5,1"), box_of(None)
    ((0.0, 0.25, 0.5, 1.0), None)
    """
    if text is None:
        return None
    try:
        x0, y0, x1, y1 = map(float, text.split(","))
    except ValueError as error:
        raise QueryError(f"box is four numbers, x0,y0,x1,y1, not {text[:80]!r}") from error
    return x0, y0, x1, y1
