"""Routes for tags: of items, of uploaded sounds, and those that people give, which count instead of a model's.

With API keys, giving a tag and undoing it need the scope feedback.
"""

from __future__ import annotations

import functools
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from boiler.search.nearest import SoundTag
from boiler.service import openapi, requests, responses, schemas, sse
from boiler.service.policy import requires
from boiler.service.problems import Problem
from boiler.service.routes.items import ItemPath
from boiler.service.state import service_of_request
from boiler.service.uploads import StageCallback

router = APIRouter(tags=["tags"])

_TagName = Annotated[str, Field(min_length=1, max_length=200, description="the name of the tag", examples=["dog"])]


class TagsQuery(schemas.PartQuery):
    """How many tags of an upload, or of a part of it, to return."""

    k: int = Field(10, ge=1, le=1_000, description="number of tags", examples=[10])


class TagRow(schemas.ResponseModel):
    """A tag of a sound."""

    tag: _TagName
    probability: float | None = Field(
        description="of the model; null if it does not know the tag or finds it less probable than 0.01",
        examples=[0.93],
    )
    by_hand: bool | None = Field(description="what a person said; null if nobody did", examples=[None])
    has: bool = Field(
        description="what counts: `by_hand`, else whether the probability reaches the threshold of the tag",
        examples=[True],
    )


class TagCountRow(schemas.ResponseModel):
    """How many items have a tag."""

    tag: _TagName
    n_items: int = Field(examples=[40])
    threshold: float | None = Field(
        description="the probability from which on the model's tag counts; null if the model does not know it",
        examples=[0.41],
    )


class TagByHand(schemas.BodyModel):
    """What a person says about an item."""

    tag: _TagName
    has: Annotated[bool, Field(description="whether the item has the tag")] = True


class TagByHandResponse(schemas.ResponseModel):
    """A tag by hand that was stored."""

    id: int = Field(description="for DELETE /tags/by-hand/{id}", examples=[1])


@router.get("/tags", operation_id="list_tags", response_model=list[TagCountRow])
async def list_tags(request: Request) -> Response:
    """Every tag that an item has, and how many items have it, most frequent first. Tags by hand count here and in
    filters once the index is published again."""
    service = service_of_request(request)

    def count_and_render() -> Response:
        return responses.json_response([responses.to_json(one) for one in service.nearest.tag_counts()])

    return await service.run_heavy(count_and_render)


@router.post(
    "/tags",
    operation_id="tags_of_audio",
    response_model=list[TagRow],
    responses={200: {"content": sse.EVENT_STREAM_CONTENT}},
    openapi_extra=openapi.SOUND_FORM,
)
@requires(is_upload=True)
async def tags_of_audio(request: Request, query: Annotated[TagsQuery, Query()]) -> Response:
    """The most probable tags of an uploaded sound, or of a part of it. 422 if the index has no tag model.

    With `Accept: text/event-stream` it reports progress. The work is cancelled when the client disconnects.
    """
    service = service_of_request(request)
    sound = await requests.read_upload(request)

    async def work(on_progress: StageCallback) -> Response:
        stages = responses.stage_times(request)
        embedded = await service.uploads.embed(sound, query.start_s, query.end_s, stages, on_progress)
        on_progress("tagging", 0, 1)
        vectors = np.stack([one.vector for one in embedded])
        found = await service.run_heavy(functools.partial(service.nearest.tags_of_windows, vectors, query.k))
        return _rendered(found)

    return await sse.respond(request, work)


@router.get("/items/{n}/tags", operation_id="item_tags", response_model=list[TagRow])
async def item_tags(request: Request, n: ItemPath) -> Response:
    """The tags of an item: first those that it has, most probable first."""
    service = service_of_request(request)
    return _rendered(await service.run_heavy(functools.partial(service.nearest.tags, n)))


@router.post(
    "/items/{n}/tags",
    operation_id="add_item_tag",
    status_code=201,
    response_model=TagByHandResponse,
    openapi_extra=openapi.json_body(TagByHand),
)
@requires(scope="feedback")
async def add_item_tag(request: Request, n: ItemPath) -> Response:
    """Say that an item has a tag, or has not. It is kept when the index is rebuilt; the latest counts."""
    service = service_of_request(request)
    body = await requests.read_json(request, TagByHand)
    owner = request.scope["state"].get("key_owner")
    add = functools.partial(service.nearest.add_tag, n, body.tag, body.has, owner=owner)
    return responses.json_response({"id": await service.run_heavy(add)}, status=201)


@router.delete("/tags/by-hand/{id}", operation_id="undo_item_tag", status_code=204, response_class=Response)
@requires(scope="feedback")
async def undo_item_tag(
    request: Request, id: Annotated[int, Path(ge=1, lt=2**63, description="id of the tag by hand", examples=[1])]
) -> Response:
    """Undo a tag by hand: what was said before counts again. Where API keys are required, those of other keys can be
    undone with the scope admin only."""
    service = service_of_request(request)
    state = request.scope["state"]
    owner = None if state.get("key_scope", "admin") == "admin" else state["key_owner"]
    if not await service.run_heavy(functools.partial(service.nearest.undo_tag, id, owner=owner)):
        raise Problem(404, "unknown-label", f"there is no tag by hand {id} that you may undo, or it was undone before")
    return Response(None, 204)


def _rendered(tags: list[SoundTag]) -> Response:
    return responses.json_response([responses.to_json(one) for one in tags])
