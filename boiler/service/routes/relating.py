"""The paths about how sounds of the collection relate: why two are similar, the way between two, near-duplicates, the
map, and where a sound occurs inside others."""

from __future__ import annotations

import dataclasses
import functools
import gzip
from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from boiler.errors import ModelDirError
from boiler.search import duplicates as near_duplicates
from boiler.search import paths
from boiler.search.embedder import TimeSpan
from boiler.search.locate import LocateResult
from boiler.search.nearest import ByItem, Nearest
from boiler.search.seeds import BySamples
from boiler.service import media, requests, responses, schemas, sse
from boiler.service.problems import Problem
from boiler.service.routes.items import Number
from boiler.service.routes.search import FORM
from boiler.service.state import Service, of_request
from boiler.service.uploads import StageCallback

router = APIRouter(tags=["relations"])

MOST_READ_S = 14_400.0  # of sound, to look for a sound in it
MOST_LOCATE_S = 120.0  # of time for that; what was found until then is the answer
MOST_STEPS = 100
MOST_GROUPS = 1_000


class Explained(schemas.Part):
    """Which two items are meant, and which part of the first."""

    n: int = Field(ge=0, lt=2**63, description="the item that was asked with", examples=[0])
    answer: int = Field(ge=0, lt=2**63, description="the item that was answered", examples=[1])


class Stretch(schemas.Answer):
    """A part of a sound."""

    start_s: float = Field(examples=[0.0])
    end_s: float = Field(examples=[2.5])


class WordShare(schemas.Answer):
    """What one word of the codebook adds to the similarity, and when it sounds in both."""

    word: int = Field(examples=[17])
    share: float = Field(description="of the similarity; all shares sum to it", examples=[0.31])
    query_parts: list[Stretch]
    answer_parts: list[Stretch]


class WindowMatch(schemas.Answer):
    """A window of what was asked, one of the answer, and their cosine."""

    query: Stretch
    answer: Stretch
    similarity: float = Field(examples=[0.93])


class Moment(Stretch):
    """How similar a short stretch of the one sound is to the whole of the other."""

    similarity: float = Field(examples=[0.8])


class Explanation(schemas.Answer):
    """Why two sounds are similar."""

    kind: Literal["words", "windows"] = Field(description="words: the encoder counts words of a codebook")
    similarity: float = Field(description="the cosine of the two windows that match best", examples=[0.93])
    words: list[WordShare] = Field(description="largest share first")
    windows: list[WindowMatch] = Field(description="best first")
    query_course: list[Moment] = Field(description="over the time of the first sound")
    answer_course: list[Moment] = Field(description="over the time of the second")


@router.get("/explain", operation_id="explain", response_model=Explanation)
async def explain(request: Request, asked: Annotated[Explained, Query()]) -> Response:
    """Why two items are similar: which windows match, which words make the match, and when. Needs the sounds."""
    service = of_request(request)
    media.check_part(asked.start_s, asked.end_s)
    for n in (asked.n, asked.answer):
        await service.in_thread(functools.partial(media.path_of, service.nearest, n))
    question = ByItem(asked.n, asked.start_s, asked.end_s)
    if not question.whole:  # it is embedded anew
        item = await service.in_thread(functools.partial(service.nearest.item, asked.n))
        ends_s = item.duration_s if asked.end_s is None else min(asked.end_s, item.duration_s)
        if ends_s - asked.start_s > service.settings.max_upload_s:
            detail = f"a part has at most {service.settings.max_upload_s:g} s; ask for less of it, or for all"
            raise Problem(422, "invalid-request", detail, errors=[{"parameter": "end_s", "detail": detail}])
    why = await service.long(functools.partial(service.nearest.explain, question, asked.answer))
    return responses.json(_plain(dataclasses.asdict(why)))


def _plain(value: Any) -> Any:
    """Named parts as objects, numbers with as many digits as they are worth."""
    if isinstance(value, TimeSpan):
        return {"start_s": round(value.start_s, 4), "end_s": round(value.end_s, 4)}
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return round(float(value), 6) if isinstance(value, float | np.floating) else value


class Journey(BaseModel):
    """From which item to which, in how many steps."""

    model_config = ConfigDict(extra="forbid")

    from_n: int = Field(ge=0, lt=2**63, description="the item it begins at", examples=[0])
    to_n: int = Field(ge=0, lt=2**63, description="the item it leads to", examples=[3])
    steps: int = Field(10, ge=1, le=MOST_STEPS, description="how many sounds between the two")


class JourneyAnswer(schemas.Answer):
    """The sounds on the way, in their order; `distance` is that to the point of the way."""

    results: list[schemas.Neighbour]
    engine: str = Field(examples=["exact"])
    generation: str = Field(examples=["000003-1a2b3c4d"])


