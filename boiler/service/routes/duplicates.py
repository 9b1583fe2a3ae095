"""The route for near-duplicates in the whole collection."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from boiler.search import duplicates
from boiler.service import responses, schemas
from boiler.service.state import service_of_request

router = APIRouter(tags=["relations"])

MAX_GROUPS = 1_000


MaxDistance = Annotated[
    float,
    Field(ge=0, le=2, allow_inf_nan=False, description="distance up to which two sounds are near-duplicates"),
]


class DuplicatesQuery(schemas.RequestModel):
    """Which groups to list."""

    RENAMED = {"nearer_than": "max_distance"}  # noqa: RUF012

    max_distance: MaxDistance = 0.1
    nearer_than: Annotated[MaxDistance, Field(deprecated=True, description="old name of max_distance")] = 0.1
    offset: int = Field(0, ge=0, lt=2**53, description="number of groups to skip")
    limit: int = Field(50, ge=1, le=MAX_GROUPS, description="maximal number of groups")


class DuplicateGroupRow(schemas.ResponseModel):
    """Items that are nearly identical."""

    ids: list[str] = Field(examples=[["dog/a.ogg", "dog/a (1).ogg"]])
    max_distance: float = Field(
        description="largest distance between two near-duplicates of the group", examples=[0.02]
    )
    widest: float = Field(description="old name of max_distance", examples=[0.02], deprecated=True)


class DuplicatesResponse(schemas.ResponseModel):
    """A page of groups, the largest first."""

    groups: list[DuplicateGroupRow]
    offset: int = Field(examples=[0])
    total: int = Field(description="number of groups in all", examples=[1])
    generation: schemas.GenerationName


@router.get("/duplicates", operation_id="list_duplicates", response_model=DuplicatesResponse)
async def list_duplicates(request: Request, query: Annotated[DuplicatesQuery, Query()]) -> Response:
    """Groups of nearly identical sounds. Nothing is merged."""
    service = service_of_request(request)

    def find() -> list[duplicates.DuplicateGroup]:
        return service.duplicates_cache.get(
            (service.nearest.generation, query.max_distance), lambda: service.nearest.duplicates(query.max_distance)
        )

    found = await responses.long_search(service, find)

    def render() -> Response:
        page = found.results[query.offset : query.offset + query.limit]
        distances = [round(group.max_distance, 6) for group in page]
        groups = [
            {"ids": group.ids, "max_distance": distance, "widest": distance}
            for group, distance in zip(page, distances, strict=True)
        ]
        source = {"total": len(found.results), "generation": found.generation}
        return responses.json_response({"groups": groups, "offset": query.offset, **source})

    return await service.run_heavy(render)
