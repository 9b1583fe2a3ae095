"""From what was found to the answer: rendered by orjson from plain rows, with engine and generation in the head.

FastAPI's own way, a response model filled and encoded, costs more than the search; the models in `boiler.service.schemas`
say what the rows look like, and a test holds the rows to them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any, Generic, NamedTuple, TypeVar

import orjson
from starlette.requests import Request
from starlette.responses import Response

from boiler.catalog.items import SERVED, Item
from boiler.search.nearest import Match, Nearest
from boiler.service.row_renderer import ENGINE, GENERATION
from boiler.service.state import Service, of_request

Results = TypeVar("Results")


def json(content: Any, headers: dict[str, str] | None = None, status: int = 200) -> Response:
    """Any plain content as JSON; NaN cannot be in it."""
    return Response(orjson.dumps(content), status, headers, "application/json")


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


def full_rows(matches: Iterable[Match]) -> list[dict[str, Any]]:
    """The rows of `POST /nearest/query`: those of `rows`, and what is known besides."""
    matches = list(matches)
    return [
        row
        | {
            "closer_than": round(match.closer_than, 6),
            "asked_start_s": match.query_start_s,
            "asked_end_s": match.query_end_s,
            "folded": list(match.folded),
        }
        for row, match in zip(rows(matches), matches, strict=True)
    ]


def heads(engine: str, generation: str) -> dict[str, str]:
    """What every answer of a search carries in its head."""
    return {ENGINE: engine, GENERATION: generation}


def item(one: Item) -> dict[str, Any]:
    """What goes out of an item: never where its file lies."""
    return {name: getattr(one, name) for name in SERVED}


async def neighbours(request: Request, search: Callable[[], list[Match]]) -> Response:
    """Asks, and answers the bare list of rows."""
    service = of_request(request)
    found = await searched(request, service, search)
    started = perf_counter()
    answer = json(rows(found.results), heads(found.engine, found.generation))
    stages(request)["render"] = perf_counter() - started
    return answer


class Found(NamedTuple, Generic[Results]):
    """What a search gave, and from which engine and index."""

    results: Results
    engine: str
    generation: str


async def searched(request: Request, service: Service, search: Callable[[], Results]) -> Found[Results]:
    """The results of a search, all of one index, and which one that was."""
    started = perf_counter()
    found = await service.ask(functools.partial(_steady, service.nearest, search))
    stages(request)["search"] = perf_counter() - started
    service.searched(found.engine)
    return found


async def searched_long(service: Service, search: Callable[[], Results]) -> Found[Results]:
    """The same for what takes its time."""
    return await service.long(functools.partial(_steady, service.nearest, search))


def _steady(nearest: Nearest, search: Callable[[], Results]) -> Found[Results]:
    while True:
        generation, engine = nearest.generation, nearest.engine_name
        results = search()
        if nearest.generation == generation:  # else a newer index was taken up meanwhile: ask that one
            return Found(results, engine, generation)


def stages(request: Request) -> dict[str, float]:
    """Seconds spent in each stage of this request: the edge counts and logs them when it is over."""
    spent: dict[str, float] = request.scope["state"]["stages"]
    return spent