@router.get("/path", operation_id="path_between", response_model=JourneyAnswer)
async def path_between(request: Request, asked: Annotated[Journey, Query()]) -> Response:
    """Sounds that lead from one item to another in even strides, these two left out."""
    service = of_request(request)
    go = functools.partial(
        paths.path_between, service.nearest, ByItem(asked.from_n), ByItem(asked.to_n), steps=asked.steps
    )
    found = await responses.searched_long(service, go)
    heads = {"engine": found.engine, "generation": found.generation}
    return responses.json({"results": responses.rows(found.results), **heads}, responses.heads(**heads))


class Alike(BaseModel):
    """How near is nearly the same, and which groups are wanted."""

    model_config = ConfigDict(extra="forbid")

    nearer_than: float = Field(0.1, ge=0, le=2, allow_inf_nan=False, description="the distance below which two are")
    offset: int = Field(0, ge=0, lt=2**53, description="how many groups to pass over")
    limit: int = Field(50, ge=1, le=MOST_GROUPS, description="how many groups at most")


class DuplicateGroup(schemas.Answer):
    """Items that are nearly the same."""

    ids: list[str] = Field(examples=[["dog/a.ogg", "dog/a (1).ogg"]])
    widest: float = Field(description="greatest distance between two that are alike", examples=[0.02])


class DuplicatesAnswer(schemas.Answer):
    """Groups of near-duplicates, the largest first."""

    groups: list[DuplicateGroup]
    offset: int = Field(examples=[0])
    total: int = Field(description="groups in all", examples=[1])
    generation: str = Field(examples=["000003-1a2b3c4d"])


@router.get("/duplicates", operation_id="list_duplicates", response_model=DuplicatesAnswer)
async def duplicates(request: Request, asked: Annotated[Alike, Query()]) -> Response:
    """Groups of nearly identical sounds in the whole collection: proposed, nothing is merged."""
    service = of_request(request)

    def find() -> list[near_duplicates.DuplicateGroup]:
        return service.duplicates.get(
            (service.nearest.generation, asked.nearer_than), lambda: service.nearest.duplicates(asked.nearer_than)
        )

    found = await responses.searched_long(service, find)
    some = found.results[asked.offset : asked.offset + asked.limit]
    return responses.json(
        {
            "groups": [{"ids": group.ids, "widest": round(group.max_distance, 6)} for group in some],
            "offset": asked.offset,
            "total": len(found.results),
            "generation": found.generation,
        }
    )


class MapAnswer(schemas.Answer):
    """The collection in two dimensions. Lists are of the same length: item `n[i]` lies at `x[i]`, `y[i]`."""

    n: list[int] = Field(examples=[[0, 1]])
    x: list[float] = Field(description="0 to 1", examples=[[0.12, 0.8]])
    y: list[float] = Field(description="0 to 1", examples=[[0.5, 0.31]])
    cluster: list[int] = Field(description="0 the largest", examples=[[0, 1]])
    label: list[str | None] = Field(examples=[["dog", "rain"]])
    generation: str = Field(examples=["000003-1a2b3c4d"])


