"""The sound of an item, its waveform and its spectrogram, over HTTP: used by the service and by the browser.

====================================  ================================================================================
``GET {prefix}/{n}/audio``            the sound, by range request, so that a player seeks; what browsers cannot play
                                      comes as FLAC
``GET {prefix}/{n}/waveform``         lowest and highest sample of each of ``points`` columns, as JSON
``GET {prefix}/{n}/spectrogram.png``  the spectrum over time, log frequency, no axes
====================================  ================================================================================

``start_s`` and ``end_s`` take a part of it. ``n`` is the item's number in the catalog: a path never comes in, and
only files that the catalog knows go out. Errors are problem details. No torch here, and a sound is read in a process
that may die of it, never whole in memory.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import re
import stat
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import anyio
import anyio.to_thread
import numpy as np
import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from boiler.audio import transcode
from boiler.audio.media_pool import WORKERS, media_pool, media_type_pool
from boiler.audio.spectrogram import MAX_DRAWN_S, Peaks, peaks, spectrogram_png
from boiler.errors import BoilerError, QueryError, UnknownItemError
from boiler.service import problems

MAX_POINTS = 10_000
MAX_PIXELS_WIDE = 4_000
MAX_PIXELS_HIGH = 1_024
LEAST_PART_S = 0.001

__all__ = ["MAX_DRAWN_S", "Peaks", "peaks", "routes", "spectrogram_png"]

_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{1,18})?|-(\d{1,18}))")

log = logging.getLogger("boiler.service")

Handler = Callable[[Request], Awaitable[Response]]


class Sounds(Protocol):
    """What knows where the sounds of items lie; a `Nearest` does."""

    def path(self, id_or_n: str | int) -> Path:
        """The file of an item. Raises: UnknownItemError; QueryError: it is not at hand."""


@dataclass(frozen=True)
class Part:
    """Which part of a sound is asked for; ``end_s`` None is its end."""

    start_s: float = 0.0
    end_s: float | None = None

    @property
    def whole(self) -> bool:
        return self.start_s == 0.0 and self.end_s is None


def routes(nearest: Callable[[], Sounds], *, prefix: str = "/items") -> list[Route]:
    """The three routes, to be mounted in any Starlette application.

    Arguments:
        nearest: gives the opened model directory; asked at each request, so that a new one is taken up
        prefix: what stands before ``/{n}``
    """

    def route(path: str, name: str, answer: Callable[[Sounds, int, Request], Awaitable[Response]]) -> Route:
        @functools.wraps(answer)
        async def handler(request: Request) -> Response:
            return await answer(nearest(), number(request.path_params["n"]), request)

        return Route(prefix + path, guarded(handler), methods=["GET"], name=name)

    return [
        route("/{n}/audio", "item_audio", sound),
        route("/{n}/waveform", "item_waveform", waveform),
        route("/{n}/spectrogram.png", "item_spectrogram", spectrogram),
    ]


def guarded(handler: Handler) -> Handler:
    """The handler, with what boiler refuses answered as a problem, whatever application it is mounted in."""

    @functools.wraps(handler)
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except BoilerError as error:
            return problems.response(problems.of_boiler(error))
        except HTTPException as error:
            return problems.response(problems.of_http(error))

    return answer


async def sound(nearest: Sounds, n: int, request: Request) -> Response:
    """The item's sound: as it is where browsers play it, else, or for a part, as FLAC; in ranges of bytes."""
    part = part_of(request.query_params)
    path = await anyio.to_thread.run_sync(path_of, nearest, n)
    served, media_type = path, await anyio.to_thread.run_sync(media_type_pool().media_type, path, limiter=_looks())
    if media_type is None or not part.whole:
        async with _turn():
            try:
                served = await anyio.to_thread.run_sync(
                    functools.partial(media_pool().flac_copy, path, part.start_s, part.end_s), abandon_on_cancel=False
                )
            except transcode.NoRoomError as error:
                log.error("%s", error)  # it names a folder of this machine, which does not go out
                why = "there is no room to keep a copy that can be played; the service's log says where"
                raise problems.Problem(503, error.slug, why, headers={"Retry-After": "60"}) from None
        media_type = transcode.COPY_TYPE
    return await _file(request, served, media_type, identity=path)


async def waveform(nearest: Sounds, n: int, request: Request) -> Response:
    """The item's waveform as JSON."""
    part = part_of(request.query_params)
    points = whole(request.query_params, "points", 800, 1, MAX_POINTS)
    path = await anyio.to_thread.run_sync(path_of, nearest, n)

    def body() -> bytes:
        drawn = media_pool().peaks(path, points, part.start_s, part.end_s)
        return orjson.dumps(
            {
                "n": n,
                "start_s": round(drawn.start_s, 4),
                "end_s": round(drawn.end_s, 4),
                "points": points,
                "low": [round(float(value), 4) for value in np.clip(drawn.low, -1, 1)],
                "high": [round(float(value), 4) for value in np.clip(drawn.high, -1, 1)],
            }
        )

    return await _made(request, path, "application/json", body)


