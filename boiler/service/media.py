"""The sound of an item, its waveform and its spectrogram, over HTTP: used by the service and the browser.

====================================  ================================================================================
``GET {prefix}/{n}/audio``            the audio file, with range requests for seeking; FLAC where browsers cannot play
                                      the format
``GET {prefix}/{n}/waveform``         smallest and largest sample in each of ``points`` columns, as JSON
``GET {prefix}/{n}/spectrogram.png``  spectrogram with logarithmic frequency, without axes
====================================  ================================================================================

``start_s`` and ``end_s`` select a part. ``n`` is the item's number in the catalog: no request contains a path, and only
files of the catalog are served. Errors are problem documents. Files are decoded in worker processes, in blocks; torch
is not imported.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import re
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import anyio
import anyio.to_thread
import numpy as np
import orjson
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from boiler.audio import transcode
from boiler.audio.media_pool import WORKERS, media_pool, media_type_pool
from boiler.errors import BoilerError, QueryError, UnknownItemError
from boiler.service import problems, requests
from boiler.service.schemas import PartQuery

MAX_POINTS = 10_000
MAX_WIDTH = 4_000
MAX_HEIGHT = 1_024

_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{1,18})?|-(\d{1,18}))")

log = logging.getLogger("boiler.service")

Handler = Callable[[Request], Awaitable[Response]]


class WaveformQuery(PartQuery):
    """A waveform of a part of a sound."""

    points: int = Field(800, ge=1, le=MAX_POINTS, description="number of columns")


class SpectrogramQuery(PartQuery):
    """A spectrogram of a part of a sound."""

    width: int = Field(800, ge=16, le=MAX_WIDTH, description="width in pixels")
    height: int = Field(200, ge=16, le=MAX_HEIGHT, description="height in pixels")


class FileLocator(Protocol):
    """Finds the audio file of an item; `Nearest` does."""

    def path(self, id_or_n: str | int) -> Path:
        """The path of an item's file. Raises: UnknownItemError; QueryError: the file is not available."""


def media_routes(nearest: Callable[[], FileLocator], *, prefix: str = "/items") -> list[Route]:
    """The routes ``audio``, ``waveform`` and ``spectrogram.png`` of an item, for any Starlette application.

    Arguments:
        nearest: returns the opened index; called for each request
        prefix: path before ``/{n}``
    """

    async def audio(request: Request) -> Response:
        return await audio_response(request, nearest(), _n(request), requests.parse_query(request, PartQuery))

    async def waveform(request: Request) -> Response:
        return await waveform_response(request, nearest(), _n(request), requests.parse_query(request, WaveformQuery))

    async def spectrogram(request: Request) -> Response:
        query = requests.parse_query(request, SpectrogramQuery)
        return await spectrogram_response(request, nearest(), _n(request), query)

    return [
        Route(prefix + path, with_problems(handler), methods=["GET"], name=name)
        for path, name, handler in (
            ("/{n}/audio", "item_audio", audio),
            ("/{n}/waveform", "item_waveform", waveform),
            ("/{n}/spectrogram.png", "item_spectrogram", spectrogram),
        )
    ]


def video_route(files: Callable[[], FileLocator]) -> Route:
    """The route ``/{n}/video``: a video that browsers play as it is; 404 for other files."""

    async def video(request: Request) -> Response:
        path = await anyio.to_thread.run_sync(find_file, files(), _n(request))
        kind = await anyio.to_thread.run_sync(media_type_pool().video_type, path, limiter=_probe_limiter())
        if kind is None:
            raise problems.Problem(404, "no-video", "this is no video, or one that browsers do not play")
        return await _file_response(request, path, kind, identity=path)

    return Route("/{n}/video", with_problems(video), methods=["GET"], name="item_video")


def with_problems(handler: Handler) -> Handler:
    """The handler with its errors returned as problem documents, for applications without exception handlers."""

    @functools.wraps(handler)
    async def wrapped(request: Request) -> Response:
        try:
            return await handler(request)
        except BoilerError as error:
            return problems.response(problems.from_boiler_error(error))
        except HTTPException as error:
            return problems.response(problems.from_http_exception(error))

    return wrapped


async def audio_response(request: Request, files: FileLocator, n: int, part: PartQuery) -> Response:
    """The sound of item `n`: the file itself where browsers can play it, else, or for a part, FLAC. Supports ranges."""
    path = await anyio.to_thread.run_sync(find_file, files, n)
    served = path
    media_type = await anyio.to_thread.run_sync(media_type_pool().media_type, path, limiter=_probe_limiter())
    if media_type is None or not part.is_whole:
        async with _render_limiter():
            try:
                served = await anyio.to_thread.run_sync(
                    functools.partial(media_pool().flac_copy, path, part.start_s, part.end_s), abandon_on_cancel=False
                )
            except transcode.NoRoomError as error:
                log.error("%s", error)  # contains a path, which the response must not
                why = "there is no disk space for a playable copy; the service's log says where"
                raise problems.Problem(503, error.slug, why, headers={"Retry-After": "60"}) from None
        media_type = transcode.COPY_TYPE
    return await _file_response(request, served, media_type, identity=path)