@router.get("/map", operation_id="get_map", response_model=MapAnswer, responses={304: {"description": "Unchanged."}})
async def whole_map(request: Request) -> Response:
    """Where each item that sounds lies in two dimensions: mostly near to what it sounds like. Compressed for whoever
    takes gzip; unchanged until there is a new index."""
    service = of_request(request)
    packed = requests.takes(request.headers.get("accept-encoding", ""), "gzip")

    def head_of(generation: str) -> dict[str, str]:
        tag = f'"{generation}-{"gzip" if packed else "plain"}"'
        return {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Accept-Encoding"}

    head = head_of(service.nearest.generation)
    if media.has(request, head["ETag"]):
        return Response(None, 304, head)
    generation, page = await service.long(functools.partial(_map_page, service))
    head = head_of(generation)  # a newer index may have been taken up meanwhile
    if packed:
        head["Content-Encoding"] = "gzip"
    else:
        page = await service.in_thread(functools.partial(gzip.decompress, page))
    return Response(page, 200, head, "application/json")


def _map_page(service: Service) -> tuple[str, bytes]:
    """The index that it is of, and the page. Raises: Problem: 404 this index was made without a map."""
    return service.map_page.get(service.nearest.generation, functools.partial(_drawn, service.nearest))


def _drawn(nearest: Nearest) -> tuple[str, bytes]:
    while True:
        generation, drawn = nearest.generation, nearest.map()
        if nearest.generation == generation:
            break
    if drawn is None:
        raise Problem(404, "no-map", "this index was made without a map: run boiler index again")
    document = {
        "n": drawn.n.tolist(),
        "x": drawn.xy[:, 0].astype(np.float64).round(5).tolist(),
        "y": drawn.xy[:, 1].astype(np.float64).round(5).tolist(),
        "cluster": drawn.cluster.tolist(),
        "label": drawn.labels,
        "generation": generation,
    }
    return generation, gzip.compress(orjson.dumps(document), 6, mtime=0)


class Sought(schemas.Part):
    """How many places are wanted, where, and how much may be read for them."""

    k: int = Field(10, ge=1, description="places, at most `max_k` of GET /model")
    within: list[Annotated[int, Field(ge=0, lt=2**63)]] = Field(
        [], max_length=1_000, description="only in these items; without: in all"
    )
    most_s: float = Field(
        1_800.0, gt=0, le=MOST_READ_S, allow_inf_nan=False, description="seconds of sound to read at most"
    )


class Place(schemas.Answer):
    """A part of an item in which the sound occurs."""

    id: str = Field(examples=["radio/monday.mp3"])
    n: int = Field(examples=[17])
    url: str = Field(examples=["radio/monday.mp3"])
    label: str | None = Field(examples=[None])
    start_s: float = Field(examples=[61.2])
    end_s: float = Field(examples=[63.7])
    score: float = Field(description="how much of what sounds there it is, 0 to 1", examples=[0.97])
    certainty: float = Field(description="how many times as high as chance that is", examples=[31.0])
    gain_db: float = Field(description="how much louder it is there", examples=[-3.1])


class PlacesAnswer(schemas.Answer):
    """The places where a sound occurs, best first; after two minutes, those found until then."""

    results: list[Place]
    complete: bool = Field(description="whether all was read, so that it occurs nowhere else", examples=[True])
    read_s: float = Field(description="seconds of sound that were read", examples=[3600.0])
    of_s: float = Field(description="of how many that could hold it", examples=[3600.0])
    unread: list[str] = Field(description="ids of items that could not be read", examples=[[]])


@router.post(
    "/locate",
    operation_id="locate",
    response_model=PlacesAnswer,
    responses={200: {"content": sse.EVENTS}},
    openapi_extra=FORM,
)
async def locate(request: Request, asked: Annotated[Sought, Query()]) -> Response:
    """Where inside the recordings an uploaded short sound, or a part of it, occurs: that very sound, also below others.
    Needs the sounds."""
    service = of_request(request)
    service.check_k(asked.k)
    media.check_part(asked.start_s, asked.end_s)
    sound = await requests.upload_of(request)

    async def work(on_progress: StageCallback) -> Response:
        on_progress("decoding", 0, 1)
        samples = await service.uploads.decode(sound, asked.start_s, asked.end_s)
        on_progress("searching", 0, 1)
        return _places(await _located(service, samples, asked))

    return await sse.answer(request, work)


@router.get(
    "/items/{n}/places",
    operation_id="locate_item",
    response_model=PlacesAnswer,
    responses={200: {"content": sse.EVENTS}},
)
async def locate_item(request: Request, n: Number, asked: Annotated[Sought, Query()]) -> Response:
    """Where inside the other recordings an item, or a part of it, occurs. Needs the sounds."""
    service = of_request(request)
    service.check_k(asked.k)
    media.check_part(asked.start_s, asked.end_s)
    await service.in_thread(functools.partial(media.path_of, service.nearest, n))

    async def work(on_progress: StageCallback) -> Response:
        on_progress("searching", 0, 1)
        return _places(await _located(service, ByItem(n, asked.start_s, asked.end_s), asked))

    return await sse.answer(request, work)


async def _located(service: Service, seed: BySamples | ByItem, asked: Sought) -> LocateResult:
    """Raises: Problem: 422 there is more than may be read, and no encoder to say where to begin."""

    def find(stop: Callable[[], bool]) -> LocateResult:
        return service.nearest.locate_result(
            seed, asked.k, within=asked.within or None, max_read_s=asked.most_s, stop=stop
        )

    try:
        return await service.longest(find, MOST_LOCATE_S)
    except ModelDirError:
        if service.nearest.header.encoder_sha256:
            raise
        why = (
            "this index holds vectors without the encoder that made them, and more sound than is to be read: raise"
            " most_s, or name the items with within"
        )
        raise Problem(422, "no-encoder", why) from None


def _places(located: LocateResult) -> Response:
    return responses.json(
        {
            "results": [_plain(dataclasses.asdict(one)) for one in located.occurrences],
            "complete": located.complete,
            "read_s": round(located.read_s, 3),
            "of_s": round(located.total_s, 3),
            "unread": [id for id, _ in located.unread],
        }
    )