async def spectrogram(nearest: Sounds, n: int, request: Request) -> Response:
    """The item's spectrogram as PNG."""
    part = part_of(request.query_params)
    width = whole(request.query_params, "width", 800, 16, MAX_PIXELS_WIDE)
    height = whole(request.query_params, "height", 200, 16, MAX_PIXELS_HIGH)
    path = await anyio.to_thread.run_sync(path_of, nearest, n)
    draw = functools.partial(media_pool().spectrogram_png, path, width, height, part.start_s, part.end_s)
    return await _made(request, path, "image/png", draw)


def path_of(nearest: Sounds, n: int) -> Path:
    """The file of an item. Raises: Problem: 404 without the folder or the file; where it should be is not told."""
    try:
        return nearest.path(n)
    except UnknownItemError:
        raise
    except QueryError:
        why = f"the sound of item {n} is not at hand: this service has no folder of sounds, or the file is gone"
        raise problems.Problem(404, "no-sound", why) from None


async def _made(request: Request, path: Path, media_type: str, make: Callable[[], bytes]) -> Response:
    """What is computed from a file; not computed again for a client that has it."""
    tag = _etag(path.stat(), f"{request.url.path}?{request.url.query}")
    headers = {"ETag": tag, "Cache-Control": "private, max-age=3600"}
    if has(request, tag):
        return Response(None, 304, headers)
    async with _turn():
        body = await anyio.to_thread.run_sync(make)
    return Response(body, 200, headers, media_type)


async def _file(request: Request, path: Path, media_type: str, identity: Path) -> Response:
    """A file, whole or one range of it. A Range header that is malformed, of several ranges or of other units is
    passed over, as RFC 9110 14.2 lets a server do; Starlette answers some of these with a bare 400."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise problems.Problem(404, "unknown-item", "the item's sound is not a file any more")
    tag = _etag(identity.stat(), f"{media_type}{request.url.query}")
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
    if has(request, tag):
        return Response(None, 304, headers)
    asked = _RANGE.fullmatch(request.headers.get("range", "").strip())
    backwards = asked is not None and asked[1] and asked[2] and int(asked[1]) > int(asked[2])
    if asked is None or backwards or request.headers.get("if-range", tag) != tag:
        request.scope["headers"] = [pair for pair in request.scope["headers"] if pair[0] != b"range"]
    elif int(asked[1] or 0) >= status.st_size or asked[3] == "0":
        raise problems.Problem(
            416,
            "range-not-satisfiable",
            f"the sound has {status.st_size} bytes",
            headers={"Content-Range": f"bytes */{status.st_size}"},
        )
    return FileResponse(path, 200, headers, media_type, stat_result=status)


def _etag(status: os.stat_result, more: str) -> str:
    """Changes when the file does, and tells apart what is made of it."""
    text = f"{status.st_mtime_ns}-{status.st_size}-{more}"
    return f'"{hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()}"'


def has(request: Request, tag: str) -> bool:
    """Whether the client holds this very thing already (If-None-Match, compared weakly)."""
    held = request.headers.get("if-none-match", "")
    return held.strip() == "*" or tag in (one.strip().removeprefix("W/") for one in held.split(","))


@functools.cache
def _turn() -> anyio.CapacityLimiter:
    return anyio.CapacityLimiter(WORKERS)


@functools.cache
def _looks() -> anyio.CapacityLimiter:
    """Of its own, so that those who wait here hold none of the threads of others."""
    return anyio.CapacityLimiter(2)


def number(text: str) -> int:
    """The item number in an address."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise problems.Problem(404, "unknown-item", "an item is addressed by its number")
    return int(text)


def part_of(query: Mapping[str, str]) -> Part:
    """`start_s` and `end_s` of an address."""
    part = Part(_seconds(query, "start_s") or 0.0, _seconds(query, "end_s"))
    check_part(part.start_s, part.end_s)
    return part


def check_part(start_s: float, end_s: float | None) -> None:
    """Raises: Problem: 422 a part that ends before it begins, or at once"""
    if end_s is not None and end_s < start_s + LEAST_PART_S:
        raise _refused("end_s", f"must be greater than start_s, by {LEAST_PART_S:g} s at least")


def whole(query: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    """A whole number of an address, within bounds."""
    text = query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise _refused(name, f"must be a whole number from {least} to {most}")
    return int(text)


def _seconds(query: Mapping[str, str], name: str) -> float | None:
    text = query.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9.eE+-]{1,32}", text):
        raise _refused(name, "must be a number of seconds, 0 or more")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds < 1e9:
        raise _refused(name, "must be a number of seconds, 0 or more")
    return seconds


def _refused(name: str, why: str) -> problems.Problem:
    return problems.Problem(422, "invalid-request", f"{name} {why}", errors=[{"parameter": name, "detail": why}])
