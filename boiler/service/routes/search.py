"""The paths that search: by a vector, by a sound, several at once; and the vectors of a sound."""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from boiler.search.query import GroupLimit, Options
from boiler.search.seeds import ByItem, ByVector, Seed
from boiler.service import media, requests, responses, schemas, sse
from boiler.service.problems import Problem
from boiler.service.row_renderer import GENERATION
from boiler.service.state import Service, of_request
from boiler.service.uploads import StageCallback

router = APIRouter(tags=["search"])

Result = TypeVar("Result")


def described(model: type[BaseModel]) -> dict[str, Any]:
    """Documents a body that `asking.body_of` reads."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "a sound: WAV, FLAC, OGG, Opus, MP3, AIFF, M4A, MP4, WebM ...",
                        }
                    },
                }
            }
        },
    }
}


class K(BaseModel):
    """How many neighbours are wanted."""

    model_config = ConfigDict(extra="forbid")

    k: int = Field(10, ge=1, description="neighbours, at most `max_k` of GET /model", examples=[12])


class SoundNearest(schemas.Part):
    """A search by an uploaded sound."""

    k: int = Field(10, ge=1, description="neighbours, at most `max_k` of GET /model", examples=[12])


class SoundEmbed(schemas.Part):
    """Vectors of an uploaded sound."""

    encoding: Literal["float", "base64"] = Field("float", description="base64: little-endian float32")


@router.post(
    "/nearest",
    operation_id="nearest",
    response_model=list[schemas.Neighbour],
    openapi_extra=described(schemas.NearestRequest)
    | {
        "parameters": [
            {
                "name": "k",
                "in": "query",
                "description": "how many neighbours",
                "schema": {"type": "integer", "minimum": 1, "default": 10},
                "example": 12,
            }
        ]
    },
)
async def nearest(request: Request) -> Response:
    """The items nearest to a vector, nearest first.

    The vector comes from `POST /embed`, or from the index's `encoder.pt`. Which engine and which index answered stand
    in the headers `X-Boiler-Engine` and `X-Boiler-Generation`.
    """
    started = perf_counter()
    service = of_request(request)
    k = requests.k_of(request, service.settings.max_k)
    body = await requests.body_of(request, schemas.NearestRequest)
    vector = requests.vector_of(body.embedding, service.nearest.dim)
    validated = perf_counter()
    snapshot, ranked = await service.ranked(vector, k, alone=requests.is_alone(request))
    found = perf_counter()
    answer = service.renderer.render(snapshot, ranked)
    service.searched(snapshot.engine.name)
    responses.stages(request).update(
        validate=validated - started, search=found - validated, render=perf_counter() - found
    )
    return answer


@router.post(
    "/nearest/audio",
    operation_id="nearest_to_audio",
    response_model=list[schemas.Neighbour],
    responses={200: {"content": sse.EVENTS}},
    openapi_extra=FORM,
)
async def nearest_to_audio(request: Request, asked: Annotated[SoundNearest, Query()]) -> Response:
    """The items nearest to an uploaded sound, or to a part of it, nearest first.

    With `Accept: text/event-stream` it tells where it is. A client that leaves ends the work.
    """
    service = of_request(request)
    service.check_k(asked.k)
    media.check_part(asked.start_s, asked.end_s)
    sound = await requests.upload_of(request)

    async def work(on_progress: StageCallback) -> Response:
        embedded = await service.uploads.embed(
            sound, asked.start_s, asked.end_s, responses.stages(request), on_progress
        )
        on_progress("searching", 0, 1)
        vectors = np.stack([one.vector for one in embedded])
        return await responses.neighbours(request, functools.partial(service.nearest.search_windows, vectors, asked.k))

    return await sse.answer(request, work)


@router.post(
    "/nearest/batch",
    operation_id="nearest_batch",
    response_model=schemas.BatchAnswer,
    openapi_extra=described(schemas.BatchRequest),
)
async def nearest_batch(request: Request) -> Response:
    """Several searches in one request, by vectors and by items mixed; one list of neighbours for each."""
    service = of_request(request)
    body = await requests.body_of(request, schemas.BatchRequest)
    service.check_k(body.k)
    if len(body.queries) > service.settings.max_batch:
        why = f"at most {service.settings.max_batch} queries in one request"
        raise Problem(422, "invalid-request", why, errors=[{"pointer": "/queries", "detail": why}])
    questions = [await seed_of(service, query, f"/queries/{at}") for at, query in enumerate(body.queries)]
    answers = await _timed(request, functools.partial(service.nearest.query_many, questions, body.k))
    service.searched(answers[0].engine, len(answers))
    results = [responses.rows(answer.matches) for answer in answers]
    heads = {"engine": answers[0].engine, "generation": answers[0].generation}
    return responses.json({"results": results, **heads}, responses.heads(**heads))


@router.post(
    "/nearest/query",
    operation_id="nearest_query",
    response_model=schemas.QueryAnswer,
    openapi_extra=described(schemas.QueryRequest),
)
async def nearest_query(request: Request) -> Response:
    """All that search offers: several seeds with weights, filters, near-duplicates folded, groups capped, variety."""
    service = of_request(request)
    body = await requests.body_of(request, schemas.QueryRequest)
    service.check_k(body.k)
    question = [await seed_of(service, seed, f"/seeds/{at}") for at, seed in enumerate(body.seeds)]
    options = Options(
        where=requests.filter_of(body.where),
        without=frozenset(body.without),
        min_similarity=body.min_similarity,
        per_window=body.per_window,
        dedup_distance=body.fold_nearer_than,
        per_group=None if body.per_group is None else GroupLimit(body.per_group.field, body.per_group.most),
        diversity=body.diversity,
        csls=body.set_back_hubs,
        feedback=body.feedback,
        user=body.who,
    )
    answer = await _timed(request, functools.partial(service.nearest.query, question, body.k, options))
    service.searched(answer.engine)
    heads = {"engine": answer.engine, "generation": answer.generation}
    results = responses.full_rows(answer.matches)
    return responses.json({"results": results, **heads, "reason": answer.shortfall}, responses.heads(**heads))


async def seed_of(service: Service, query: schemas.SeedRequest, pointer: str) -> Seed:
    """One seed as `Nearest` takes it. A part of an item is decoded where it may fail.

    Raises: Problem: both or neither of a vector and an item, or a vector of another length
    """
    if (query.embedding is None) == (query.n is None):
        why = "has either `embedding` or `n`"
        raise Problem(422, "invalid-request", f"{pointer} {why}", errors=[{"pointer": pointer, "detail": why}])
    if query.embedding is not None:
        vector = requests.vector_of(query.embedding, service.nearest.dim, f"{pointer}/embedding")
        return ByVector(vector, query.weight)
    assert query.n is not None
    if query.start_s == 0.0 and query.end_s is None:
        return ByItem(query.n, weight=query.weight)
    media.check_part(query.start_s, query.end_s)
    path = await service.in_thread(functools.partial(media.path_of, service.nearest, query.n))
    samples = await service.uploads.decode(path, query.start_s, query.end_s)
    return replace(samples, weight=query.weight)


async def _timed(request: Request, ask: Callable[[], Result]) -> Result:
    """Asks in a thread: such questions may take as long as they like."""
    started = perf_counter()
    answer = await of_request(request).in_thread(ask)
    responses.stages(request)["search"] = perf_counter() - started
    return answer


@router.post(
    "/embed",
    operation_id="embed",
    response_model=schemas.EmbedAnswer,
    responses={200: {"content": sse.EVENTS}},
    openapi_extra=FORM,
)
async def embed(request: Request, asked: Annotated[SoundEmbed, Query()]) -> Response:
    """The vectors of an uploaded sound, one for each window that is not silent: what `POST /nearest` takes.

    With `Accept: text/event-stream` it tells where it is. A client that leaves ends the work.
    """
    service = of_request(request)
    media.check_part(asked.start_s, asked.end_s)
    sound = await requests.upload_of(request)

    async def work(on_progress: StageCallback) -> Response:
        embedded = await service.uploads.embed(
            sound, asked.start_s, asked.end_s, responses.stages(request), on_progress
        )
        windows = [
            {
                "start_s": round(one.window.start_s, 4),
                "end_s": round(one.window.end_s, 4),
                "embedding": base64.b64encode(np.asarray(one.vector, "<f4").tobytes()).decode()
                if asked.encoding == "base64"
                else one.vector.tolist(),
            }
            for one in embedded
        ]
        header = service.nearest.header
        answer = {"windows": windows, "dim": header.dim, "encoder": header.encoder, "generation": header.generation}
        return responses.json(answer, {GENERATION: header.generation})

    return await sse.answer(request, work)
