"""Routes that find where inside the recordings a sound occurs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from boiler.errors import ModelDirError
from boiler.search.locate import LocateResult
from boiler.search.seeds import ByItem, BySamples
from boiler.service import media, openapi, requests, responses, schemas, sse
from boiler.service.policy import requires
from boiler.service.problems import Problem
from boiler.service.routes.items import ItemPath
from boiler.service.state import Service, service_of_request
from boiler.service.uploads import StageCallback

router = APIRouter(tags=["relations"])

MAX_READ_S = 14_400.0
"""Seconds of sound that one request may read."""
MAX_LOCATE_S = 120.0
"""Seconds that a request may take; after that, the places found so far are returned."""


ReadSeconds = Annotated[
    float, Field(gt=0, le=MAX_READ_S, allow_inf_nan=False, description="maximal seconds of sound to read")
]


class LocateQuery(schemas.PartQuery):
    """Where to look for the sound, and how much to read."""

    RENAMED = {"most_s": "max_read_s"}  # noqa: RUF012

    k: int = Field(10, ge=1, description="number of places, at most `max_k` of GET /model")
    within: list[Annotated[int, Field(ge=0, lt=2**63)]] = Field(
        [], max_length=1_000, description="numbers of the items to look in; default: all"
    )
    max_read_s: ReadSeconds = 1_800.0
    most_s: Annotated[ReadSeconds, Field(deprecated=True, description="old name of max_read_s")] = 1_800.0


class Place(schemas.ResponseModel):
    """A part of an item in which the sound occurs."""

    id: str = Field(examples=["radio/monday.mp3"])
    n: int = Field(examples=[17])
    url: str = Field(examples=["radio/monday.mp3"])
    label: str | None = Field(examples=[None])
    start_s: float = Field(examples=[61.2])
    end_s: float = Field(examples=[63.7])
    score: float = Field(description="normalised correlation, 0 to 1", examples=[0.97])
    certainty: float = Field(description="score relative to chance", examples=[31.0])
    gain_db: float = Field(description="level relative to the sound that was sent, dB", examples=[-3.1])


class LocateResponse(schemas.ResponseModel):
    """The places where the sound occurs, best first."""

    results: list[Place]
    complete: bool = Field(
        description="whether everything was read, so that the sound occurs nowhere else", examples=[True]
    )
    read_s: float = Field(description="seconds of sound that were read", examples=[3600.0])
    total_s: float = Field(description="seconds of sound that could contain it", examples=[3600.0])
    unread: list[str] = Field(description="ids of items that could not be read", examples=[[]])
    of_s: float = Field(description="old name of total_s", examples=[3600.0], deprecated=True)


@router.post(
    "/locate",
    operation_id="locate",
    response_model=LocateResponse,
    responses={200: {"content": sse.EVENT_STREAM_CONTENT}},
    openapi_extra=openapi.SOUND_FORM,
)
@requires(is_upload=True)
async def locate(request: Request, query: Annotated[LocateQuery, Query()]) -> Response:
    """Where inside the recordings an uploaded short sound, or a part of it, occurs, even mixed with others. Reads the
    audio files. Takes at most two minutes, then `complete` is false."""
    service = service_of_request(request)
    service.check_k(query.k)
    sound = await requests.read_upload(request)

    async def work(on_progress: StageCallback) -> Response:
        on_progress("decoding", 0, 1)
        samples = await service.uploads.decode(sound, query.start_s, query.end_s)
        on_progress("searching", 0, 1)
        return _response(await _locate(service, samples, query))

    return await sse.respond(request, work)


@router.get(
    "/items/{n}/places",
    operation_id="locate_item",
    response_model=LocateResponse,
    responses={200: {"content": sse.EVENT_STREAM_CONTENT}},
)
async def locate_item(request: Request, n: ItemPath, query: Annotated[LocateQuery, Query()]) -> Response:
    """Where inside the other recordings an item, or a part of it, occurs. Reads the audio files. Takes at most two
    minutes, then `complete` is false."""
    service = service_of_request(request)
    service.check_k(query.k)
    await service.in_thread(functools.partial(media.find_file, service.nearest, n))

    async def work(on_progress: StageCallback) -> Response:
        on_progress("searching", 0, 1)
        return _response(await _locate(service, ByItem(n, query.start_s, query.end_s), query))

    return await sse.respond(request, work)


async def _locate(service: Service, seed: BySamples | ByItem, query: LocateQuery) -> LocateResult:
    """Raises: Problem: 422 `max_read_s` is not enough for everything, and there is no encoder to choose"""

    def run(stop: Callable[[], bool]) -> LocateResult:
        return service.nearest.locate_result(
            seed, query.k, within=query.within or None, max_read_s=query.max_read_s, stop=stop
        )

    try:
        return await service.run_longest(run, MAX_LOCATE_S)
    except ModelDirError:
        if service.nearest.header.encoder_sha256:
            raise
        why = "this index has no encoder to choose which recordings to read: raise max_read_s or give within"
        raise Problem(422, "no-encoder", why) from None


def _response(located: LocateResult) -> Response:
    total_s = round(located.total_s, 3)
    return responses.json_response(
        {
            "results": [responses.to_json(place) for place in located.occurrences],
            "complete": located.complete,
            "read_s": round(located.read_s, 3),
            "total_s": total_s,
            "unread": [id for id, _ in located.unread],
            "of_s": total_s,
        }
    )
