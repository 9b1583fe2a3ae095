"""Routes that search: by a vector, by an upload, by several seeds; and the one that embeds an upload."""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Annotated, Literal, TypeVar

import numpy as np
from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from boiler.search.query import GroupLimit, Options
from boiler.search.seeds import ByItem, ByVector, Seed
from boiler.service import media, openapi, problems, requests, responses, schemas, sse
from boiler.service.policy import requires
from boiler.service.row_renderer import GENERATION_HEADER
from boiler.service.state import Service, service_of_request
from boiler.service.uploads import StageCallback

router = APIRouter(tags=["search"])

QueryAnswer = TypeVar("QueryAnswer")


class AudioSearchQuery(schemas.PartQuery):
    """A search by an upload, or a part of it."""

    k: int = Field(10, ge=1, description="number of results, at most `max_k` of GET /model", examples=[12])


class EmbedQuery(schemas.PartQuery):
    """How to return the vectors of an upload, or of a part of it."""

    encoding: Literal["float", "base64"] = Field("float", description="base64: little-endian float32")


@router.post(
    "/nearest",
    operation_id="nearest",
    response_model=list[schemas.Neighbour],
    openapi_extra=openapi.json_body(schemas.NearestRequest)
    | {
        "parameters": [
            {
                "name": "k",
                "in": "query",
                "description": "number of results, at most `max_k` of GET /model",
                "schema": {"type": "integer", "minimum": 1, "default": 10},
                "example": 12,
            }
        ]
    },
)
async def nearest(request: Request) -> Response:
    """The items nearest to a vector, nearest first.

    Get the vector from `POST /embed`, or from the index's `encoder.pt`. The headers `X-Boiler-Engine` and
    `X-Boiler-Generation` name the engine and the index that answered.
    """
    started = perf_counter()
    service = service_of_request(request)
    k = requests.parse_k(request, service.settings.max_k)
    body = await requests.read_json(request, schemas.NearestRequest)
    vector = requests.parse_vector(body.embedding, service.nearest.dim)
    validated = perf_counter()
    snapshot, ranked = await service.ranked(vector, k, alone=requests.is_only_request(request))
    found = perf_counter()
    response = service.renderer.render(snapshot, ranked)
    service.count_searches(snapshot.engine.name)
    responses.stage_times(request).update(
        validate=validated - started, search=found - validated, render=perf_counter() - found
    )
    return response


@router.post(
    "/nearest/audio",
    operation_id="nearest_to_audio",
    response_model=list[schemas.Neighbour],
    responses={200: {"content": sse.EVENT_STREAM_CONTENT}},
    openapi_extra=openapi.SOUND_FORM,
)
@requires(is_upload=True)
async def nearest_to_audio(request: Request, query: Annotated[AudioSearchQuery, Query()]) -> Response:
    """The items nearest to an uploaded sound, or to a part of it, nearest first.

    With `Accept: text/event-stream` it reports progress. The work is cancelled when the client disconnects.
    """
    service = service_of_request(request)
    service.check_k(query.k)
    sound = await requests.read_upload(request)

    async def work(on_progress: StageCallback) -> Response:
        stages = responses.stage_times(request)
        embedded = await service.uploads.embed(sound, query.start_s, query.end_s, stages, on_progress)
        on_progress("searching", 0, 1)
        vectors = np.stack([one.vector for one in embedded])
        search = functools.partial(service.nearest.search_windows, vectors, query.k)
        return await responses.neighbours_response(request, search)

    return await sse.respond(request, work)


@router.post(
    "/nearest/batch",
    operation_id="nearest_batch",
    response_model=schemas.BatchResponse,
    openapi_extra=openapi.json_body(schemas.BatchRequest),
)
async def nearest_batch(request: Request) -> Response:
    """Several searches in one request, by vectors and by items; one list of results for each."""
    service = service_of_request(request)
    body = await requests.read_json(request, schemas.BatchRequest)
    service.check_k(body.k)
    if len(body.queries) > service.settings.max_batch:
        raise problems.invalid_body("/queries", f"at most {service.settings.max_batch} queries in one request")
    queries = [await parse_seed(service, query, f"/queries/{at}") for at, query in enumerate(body.queries)]
    answers = await _timed_search(request, functools.partial(service.nearest.query_many, queries, body.k))
    service.count_searches(answers[0].engine, len(answers))
    results = [responses.neighbour_rows(answer.matches) for answer in answers]
    source = {"engine": answers[0].engine, "generation": answers[0].generation}
    return responses.json_response({"results": results, **source}, responses.search_headers(**source))


