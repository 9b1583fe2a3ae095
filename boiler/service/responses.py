"""Turns results into responses: rendered by orjson from plain dicts, with engine and generation in the headers.

FastAPI's own way, a response model that is filled and encoded, costs more than the search. The models in
`boiler.service.schemas` describe the responses, and tests validate the responses against them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response

from boiler.catalog.items import SERVED, Item
from boiler.search.nearest import Match, Nearest
from boiler.search.words import Understood
from boiler.service.row_renderer import ENGINE_HEADER, GENERATION_HEADER
from boiler.service.state import Service, service_of_request

Results = TypeVar("Results")


def json_response(content: Any, headers: dict[str, str] | None = None, status: int = 200) -> Response:
    """Plain content as JSON. orjson renders NaN as null."""
    return Response(orjson.dumps(content), status, headers, "application/json")


def to_json(value: Any) -> Any:
    """Plain content of a dataclass or named tuple: objects with their fields, numbers rounded to 6 decimals.

    >>> to_json(((1.0000001, "x"), None))
    [[1.0, 'x'], None]
    """
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "_asdict"):
        return {name: to_json(one) for name, one in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [to_json(one) for one in value]
    return round(float(value), 6) if isinstance(value, float | np.floating) else value


def neighbour_rows(matches: Iterable[Match]) -> list[dict[str, Any]]:
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
            "closer_than": None if match.closer_than is None else round(match.closer_than, 6),
        }
        for match in matches
    ]


def query_rows(matches: Iterable[Match]) -> list[dict[str, Any]]:
    """The rows of `POST /nearest/query`: those of `neighbour_rows` with further fields."""
    matches = list(matches)
    return [
        row
        | {
            "query_start_s": match.query_start_s,
            "query_end_s": match.query_end_s,
            "folded": list(match.folded),
            "words": [to_json(one) for one in match.words],
            "asked_start_s": match.query_start_s,
            "asked_end_s": match.query_end_s,
        }
        for row, match in zip(neighbour_rows(matches), matches, strict=True)
    ]


def understood_rows(understood: Iterable[Understood]) -> list[dict[str, Any]]:
    """How words and pictures were understood."""
    return [
        {
            "wanted": one.text.wanted,
            "unwanted": one.text.unwanted,
            "unknown": dict(zip(one.text.unknown, one.text.spelled_alike, strict=True)),
            "wanted_classes": to_json(one.wanted),
            "unwanted_classes": to_json(one.unwanted),
            "seen": to_json(one.seen),
        }
        for one in understood
    ]


def search_headers(engine: str, generation: str) -> dict[str, str]:
    """The headers of every search response."""
    return {ENGINE_HEADER: engine, GENERATION_HEADER: generation}


def item_row(item: Item) -> dict[str, Any]:
    """An item without its path on this machine."""
    return {name: getattr(item, name) for name in SERVED}


class SearchResult(NamedTuple, Generic[Results]):
    """The results of a search, and the engine and generation that produced all of them."""

    results: Results
    engine: str
    generation: str


async def neighbours_response(request: Request, search: Callable[[], list[Match]]) -> Response:
    """Search, and respond with a list of rows."""
    service = service_of_request(request)
    nearest, stages = service.nearest, stage_times(request)

    def search_and_render() -> tuple[Response, str]:
        started = perf_counter()
        found = _search_one_generation(nearest, search)
        searched = perf_counter()
        response = json_response(neighbour_rows(found.results), search_headers(found.engine, found.generation))
        stages.update(search=searched - started, render=perf_counter() - searched)
        return response, found.engine

    response, engine = await service.run_heavy(search_and_render)
    service.count_searches(engine)
    return response


async def long_search(service: Service, search: Callable[[], Results]) -> SearchResult[Results]:
    """Run a search of seconds. Raises: Problem: 503"""
    return await service.run_long(functools.partial(_search_one_generation, service.nearest, search))


def _search_one_generation(nearest: Nearest, search: Callable[[], Results]) -> SearchResult[Results]:
    """Repeats the search if a newer index was opened meanwhile."""
    while True:
        generation, engine = nearest.generation, nearest.engine_name
        results = search()
        if nearest.generation == generation:
            return SearchResult(results, engine, generation)


def stage_times(request: Request) -> dict[str, float]:
    """The seconds spent in each stage of this request so far; to be added to. See `RequestMiddleware`."""
    stages: dict[str, float] = request.scope["state"]["stages"]
    return stages
