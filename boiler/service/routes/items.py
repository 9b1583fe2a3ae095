"""The paths of the items: the list, one of them, its neighbours, its sound and its pictures."""

from __future__ import annotations

import functools
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from boiler.service import media, responses, schemas
from boiler.service.state import of_request

router = APIRouter()

Number = Annotated[int, Path(ge=0, lt=2**63, description="the item's stable number", examples=[0])]


class Page(BaseModel):
    """Which items are wanted."""

    model_config = ConfigDict(extra="forbid")

    offset: int = Field(0, ge=0, lt=2**53, description="how many to pass over")
    limit: int = Field(50, ge=1, le=1_000, description="how many at most")
    # SQLite ends a pattern at a NUL.
    text: str | None = Field(
        None, min_length=1, max_length=200, pattern=r"^[^\x00]*$", description="only ids that hold this text"
    )
    label: str | None = Field(None, min_length=1, max_length=200, description="only items of this label")


class Neighbours(BaseModel):
    """How many neighbours are wanted."""

    model_config = ConfigDict(extra="forbid")

    k: int = Field(10, ge=1, description="neighbours, at most `max_k` of GET /model")


class Columns(schemas.Part):
    """A waveform's columns."""

    points: int = Field(800, ge=1, le=media.MAX_POINTS, description="columns")


class Pixels(schemas.Part):
    """A picture's size."""

    width: int = Field(800, ge=16, le=media.MAX_PIXELS_WIDE, description="pixels")
    height: int = Field(200, ge=16, le=media.MAX_PIXELS_HIGH, description="pixels")


@router.get("/items", operation_id="list_items", tags=["items"], response_model=schemas.ItemPage)
async def items(request: Request, page: Annotated[Page, Query()]) -> Response:
    """A page of the items, in the order of their numbers."""
    service = of_request(request)
    ask = functools.partial(
        service.nearest.items, offset=page.offset, limit=page.limit + 1, text=page.text, label=page.label
    )
    found = await service.in_thread(ask)
    return responses.json(
        {
            "items": [responses.item(one) for one in found[: page.limit]],
            "offset": page.offset,
            "more": len(found) > page.limit,
        }
    )


@router.get("/items/{n}", operation_id="get_item", tags=["items"], response_model=schemas.Item)
async def item(request: Request, n: Number) -> Response:
    """What the index knows of one sound."""
    service = of_request(request)
    return responses.json(responses.item(await service.in_thread(functools.partial(service.nearest.item, n))))


@router.get(
    "/items/{n}/nearest",
    operation_id="nearest_to_item",
    tags=["search"],
    response_model=list[schemas.Neighbour],
)
async def nearest_to_item(request: Request, n: Number, asked: Annotated[Neighbours, Query()]) -> Response:
    """The items nearest to this one, itself left out, nearest first."""
    service = of_request(request)
    service.check_k(asked.k)
    return await responses.neighbours(request, functools.partial(service.nearest.by_item, n, asked.k))


_PARTIAL: dict[int | str, dict[str, Any]] = {
    200: {"description": "The sound.", "content": {"audio/*": {"schema": {"type": "string", "format": "binary"}}}},
    206: {"description": "The range of bytes asked for."},
    304: {"description": "The client has it already."},
    416: {"description": "There are no such bytes.", "model": schemas.ProblemDetails},
}


@router.get("/items/{n}/audio", operation_id="item_audio", tags=["items"], responses=_PARTIAL, response_class=Response)
async def audio(request: Request, n: Number, part: Annotated[schemas.Part, Query()]) -> Response:
    """The sound itself, in ranges of bytes, so that a player seeks. What browsers do not play, and any part of a
    sound, comes as FLAC."""
    return await media.sound(of_request(request).nearest, n, request)


@router.head("/items/{n}/audio", include_in_schema=False)
async def audio_head(request: Request, n: Number, part: Annotated[schemas.Part, Query()]) -> Response:
    """The head of the answer alone."""
    return await media.sound(of_request(request).nearest, n, request)


@router.get("/items/{n}/waveform", operation_id="item_waveform", tags=["items"], response_model=schemas.Waveform)
async def waveform(request: Request, n: Number, columns: Annotated[Columns, Query()]) -> Response:
    """The lowest and the highest sample of each column of a waveform."""
    return await media.waveform(of_request(request).nearest, n, request)


@router.get(
    "/items/{n}/spectrogram.png",
    operation_id="item_spectrogram",
    tags=["items"],
    response_class=Response,
    responses={
        200: {
            "description": "The picture.",
            "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def spectrogram(request: Request, n: Number, pixels: Annotated[Pixels, Query()]) -> Response:
    """The spectrum over time: time to the right, frequency upwards from 50 Hz to 8 kHz by ratio, no axes."""
    return await media.spectrogram(of_request(request).nearest, n, request)
