"""Routes that search: by a vector, by an upload, by several seeds; and the one that embeds an upload."""

from __future__ import annotations

import base64
import functools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Annotated, Literal, TypeVar

import numpy as np
import orjson
from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from boiler.arrays import Float64Array
from boiler.errors import CheckpointError, SettingsError
from boiler.search.query import GroupLimit, Options, QueryResult
from boiler.search.seeds import ByItem, ByPicture, ByText, ByVector, ByWindows, Seed, check_encoder
from boiler.search.snapshot import Snapshot
from boiler.service import media, openapi, problems, requests, responses, schemas, sse
from boiler.service.policy import requires
from boiler.service.row_renderer import GENERATION_HEADER
from boiler.service.state import MAX_K_ON_LOOP, Service, service_of_request
from boiler.service.uploads import StageCallback
from boiler.vision import image

log = logging.getLogger("boiler.service")
router = APIRouter(tags=["search"])
Results = TypeVar("Results")

SEED_KINDS = ("embedding", "n", "id", "sound", "upload", "text", "picture")
"""Fields of a seed, of which one is given."""


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
async def nearest_to_vector(request: Request) -> Response:
    """The items nearest to a vector, nearest first.

    Get the vector from `POST /embed`, or from the index's `encoder.pt`. The headers `X-Boiler-Engine` and
    `X-Boiler-Generation` name the engine and the index that answered.
    """
    started = perf_counter()
    service = service_of_request(request)
    k = requests.parse_k(request, service.settings.max_k)
    body = await requests.read_json(request, schemas.NearestRequest)
    if body.encoder is not None:
        check_encoder(body.encoder, service.nearest.header)
    vector = requests.parse_vector(body.embedding, service.nearest.dim)
    validated = perf_counter()
    if k > MAX_K_ON_LOOP:
        answered = await service.run_heavy(functools.partial(_search_and_render, service, vector, k))
        snapshot, response, found = answered
    else:
        snapshot, ranked = await service.ranked(vector, k, alone=requests.is_only_request(request))
        found = perf_counter()
        response = service.renderer.render(snapshot, ranked)
    service.count_searches(snapshot.engine.name)
    responses.stage_times(request).update(
        validate=validated - started, search=found - validated, render=perf_counter() - found
    )
    return response


def _search_and_render(service: Service, vector: Float64Array, k: int) -> tuple[Snapshot, Response, float]:
    """The snapshot that was searched, the response, and when the rows were found."""
    snapshot, ranked = service.nearest.rank(vector, k)
    found = perf_counter()
    return snapshot, service.renderer.render(snapshot, ranked), found


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
    openapi_extra=openapi.query_body(schemas.BatchRequest),
)
@requires(may_have_sounds=True)
async def nearest_batch(request: Request) -> Response:
    """Several searches in one request, by vectors, items, sounds, words and pictures; one list of results for each."""
    service = service_of_request(request)
    body, uploads = await requests.read_query(request, schemas.BatchRequest)
    service.check_k(body.k)
    if len(body.queries) > service.settings.max_batch:
        raise problems.invalid_body("/queries", f"at most {service.settings.max_batch} queries in one request")
    queries = await parse_seeds(service, body.queries, "/queries", uploads)
    stages = responses.stage_times(request)

    def search_and_render() -> tuple[Response, str]:
        started = perf_counter()
        answers = _with_pictures(queries, lambda: service.nearest.query_many(queries, body.k))
        found = perf_counter()
        # Each list is rendered by itself: orjson does not let other threads run before it is done.
        results = [orjson.Fragment(orjson.dumps(responses.neighbour_rows(answer.matches))) for answer in answers]
        source = {"engine": answers[0].engine, "generation": answers[0].generation}
        response = responses.json_response({"results": results, **source}, responses.search_headers(**source))
        stages.update(search=found - started, render=perf_counter() - found)
        return response, answers[0].engine

    response, engine = await service.run_heavy(search_and_render)
    service.count_searches(engine, len(queries))
    return response