async def waveform_response(request: Request, files: FileLocator, n: int, query: WaveformQuery) -> Response:
    """The waveform of item `n` as JSON."""
    path = await anyio.to_thread.run_sync(find_file, files, n)

    def render() -> bytes:
        drawn = media_pool().peaks(path, query.points, query.start_s, query.end_s)
        return orjson.dumps(
            {
                "n": n,
                "start_s": round(drawn.start_s, 4),
                "end_s": round(drawn.end_s, 4),
                "points": query.points,
                "low": [round(float(value), 4) for value in np.clip(drawn.low, -1, 1)],
                "high": [round(float(value), 4) for value in np.clip(drawn.high, -1, 1)],
            }
        )

    return await _rendered_response(request, path, "application/json", render)


async def spectrogram_response(request: Request, files: FileLocator, n: int, query: SpectrogramQuery) -> Response:
    """The spectrogram of item `n` as PNG."""
    path = await anyio.to_thread.run_sync(find_file, files, n)
    size, part = (query.width, query.height), (query.start_s, query.end_s)
    render = functools.partial(media_pool().spectrogram_png, path, *size, *part)
    return await _rendered_response(request, path, "image/png", render)


def find_file(files: FileLocator, n: int) -> Path:
    """The file of item `n`.

    Raises:
        UnknownItemError: there is no such item
        Problem: 404 the file is not available; without its path
    """
    try:
        return files.path(n)
    except UnknownItemError:
        raise
    except QueryError:
        why = f"the file of item {n} is not available: this service has no folder of sounds, or the file was deleted"
        raise problems.Problem(404, "no-sound", why) from None


async def _rendered_response(request: Request, path: Path, media_type: str, render: Callable[[], bytes]) -> Response:
    """A response rendered from a file, or 304. `render` runs in a thread."""
    etag = _etag(path.stat(), f"{request.url.path}?{request.url.query}")
    headers = {"ETag": etag, "Cache-Control": "private, max-age=3600"}
    if not_modified(request, etag):
        return Response(None, 304, headers)
    async with _render_limiter():
        body = await anyio.to_thread.run_sync(render)
    return Response(body, 200, headers, media_type)


async def _file_response(request: Request, path: Path, media_type: str, identity: Path) -> Response:
    """A file or one range of it. The ETag is that of `identity`, of which `path` may be a copy.

    A Range header that is malformed, has several ranges or another unit is ignored, as RFC 9110 14.2 allows; Starlette
    responds to some of these with a bare 400.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise problems.Problem(404, "unknown-item", "the item's path is not a file any more")
    etag = _etag(identity.stat(), f"{media_type}{request.url.query}")
    headers = {"ETag": etag, "Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
    if not_modified(request, etag):
        return Response(None, 304, headers)
    wanted = _RANGE.fullmatch(request.headers.get("range", "").strip())
    reversed_ = wanted is not None and wanted[1] and wanted[2] and int(wanted[1]) > int(wanted[2])
    if wanted is None or reversed_ or request.headers.get("if-range", etag) != etag:
        request.scope["headers"] = [pair for pair in request.scope["headers"] if pair[0] != b"range"]
    elif int(wanted[1] or 0) >= status.st_size or wanted[3] == "0":
        raise problems.Problem(
            416,
            "range-not-satisfiable",
            f"the file has {status.st_size} bytes",
            headers={"Content-Range": f"bytes */{status.st_size}"},
        )
    return FileResponse(path, 200, headers, media_type, stat_result=status)


def _etag(status: os.stat_result, variant: str) -> str:
    """An ETag that changes with the file and with the variant that is made from it."""
    text = f"{status.st_mtime_ns}-{status.st_size}-{variant}"
    return f'"{hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()}"'


def not_modified(request: Request, etag: str) -> bool:
    """Whether `If-None-Match` contains the ETag (weak comparison)."""
    known = request.headers.get("if-none-match", "")
    return known.strip() == "*" or etag in (one.strip().removeprefix("W/") for one in known.split(","))


@functools.cache
def _render_limiter() -> anyio.CapacityLimiter:
    return anyio.CapacityLimiter(WORKERS)


@functools.cache
def _probe_limiter() -> anyio.CapacityLimiter:
    """A separate limiter: probing file formats must not exhaust the shared thread pool."""
    return anyio.CapacityLimiter(2)


def item_number(text: str) -> int:
    """The item number in a path. Raises: Problem: 404"""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise problems.Problem(404, "unknown-item", "items are addressed by their number")
    return int(text)


def _n(request: Request) -> int:
    return item_number(request.path_params["n"])
