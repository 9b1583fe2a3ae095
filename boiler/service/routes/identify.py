"""Routes that say what an upload or a link is: its most probable tags and the nearest items, with progress."""

from __future__ import annotations

import functools
import hashlib
from typing import Annotated, Any

import numpy as np
import orjson
from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from boiler.links.address import MAX_URL, checked_url
from boiler.service import openapi, requests, responses, schemas, sse
from boiler.service.policy import requires
from boiler.service.routes.tags import TagRow
from boiler.service.state import Service, service_of_request
from boiler.service.uploads import StageCallback

router = APIRouter(tags=["tags"])


class IdentifyQuery(schemas.PartQuery):
    """Which part of a sound to identify, and how much to return about it."""

    k: int = Field(10, ge=1, description="number of nearest items, at most `max_k` of GET /model", examples=[10])
    n_tags: int = Field(10, ge=1, le=1_000, description="number of tags", examples=[10])


class LinkRequest(schemas.BodyModel):
    """A link to a sound or a video."""

    url: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_URL,
            description="http or https, at a public address: of a file or, if yt-dlp is installed, of a page with one",
        ),
    ]


class IdentifyResponse(schemas.ResponseModel):
    """What a sound is."""

    sha256: str = Field(description="of the bytes of the file", examples=["9f86d081884c7d65"])
    size_bytes: int = Field(examples=[48_000])
    tags: list[TagRow] = Field(description="the most probable tags; empty if the index has no tag model")
    n_predicted: int | None = Field(
        description="how many of all tags reach their threshold; null if the index has no tag model", examples=[2]
    )
    results: list[schemas.Neighbour] = Field(description="the nearest items, nearest first")


@router.post(
    "/identify",
    operation_id="identify_audio",
    response_model=IdentifyResponse,
    responses={200: {"content": sse.EVENT_STREAM_CONTENT}},
    openapi_extra=openapi.SOUND_FORM,
)
@requires(is_upload=True)
async def identify_audio(request: Request, query: Annotated[IdentifyQuery, Query()]) -> Response:
    """The most probable tags and the nearest items of an uploaded sound or video, or of a part of it. Results are
    cached by content.

    With `Accept: text/event-stream` it reports progress. The work is cancelled when the client disconnects.
    """
    service = service_of_request(request)
    service.check_k(query.k)
    sound = await requests.read_upload(request)

    async def work(on_progress: StageCallback) -> Response:
        return await _identify(request, service, sound, query, on_progress)

    return await sse.respond(request, work)


@router.post(
    "/identify/link",
    operation_id="identify_link",
    response_model=IdentifyResponse,
    responses={200: {"content": sse.EVENT_STREAM_CONTENT}},
    openapi_extra=openapi.json_body(LinkRequest),
)
async def identify_link(request: Request, query: Annotated[IdentifyQuery, Query()]) -> Response:
    """The same as `POST /identify`, of the sound or video that a link leads to. 403 unless the setting `BOILER_LINKS`
    is 1; 422 if the link leads to an address that is not public, at any redirect. The file is not kept."""
    service = service_of_request(request)
    service.check_k(query.k)
    body = await requests.read_json(request, LinkRequest)
    service.links.check_enabled()
    checked_url(body.url)  # an error here is the status of the response, also where events are accepted

    async def work(on_progress: StageCallback) -> Response:
        sound = await service.links.fetch(body.url, responses.stage_times(request), on_progress)
        return await _identify(request, service, sound, query, on_progress)

    return await sse.respond(request, work)


async def _identify(
    request: Request, service: Service, sound: bytes, query: IdentifyQuery, on_progress: StageCallback
) -> Response:
    nearest = service.nearest
    sha256 = await service.in_thread(lambda: hashlib.sha256(sound).hexdigest())
    key = (sha256, nearest.generation, query.start_s, query.end_s, query.k, query.n_tags)
    if (known := service.identified_cache.get(key)) is not None:
        return Response(known, media_type="application/json")
    embedded = await service.uploads.embed(
        sound, query.start_s, query.end_s, responses.stage_times(request), on_progress
    )
    vectors = np.stack([one.vector for one in embedded])
    on_progress("tagging", 0, 1)
    predicted = None
    if nearest.has_tag_model:
        predicted = await service.run_heavy(functools.partial(nearest.predict_tags, vectors, query.n_tags))
    on_progress("tagging", 1, 1)
    on_progress("searching", 0, 1)
    matches = await service.run_heavy(functools.partial(nearest.search_windows, vectors, query.k))
    service.count_searches(nearest.engine_name)
    on_progress("searching", 1, 1)
    content: dict[str, Any] = {
        "sha256": sha256,
        "size_bytes": len(sound),
        "tags": [] if predicted is None else [responses.to_json(one) for one in predicted.tags],
        "n_predicted": None if predicted is None else predicted.n_predicted,
        "results": responses.neighbour_rows(matches),
    }
    body = orjson.dumps(content)
    service.identified_cache.put(key, body)
    return Response(body, media_type="application/json")
