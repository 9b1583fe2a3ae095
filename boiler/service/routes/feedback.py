"""Routes for feedback: which results of a query are good and which are not. `POST /nearest/query` takes it into
account.

With API keys, adding and undoing feedback needs the scope feedback, and reading all of it needs admin.
"""

from __future__ import annotations

import functools
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from boiler.service import openapi, requests, responses, schemas
from boiler.service.policy import requires
from boiler.service.problems import Problem
from boiler.service.routes.search import parse_seed
from boiler.service.state import service_of_request

router = APIRouter(prefix="/feedback", tags=["feedback"])

JSON_LINES = "application/x-ndjson"

_UserField = Annotated[schemas.UserName, Field(description="who gives the feedback: any name", examples=["ann"])]


class FeedbackRequest(schemas.BodyModel):
    """Feedback on one result of a query."""

    RENAMED = {"question": "query", "who": "user"}  # noqa: RUF012

    query: schemas.SeedRequest
    answer: Annotated[schemas.ItemNumber, Field(description="number of the item that was returned", examples=[3])]
    like: Annotated[bool, Field(description="whether it is a good result")]
    user: _UserField = None
    question: Annotated[schemas.SeedRequest | None, Field(deprecated=True, description="old name of query")] = None
    who: Annotated[_UserField, Field(deprecated=True, description="old name of user")] = None


class FeedbackResponse(schemas.ResponseModel):
    """Feedback that was stored."""

    id: int = Field(description="for DELETE /feedback/{id}", examples=[1])


@router.post(
    "",
    operation_id="add_feedback",
    status_code=201,
    response_model=FeedbackResponse,
    openapi_extra=openapi.json_body(FeedbackRequest),
)
@requires(scope="feedback")
async def add_feedback(request: Request) -> Response:
    """Store feedback. It is kept when the index is rebuilt. If a user gives feedback on the same result several times,
    the latest counts."""
    service = service_of_request(request)
    body = await requests.read_json(request, FeedbackRequest)
    query = await parse_seed(service, body.query, "/query")
    owner = request.scope["state"].get("key_owner")
    add = functools.partial(
        service.nearest.add_feedback, query, body.answer, like=body.like, user=body.user, owner=owner
    )
    return responses.json_response({"id": await service.run_heavy(add)}, status=201)


@router.delete("/{id}", operation_id="undo_feedback", status_code=204, response_class=Response)
@requires(scope="feedback")
async def undo_feedback(
    request: Request,
    id: Annotated[int, Path(ge=1, lt=2**63, description="id of the feedback", examples=[1])],
    user: Annotated[
        str | None,
        Query(min_length=1, max_length=200, description="only if this user gave it"),
    ] = None,
) -> Response:
    """Undo feedback. Where API keys are required, that of other keys can be undone with the scope admin only."""
    service = service_of_request(request)
    state = request.scope["state"]
    owner = None if state.get("key_scope", "admin") == "admin" else state["key_owner"]
    undo = functools.partial(service.nearest.undo_feedback, id, user=user, anyone=user is None, owner=owner)
    if not await service.run_heavy(undo):
        raise Problem(404, "unknown-judgement", f"there is no feedback {id} that you may undo, or it was undone before")
    return Response(None, 204)


@router.get(
    "",
    operation_id="list_feedback",
    response_class=Response,
    responses={
        200: {
            "description": "One JSON object per line. `undone_at` is the time when feedback was undone, or null.",
            "content": {
                JSON_LINES: {
                    "schema": {"type": "string"},
                    "example": '{"judgement": 1, "at": "2026-01-01T00:00:00.000+00:00", "user": "ann", "question":'
                    ' "item:dog/a.ogg", "item": "dog/b.ogg", "like": true, "generation": "000001-1a2b3c4d",'
                    ' "undone_at": null, "who": "ann"}\n',
                }
            },
        }
    },
)
@requires(scope="admin")
async def list_feedback(request: Request) -> Response:
    """All feedback, to evaluate, train with or back up. `who` is the old name of `user`."""
    service = service_of_request(request)
    lines = await service.run_heavy(lambda: "".join(f"{line}\n" for line in service.nearest.feedback.export()))
    return Response(lines.encode(), 200, media_type=JSON_LINES)
