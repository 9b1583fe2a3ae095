"""The paths of feedback: what is, or is not, a good answer to a question. The next `POST /nearest/query` heeds it.

With keys, judging and taking back need the scope feedback, and reading what was judged needs admin.
"""

from __future__ import annotations

import functools
from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import Field
from starlette.responses import Response

from boiler.service import requests, responses, schemas
from boiler.service.problems import Problem
from boiler.service.routes.search import described, seed_of
from boiler.service.state import of_request

router = APIRouter(prefix="/feedback", tags=["feedback"])

JSON_LINES = "application/x-ndjson"


class JudgementRequest(schemas.Asked):
    """That an item is, or is not, a good answer to what was asked."""

    question: schemas.SeedRequest
    answer: Annotated[schemas.ItemNumber, Field(description="the item that was answered", examples=[3])]
    like: Annotated[bool, Field(description="whether it is a good answer")]
    who: Annotated[
        str | None, Field(min_length=1, max_length=200, description="whose judgement it is: any name", examples=["ann"])
    ] = None


class Judgement(schemas.Answer):
    """A judgement that was kept."""

    id: int = Field(description="for DELETE /feedback/{id}", examples=[1])


@router.post(
    "", operation_id="judge", status_code=201, response_model=Judgement, openapi_extra=described(JudgementRequest)
)
async def judge(request: Request) -> Response:
    """Keep a judgement. It stays when the index is built anew; of several by the same person on the same answer the
    last one counts."""
    service = of_request(request)
    body = await requests.body_of(request, JudgementRequest)
    question = await seed_of(service, body.question, "/question")
    keep = functools.partial(service.nearest.add_feedback, question, body.answer, like=body.like, user=body.who)
    return responses.json({"id": await service.in_thread(keep)}, status=201)


@router.delete("/{id}", operation_id="take_back", status_code=204, response_class=Response)
async def take_back(
    request: Request, id: Annotated[int, Path(ge=1, lt=2**63, description="the judgement", examples=[1])]
) -> Response:
    """Take a judgement back."""
    service = of_request(request)
    if not await service.in_thread(functools.partial(service.nearest.undo_feedback, id)):
        raise Problem(404, "unknown-judgement", f"there is no judgement {id}, or it was taken back before")
    return Response(None, 204)


@router.get(
    "",
    operation_id="list_feedback",
    response_class=Response,
    responses={
        200: {
            "description": "Every judgement as a line of JSON, those taken back with the time of that.",
            "content": {
                JSON_LINES: {
                    "schema": {"type": "string"},
                    "example": '{"judgement": 1, "at": "2026-01-01T00:00:00.000+00:00", "who": "ann", "question":'
                    ' "item:dog/a.ogg", "item": "dog/b.ogg", "like": true, "generation": "000001-1a2b3c4d",'
                    ' "undone_at": null}\n',
                }
            },
        }
    },
)
async def list_feedback(request: Request) -> Response:
    """What was judged, to learn from or to keep a copy of."""
    service = of_request(request)
    lines = await service.in_thread(lambda: "".join(f"{line}\n" for line in service.nearest.feedback.export()))
    return Response(lines.encode(), 200, media_type=JSON_LINES)
