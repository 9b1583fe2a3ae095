"""The route for the files that could not be indexed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from boiler.service import responses, schemas
from boiler.service.state import service_of_request

router = APIRouter(tags=["items"])


class FailuresQuery(schemas.RequestModel):
    """Which files to list."""

    offset: int = Field(0, ge=0, lt=2**53, description="number of files to skip")
    limit: int = Field(50, ge=1, le=1_000, description="maximal number of files")


class FailureRow(schemas.ResponseModel):
    """A file that could not be indexed."""

    id: str = Field(description="path relative to the indexed folder", examples=["dog/empty.wav"])
    reason: str = Field(examples=["the file is empty"])
    sha256: str = Field(description="hash of its bytes; empty if they could not be read", examples=["e3b0…"])


class FailuresResponse(schemas.ResponseModel):
    """A page of files, ordered by id."""

    failures: list[FailureRow]
    offset: int = Field(examples=[0])
    more: bool = Field(description="whether there are files after this page", examples=[False])
    generation: schemas.GenerationName


@router.get("/failures", operation_id="list_failures", response_model=FailuresResponse)
async def list_failures(request: Request, page: Annotated[FailuresQuery, Query()]) -> Response:
    """The files of the folder that are not in the index, and why."""
    nearest = service_of_request(request).nearest

    def select() -> Response:
        generation, failures = nearest.failures(offset=page.offset, limit=page.limit + 1)
        rows = [{"id": one.id, "reason": one.reason, "sha256": one.sha256} for one in failures[: page.limit]]
        more = len(failures) > page.limit
        return responses.json_response(
            {"failures": rows, "offset": page.offset, "more": more, "generation": generation}
        )

    return await service_of_request(request).run_heavy(select)