@router.post(
    "/nearest/query",
    operation_id="nearest_query",
    response_model=schemas.QueryResponse,
    openapi_extra=openapi.query_body(schemas.QueryRequest),
)
@requires(may_have_sounds=True)
async def nearest_query(request: Request) -> Response:
    """A search with several weighted seeds (vectors, items, sounds, words, pictures), filters, merged near-duplicates,
    limited groups and diversity.

    With words or pictures the index must be of the general encoder, else 422; it says how they were understood.
    """
    service = service_of_request(request)
    body, uploads = await requests.read_query(request, schemas.QueryRequest)
    service.check_k(body.k)
    seeds = await parse_seeds(service, body.seeds, "/seeds", uploads)
    options = _options(body)
    return await _query_response(
        request, lambda: _with_pictures(seeds, lambda: service.nearest.query(seeds, body.k, options))
    )


@router.post(
    "/nearest/text",
    operation_id="nearest_text",
    response_model=schemas.QueryResponse,
    openapi_extra=openapi.json_body(schemas.TextRequest),
)
async def nearest_to_text(request: Request) -> Response:
    """The items that match words best: `dog barking -indoor`. It says how the words were understood, and of each result
    what it sounds like.

    The index must be of the general encoder, else 422. `POST /nearest/query` takes `text` among its seeds: with sounds,
    weights and filters.
    """
    service = service_of_request(request)
    body = await requests.read_json(request, schemas.TextRequest)
    service.check_k(body.k)
    return await _query_response(request, lambda: service.nearest.query(ByText(body.text), body.k))


@router.post(
    "/nearest/picture",
    operation_id="nearest_to_picture",
    response_model=schemas.QueryResponse,
    openapi_extra=openapi.PICTURE_FORM,
)
@requires(is_upload=True)
async def nearest_to_picture(request: Request, query: Annotated[schemas.KQuery, Query()]) -> Response:
    """The items that match best what an uploaded picture shows. It says what was seen, and of each result what it
    sounds like.

    The index must be of the general encoder, and the service must have a network for pictures, else 422.
    """
    service = service_of_request(request)
    service.check_k(query.k)
    pixels = await service.uploads.picture(await requests.read_upload(request))

    seeds = [ByPicture(pixels)]
    return await _query_response(request, lambda: _with_pictures(seeds, lambda: service.nearest.query(seeds, query.k)))


def _with_pictures(seeds: Iterable[Seed], search: Callable[[], Results]) -> Results:
    """Search with seeds, some of which may be pictures.

    Raises: Problem: 422 this service has no network for pictures
    """
    try:
        return search()
    except (CheckpointError, SettingsError) as error:
        if not any(isinstance(seed, ByPicture) for seed in seeds):
            raise
        log.warning("a picture was not searched with: %s", error)  # its message has a path
        why = "this service has no network for pictures: run boiler encoders add efficientnet-lite0 where it runs"
        raise problems.Problem(422, "no-image-model", why) from None


