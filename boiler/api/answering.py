"""From what was found to the answer: rendered by orjson from plain rows, with engine and generation in the head.

FastAPI's own way, a response model filled and encoded, costs more than the search; the models in `boiler.api.models`
say what the rows look like, and a test holds the rows to them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

import orjson
from boiler.api.nearest import Match
from starlette.requests import Request
from starlette.responses import Response

from boiler.api.meters import meters
from boiler.api.service import Service, of_request
from boiler.records import Item

ENGINE = "X-Boiler-Engine"
GENERATION = "X-Boiler-Generation"

_ITEM_FIELDS = tuple(field.name for field in dataclasses.fields(Item) if field.name not in ("mtime_s", "file"))


def json(content: Any, headers: dict[str, str] | None = None) -> Response:
    """Any plain content as JSON; NaN cannot be in it."""
    return Response(orjson.dumps(content), 200, headers, "application/json")


def rows(matches: Iterable[Match]) -> list[dict[str, Any]]:
    """The rows of `POST /nearest`."""
    return [
        {
            "id": match.id,
            "n": match.n,
            "url": match.url,
            "label": match.label,
            "start_s": round(match.start_s, 4),
            "end_s": round(match.end_s, 4),
            "distance": round(match.distance, 6),
            "similarity": round(match.similarity, 6),
        }
        for match in matches
    ]


def item(one: Item) -> dict[str, Any]:
    """What goes out of an item: never where its file lies."""
    return {name: getattr(one, name) for name in _ITEM_FIELDS} | {"folder": one.folder}


def heads(service: Service) -> dict[str, str]:
    """What every answer of a search carries in its head."""
    return {ENGINE: service.nearest.engine_name, GENERATION: service.nearest.generation}


async def neighbours(request: Request, search: Callable[[], list[Match]], validated_s: float = 0.0) -> Response:
    """Asks, and answers the bare list of rows; times both."""
    service = of_request(request)
    before = perf_counter()
    matches = await service.ask(search)
    found = perf_counter()
    answer = json(rows(matches), heads(service))
    rendered = perf_counter()
    if service.settings.metrics:
        meter = meters()
        if validated_s:
            meter.observe("validate", validated_s)
        meter.observe("search", found - before)
        meter.observe("render", rendered - found)
    return answer
