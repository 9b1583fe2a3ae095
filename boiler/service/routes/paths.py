"""The route for a path of sounds that leads from one item to another."""

from __future__ import annotations

import functools
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from boiler.search import paths
from boiler.search.seeds import ByItem
from boiler.service import responses, schemas
from boiler.service.state import service_of_request

router = APIRouter(tags=["relations"])

MAX_STEPS = 100


class PathQuery(schemas.RequestModel):
    """The two ends of a path, and its length."""

    from_n: int = Field(ge=0, lt=2**63, description="number of the first item", examples=[0])
    to_n: int = Field(ge=0, lt=2**63, description="number of the last item", examples=[3])
    steps: int = Field(10, ge=1, le=MAX_STEPS, description="number of sounds between the two")


class PathResponse(schemas.ResponseModel):
    """The sounds of the path, in order. `distance` is to the interpolated point of each step."""

    results: list[schemas.Neighbour]
    engine: schemas.EngineName
    generation: schemas.GenerationName


@router.get("/path", operation_id="path_between", response_model=PathResponse)
async def get_path(request: Request, query: Annotated[PathQuery, Query()]) -> Response:
    """Sounds that lead from one item to another in steps of equal size, without these two."""
    service = service_of_request(request)
    search = functools.partial(
        paths.path_between, service.nearest, ByItem(query.from_n), ByItem(query.to_n), steps=query.steps
    )
    found = await responses.long_search(service, search)
    source = {"engine": found.engine, "generation": found.generation}
    results = responses.neighbour_rows(found.results)
    return responses.json_response({"results": results, **source}, responses.search_headers(**source))