async def parse_seed(
    service: Service, seed: schemas.SeedRequest, pointer: str, uploads: Mapping[str, bytes] | None = None
) -> Seed:
    """A seed as `Nearest` takes it. A picture and a part of an item are decoded in a worker process, a sound also
    embedded.

    Arguments:
        pointer: where in the body the seed is
        uploads: the files of the form, by the names of their parts; one that begins as a picture is a picture

    Raises: Problem: 422 none or several of a vector, an item, a file and words, a vector of another length, or no
        picture; SoundError
    """
    if sum(getattr(seed, name) is not None for name in SEED_KINDS) != 1:
        why = f"give one of {', '.join(f'`{name}`' for name in SEED_KINDS[:-1])} and `{SEED_KINDS[-1]}`"
        raise problems.invalid_body(pointer, why, detail=f"{pointer}: {why}")
    if seed.text is not None:
        return ByText(seed.text, seed.weight)
    if seed.embedding is not None:
        check_encoder(seed.encoder, service.nearest.header)
        vector = requests.parse_vector(seed.embedding, service.nearest.dim, f"{pointer}/embedding")
        return ByVector(vector, seed.weight, seed.encoder)
    if seed.n is None and seed.id is None:
        content = _file_of(seed, pointer, uploads or {})
        if seed.picture is not None or (seed.upload is not None and image.is_picture("", content)):
            return ByPicture(await service.uploads.picture(content), seed.weight)
        embedded = await service.uploads.embed(content, seed.start_s, seed.end_s, {})
        spans = [(one.window.start_s, one.window.end_s) for one in embedded]
        return ByWindows(np.stack([one.vector for one in embedded]), spans, weight=seed.weight)
    n = seed.n
    if n is None:
        n = (await service.run_heavy(functools.partial(service.nearest.item, seed.id or ""))).n
    if seed.is_whole:
        return ByItem(n, weight=seed.weight)
    path = await service.in_thread(functools.partial(media.find_file, service.nearest, n))
    samples = await service.uploads.decode(path, seed.start_s, seed.end_s)
    return replace(samples, weight=seed.weight)


def _file_of(seed: schemas.SeedRequest, pointer: str, uploads: Mapping[str, bytes]) -> bytes:
    """The sound or picture file of a seed. Raises: Problem: 422"""
    for name, text in (("sound", seed.sound), ("picture", seed.picture)):
        if text is not None:
            try:
                return base64.b64decode(text, validate=True)
            except ValueError:
                raise problems.invalid_body(f"{pointer}/{name}", "is not base64") from None
    if (content := uploads.get(seed.upload or "")) is None:
        raise problems.invalid_body(f"{pointer}/upload", "the request has no part of this name with a file in it")
    return content


async def parse_seeds(
    service: Service, seeds: Sequence[schemas.SeedRequest], pointer: str, uploads: Mapping[str, bytes]
) -> list[Seed]:
    """Several seeds. Raises: Problem: as `parse_seed`; 422 more than `requests.MAX_SOUNDS` sounds and pictures"""
    if sum(not (seed.sound is seed.picture is seed.upload is None) for seed in seeds) > requests.MAX_SOUNDS:
        raise problems.invalid_body(pointer, f"at most {requests.MAX_SOUNDS} sounds and pictures in one request")
    return [await parse_seed(service, seed, f"{pointer}/{at}", uploads) for at, seed in enumerate(seeds)]


def _options(body: schemas.QueryRequest) -> Options:
    """Raises: Problem: 422 the filter is too large; QueryError: options that exclude each other, or a wrong filter"""
    return Options(
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


async def _query_response(request: Request, search: Callable[[], QueryResult]) -> Response:
    """Search, and respond with the results and why there are so few."""
    service, stages = service_of_request(request), responses.stage_times(request)

    def search_and_render() -> tuple[Response, str]:
        started = perf_counter()
        answer = search()
        found = perf_counter()
        source = {"engine": answer.engine, "generation": answer.generation}
        content = {
            "results": responses.query_rows(answer.matches),
            **source,
            "reason": answer.shortfall,
            "nothing_similar": answer.nothing_similar,
            "understood": responses.understood_rows(answer.understood),
        }
        response = responses.json_response(content, responses.search_headers(**source))
        stages.update(search=found - started, render=perf_counter() - found)
        return response, answer.engine

    response, engine = await service.run_heavy(search_and_render)
    service.count_searches(engine)
    return response


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
        content = {"windows": windows, "dim": header.dim, "encoder": header.encoder}
        content |= {"encoder_sha256": header.encoder_sha256, "generation": header.generation}
        return responses.json_response(content, {GENERATION_HEADER: header.generation})

    return await sse.respond(request, work)
