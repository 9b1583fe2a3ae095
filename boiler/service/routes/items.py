"""Routes for the items of the index: listing, neighbours, audio, waveform and spectrogram."""

from __future__ import annotations

import functools
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.responses import Response

from boiler.catalog.items import Item
from boiler.service import media, requests, responses, schemas
from boiler.service.schemas import KQuery, PartQuery, RequestModel
from boiler.service.state import service_of_request

router = APIRouter()

ItemPath = Annotated[int, Path(ge=0, lt=2**63, description="the item's number", examples=[0])]


class PageQuery(RequestModel):
    """Which items to list."""

    offset: int = Field(0, ge=0, lt=2**53, description="number of items to skip")
    limit: int = Field(50, ge=1, le=1_000, description="maximal number of items")
    # SQLite ends a pattern at a NUL.
    text: str | None = Field(
        None, min_length=1, max_length=200, pattern=r"^[^\x00]*$", description="only items whose id contains this text"
    )
    label: str | None = Field(None, min_length=1, max_length=200, description="only items with this label")
    where: str | None = Field(
        None,
        max_length=4_000,
        description="only items that pass this filter, as JSON; filters are described at POST /nearest/query",
        examples=['{"duration_s": {">=": 0.5}}'],
    )


@router.get("/items", operation_id="list_items", tags=["items"], response_model=schemas.ItemPage)
async def list_items(request: Request, page: Annotated[PageQuery, Query()]) -> Response:
    """A page of items, ordered by number."""
    service = service_of_request(request)

    def select() -> list[Item]:
        where = requests.parse_filter_text(page.where)
        return service.nearest.items(
            offset=page.offset, limit=page.limit + 1, text=page.text, label=page.label, where=where
        )

    def select_and_render() -> Response:
        items = select()
        rows = [responses.item_row(item) for item in items[: page.limit]]
        return responses.json_response({"items": rows, "offset": page.offset, "more": len(items) > page.limit})

    return await service.run_heavy(select_and_render)


@router.get("/items/by-id", operation_id="get_item_by_id", tags=["items"], response_model=schemas.ItemRow)
async def get_item_by_id(
    request: Request,
    id: Annotated[str, Query(min_length=1, max_length=4_096, description="the item's id", examples=["dog/a.wav"])],
) -> Response:
    """One item, by its id: its path relative to the indexed folder."""
    service = service_of_request(request)
    return await service.run_heavy(lambda: responses.json_response(responses.item_row(service.nearest.item(id))))


@router.get("/items/{n}", operation_id="get_item", tags=["items"], response_model=schemas.ItemRow)
async def get_item(request: Request, n: ItemPath) -> Response:
    """One item."""
    service = service_of_request(request)
    item = await service.in_thread(functools.partial(service.nearest.item, n))
    return responses.json_response(responses.item_row(item))


@router.get(
    "/items/{n}/nearest",
    operation_id="nearest_to_item",
    tags=["search"],
    response_model=list[schemas.Neighbour],
)
async def nearest_to_item(request: Request, n: ItemPath, query: Annotated[KQuery, Query()]) -> Response:
    """The items nearest to an item, without itself, nearest first."""
    service = service_of_request(request)
    service.check_k(query.k)
    return await responses.neighbours_response(request, functools.partial(service.nearest.by_item, n, query.k))


_AUDIO: dict[int | str, dict[str, Any]] = {
    200: {"description": "The sound.", "content": {"audio/*": {"schema": {"type": "string", "format": "binary"}}}},
    206: {"description": "The requested range."},
    304: {"description": "Not modified."},
    416: {"description": "The range is beyond the end of the file.", "model": schemas.ProblemDetails},
}
_PNG: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The spectrogram.",
        "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.get("/items/{n}/audio", operation_id="item_audio", tags=["items"], responses=_AUDIO, response_class=Response)
async def item_audio(request: Request, n: ItemPath, part: Annotated[PartQuery, Query()]) -> Response:
    """The item's sound, with range requests for seeking. Formats that browsers cannot play, and parts, come as FLAC."""
    return await media.audio_response(request, service_of_request(request).nearest, n, part)


@router.head("/items/{n}/audio", include_in_schema=False)
async def item_audio_head(request: Request, n: ItemPath, part: Annotated[PartQuery, Query()]) -> Response:
    """The headers of the item's sound."""
    return await media.audio_response(request, service_of_request(request).nearest, n, part)


@router.get("/items/{n}/waveform", operation_id="item_waveform", tags=["items"], response_model=schemas.Waveform)
async def item_waveform(request: Request, n: ItemPath, query: Annotated[media.WaveformQuery, Query()]) -> Response:
    """The smallest and largest sample in each column of a waveform."""
    return await media.waveform_response(request, service_of_request(request).nearest, n, query)


@router.get(
    "/items/{n}/spectrogram.png",
    operation_id="item_spectrogram",
    tags=["items"],
    response_class=Response,
    responses=_PNG,
)
async def item_spectrogram(
    request: Request, n: ItemPath, query: Annotated[media.SpectrogramQuery, Query()]
) -> Response:
    """The spectrogram: time from left to right, frequency from 50 Hz to 8 kHz, logarithmic, upwards; without axes."""
    return await media.spectrogram_response(request, service_of_request(request).nearest, n, query)