@router.post(
    "/nearest/query",
    operation_id="nearest_query",
    response_model=schemas.QueryResponse,
    openapi_extra=openapi.json_body(schemas.QueryRequest),
)
async def nearest_query(request: Request) -> Response:
    """A search with several weighted seeds, filters, merged near-duplicates, limited groups and diversity."""
    service = service_of_request(request)
    body = await requests.read_json(request, schemas.QueryRequest)
    service.check_k(body.k)
    seeds = [await parse_seed(service, seed, f"/seeds/{at}") for at, seed in enumerate(body.seeds)]
    options = Options(
        where=requests.parse_filter(body.where),
        without=frozenset(body.without),
        min_similarity=body.min_similarity,
        per_window=body.per_window,
        dedup_distance=body.dedup_distance,
        per_group=None if body.per_group is None else GroupLimit(body.per_group.field, body.per_group.limit),
        diversity=body.diversity,
        csls=body.csls,
        feedback=body.feedback,
        user=body.user,
    )
    answer = await _timed_search(request, functools.partial(service.nearest.query, seeds, body.k, options))
    service.count_searches(answer.engine)
    source = {"engine": answer.engine, "generation": answer.generation}
    content = {"results": responses.query_rows(answer.matches), **source, "reason": answer.shortfall}
    return responses.json_response(content, responses.search_headers(**source))


async def parse_seed(service: Service, seed: schemas.SeedRequest, pointer: str) -> Seed:
    """A seed as `Nearest` takes it. A part of an item is decoded in a worker process.

    Arguments:
        pointer: where in the body the seed is

    Raises: Problem: 422 both or neither of a vector and an item, or a vector of another length; SoundError
    """
    if (seed.embedding is None) == (seed.n is None):
        why = "give either `embedding` or `n`"
        raise problems.invalid_body(pointer, why, detail=f"{pointer}: {why}")
    if seed.embedding is not None:
        vector = requests.parse_vector(seed.embedding, service.nearest.dim, f"{pointer}/embedding")
        return ByVector(vector, seed.weight)
    assert seed.n is not None
    if seed.is_whole:
        return ByItem(seed.n, weight=seed.weight)
    path = await service.in_thread(functools.partial(media.find_file, service.nearest, seed.n))
    samples = await service.uploads.decode(path, seed.start_s, seed.end_s)
    return replace(samples, weight=seed.weight)


async def _timed_search(request: Request, search: Callable[[], QueryAnswer]) -> QueryAnswer:
    """Search in a thread: such a search may take long even in a small index."""
    started = perf_counter()
    answer = await service_of_request(request).in_thread(search)
    responses.stage_times(request)["search"] = perf_counter() - started
    return answer


@router.post(
    "/embed",
    operation_id="embed",
    response_model=schemas.EmbedResponse,
    responses={200: {"content": sse.EVENT_STREAM_CONTENT}},
    openapi_extra=openapi.SOUND_FORM,
)
@requires(is_upload=True)
async def embed(request: Request, query: Annotated[EmbedQuery, Query()]) -> Response:
    """The vectors of an uploaded sound, or of a part of it, for `POST /nearest`: one for each window that is not
    silent.

    With `Accept: text/event-stream` it reports progress. The work is cancelled when the client disconnects.
    """
    service = service_of_request(request)
    sound = await requests.read_upload(request)

    async def work(on_progress: StageCallback) -> Response:
        stages = responses.stage_times(request)
        embedded = await service.uploads.embed(sound, query.start_s, query.end_s, stages, on_progress)
        windows = [
            {
                "start_s": round(one.window.start_s, 4),
                "end_s": round(one.window.end_s, 4),
                "embedding": base64.b64encode(np.asarray(one.vector, "<f4").tobytes()).decode()
                if query.encoding == "base64"
                else one.vector.tolist(),
            }
            for one in embedded
        ]
        header = service.nearest.header
        content = {"windows": windows, "dim": header.dim, "encoder": header.encoder, "generation": header.generation}
        return responses.json_response(content, {GENERATION_HEADER: header.generation})

    return await sse.respond(request, work)
