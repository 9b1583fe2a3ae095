"""The data of the map, fetched by the visitor's browser and cached there until the index changes.

==================================  ==================================================================================
``GET .../map``                     the points in a binary format, see `pack_points`; ``by``: colour by label or
                                    cluster; ``box``: x0,y0,x1,y1, only this part; at most `MAX_POINTS`, see
                                    `thin_points`
``GET .../{n}/about``               name, folder, label and duration of an item, as JSON
==================================  ==================================================================================
"""

from __future__ import annotations

import collections
import functools
import struct
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import anyio.to_thread
import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from boiler.arrays import Float32Array, Int64Array, UInt8Array
from boiler.errors import QueryError
from boiler.search.nearest import Landmark, Map, Nearest
from boiler.service import media, problems

MAX_POINTS = 60_000
N_COLOURS = 9  # colours in the palette of map.js; all other groups are grey
OTHER = 255  # the colour number of all other groups
_GRID_CELLS = 192  # per side, to count how dense the points are
_CACHE_FOREVER = "private, max-age=31536000, immutable"  # the generation is part of the URL


@dataclass(frozen=True)
class ColouredMap:
    """The map of a generation with the colour number of each point, ``colours["label"]`` (only where there are labels)
    and ``colours["cluster"]``, the legend: name and number of points of each colour, in order; and the words on it."""

    map: Map
    colours: dict[str, UInt8Array]
    legends: dict[str, list[tuple[str, int]]]
    landmarks: tuple[Landmark, ...] = ()

    @property
    def default_by(self) -> str:
        """The default of what to colour by."""
        return "label" if "label" in self.colours else "cluster"


_cached_maps: weakref.WeakKeyDictionary[Nearest, tuple[str, ColouredMap | None]] = weakref.WeakKeyDictionary()


def current_map(nearest: Nearest) -> ColouredMap | None:
    """The map of the current generation, computed once for each; None where the index has none."""
    generation_name = nearest.generation
    cached = _cached_maps.get(nearest)
    if cached is None or cached[0] != generation_name:
        layout = nearest.map()
        coloured = None if layout is None else replace(colour_map(layout), landmarks=nearest.landmarks())
        cached = _cached_maps[nearest] = (generation_name, coloured)
    return cached[1]


def colour_map(layout: Map) -> ColouredMap:
    """Assign colours: to the most frequent labels, and to all clusters."""
    sizes = np.bincount(layout.cluster, minlength=1)
    colours = {"cluster": np.minimum(layout.cluster, OTHER).astype(np.uint8)}
    legends = {"cluster": [(f"Cluster {number}", int(size)) for number, size in enumerate(sizes, 1)]}
    counts = collections.Counter(label for label in layout.labels if label)
    if len(counts) > 1:
        top = sorted(counts, key=lambda label: (-counts[label], label))[:N_COLOURS]
        rank = {label: place for place, label in enumerate(top)}
        colours["label"] = np.array([rank.get(label or "", OTHER) for label in layout.labels], np.uint8)
        legends["label"] = [(label, counts[label]) for label in top]
        if n_others := len(layout.labels) - sum(counts[label] for label in top):
            others = set(counts) - set(top)
            only_label = next(iter(others)) if len(others) == 1 else None
            name = only_label if only_label and counts[only_label] == n_others else "all others"
            legends["label"].append((name, n_others))
    return ColouredMap(layout, colours, legends)


def thin_points(xy: Float32Array, max_points: int = MAX_POINTS) -> Int64Array:
    """The rows of the points to draw, ascending, at most `max_points`. All points of sparse regions are kept, so that
    no outlier is lost; dense cells of a grid are thinned evenly.

    Shape: xy [N, 2] -> [M]

    >>> crowd = np.full((100, 2), 0.5, np.float32)
    >>> crowd[0] = 0.1
    >>> thin_points(crowd, 11).tolist()[:3], len(thin_points(crowd, 11))
    ([0, 1, 11], 11)
    """
    if len(xy) <= max_points:
        return np.arange(len(xy))
    low, high = xy.min(axis=0), xy.max(axis=0)
    cells = ((xy - low) / np.maximum(high - low, 1e-9) * _GRID_CELLS).astype(np.int64)
    cells = np.minimum(cells, _GRID_CELLS - 1)
    cell = cells[:, 0] * _GRID_CELLS + cells[:, 1]
    order = np.argsort(cell, kind="stable")
    _, first, count = np.unique(cell[order], return_index=True, return_counts=True)
    # Binary search for the largest number of points per cell with which all cells together fit.
    low_limit, high_limit = 0, int(count.max())
    while low_limit < high_limit:
        middle = (low_limit + high_limit + 1) // 2
        if np.minimum(count, middle).sum() <= max_points:
            low_limit = middle
        else:
            high_limit = middle - 1
    if not low_limit:  # more cells than points to draw
        return np.sort(order[first[:: -(-len(first) // max_points)]])
    rank = np.arange(len(order)) - np.repeat(first, count)
    total = np.repeat(count, count)
    share = np.minimum(total, low_limit)
    keep = (rank * share) // total != ((rank - 1) * share) // total
    return np.sort(order[keep])


def pack_points(coloured: ColouredMap, by: str, box: tuple[float, float, float, float] | None) -> bytes:
    """The points for the page, little-endian: uint32 number of points that follow, uint32 number of points in the box;
    then as columns uint32 item number, uint16 x, uint16 y (65,535 is 1.0), uint8 colour (`OTHER`: all others)."""
    xy = coloured.map.xy
    rows = np.arange(len(xy))
    if box is not None:
        low, high = np.array(box[:2], np.float32), np.array(box[2:], np.float32)
        rows = np.flatnonzero(((xy >= low) & (xy <= high)).all(axis=1))
    drawn = rows[thin_points(xy[rows])]
    scaled = np.rint(xy[drawn] * 65_535).astype("<u2")
    return b"".join(
        (
            struct.pack("<II", len(drawn), len(rows)),
            coloured.map.n[drawn].astype("<u4").tobytes(),
            np.ascontiguousarray(scaled[:, 0]).tobytes(),
            np.ascontiguousarray(scaled[:, 1]).tobytes(),
            coloured.colours[by][drawn].tobytes(),
        )
    )


def map_routes(nearest: Callable[[], Nearest]) -> list[BaseRoute]:
    """The routes ``/map`` and ``/{n}/about``, mounted below `indexes.OpenIndex.sounds_url`."""

    async def points(request: Request) -> Response:
        index, query = nearest(), request.query_params
        coloured = await anyio.to_thread.run_sync(current_map, index)
        if coloured is None:
            raise problems.Problem(404, "no-map", "this index has no map: run boiler index again")
        by = query.get("by", coloured.default_by)
        if by not in coloured.colours:
            raise QueryError(f"by is one of {', '.join(coloured.colours)}, not {by!r}")
        body = await anyio.to_thread.run_sync(pack_points, coloured, by, parse_box(query.get("box")))
        cache_control = _CACHE_FOREVER if query.get("generation") == index.generation else "no-cache"
        return Response(body, media_type="application/octet-stream", headers={"Cache-Control": cache_control})

    async def about(request: Request) -> Response:
        number = media.item_number(request.path_params["n"])
        item = await anyio.to_thread.run_sync(functools.partial(nearest().item, number))
        body = {
            "n": item.n,
            "name": PurePosixPath(item.id).name,
            "folder": item.folder,
            "label": item.label,
            "duration_s": item.duration_s,
        }
        return Response(orjson.dumps(body), media_type="application/json")

    return [
        Route("/map", media.with_problems(points), methods=["GET"], name="map_points"),
        Route("/{n}/about", media.with_problems(about), methods=["GET"], name="item_about"),
    ]


def parse_box(text: str | None) -> tuple[float, float, float, float] | None:
    """The part of the map between two corners, as four numbers from 0 to 1.

    Raises: QueryError: not four numbers.

    >>> parse_box("0,0.25,0.5,1"), parse_box(None)
    ((0.0, 0.25, 0.5, 1.0), None)
    """
    if text is None:
        return None
    try:
        x0, y0, x1, y1 = map(float, text.split(","))
    except ValueError as error:
        raise QueryError(f"box is four numbers, x0,y0,x1,y1, not {text[:80]!r}") from error
    return x0, y0, x1, y1
