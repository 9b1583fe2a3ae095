"""Any response that lists sounds as a playlist, M3U8, where `Accept` names ``application/vnd.apple.mpegurl``.

An entry is the address of an item's sound at this service. Players send no API key, so with keys a playlist is of use
only to those that can be told to send one.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from boiler.errors import BoilerError
from boiler.search import export
from boiler.search.nearest import Nearest
from boiler.service import requests
from boiler.service.state import service_of_request

PLAYLIST = "application/vnd.apple.mpegurl"


def is_wanted(scope: Scope) -> bool:
    """Whether a request wants a playlist. Called for every request, so it looks for the bytes first."""
    for name, value in scope["headers"]:
        if name == b"accept" and b"mpegurl" in value:
            return requests.accepts(value.decode("latin-1"), PLAYLIST)
    return False


async def respond(
    app: Callable[[Scope, Receive, Send], Awaitable[None]], scope: Scope, receive: Receive, send: Send
) -> None:
    """Call the app, and send its response as a playlist, if it is a successful one that lists sounds."""
    start: Message | None = None
    body: list[bytes] = []

    async def send_playlist(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start":
            headers = dict(message.get("headers", ()))
            if message["status"] == 200 and headers.get(b"content-type") == b"application/json":
                start = message
                return
        if start is None:
            await send(message)
            return
        body.append(message.get("body", b""))
        if message.get("more_body"):
            return
        request = Request(scope, receive)
        service = service_of_request(request)
        base = str(request.base_url).rstrip("/")
        content = b"".join(body)
        rendered = await service.run_heavy(functools.partial(_render, content, service.nearest, base))
        if rendered is None:
            await send(start)
            await send({"type": "http.response.body", "body": content})
            return
        kept = {name.decode(): value.decode("latin-1") for name, value in start["headers"] if name.startswith(b"x-")}
        await Response(rendered, 200, kept, PLAYLIST)(scope, receive, send)

    await app(scope, receive, send_playlist)


def _render(body: bytes, nearest: Nearest, base: str) -> bytes | None:
    """The playlist of a JSON response; None if it lists no sounds."""
    rows = _rows(orjson.loads(body))
    if rows is None:
        return None
    entries = [export.PlaylistEntry(row["n"], row["id"], _duration_s(row, nearest)) for row in rows]
    return export.m3u8(entries, lambda n: f"{base}/items/{n}/audio")


def _rows(content: Any) -> list[dict[str, Any]] | None:
    """The rows of a list of results or items; of several lists, one after the other."""
    if isinstance(content, dict):
        content = content.get("results", content.get("items"))
    if not isinstance(content, list):
        return None
    rows = [row for part in content for row in (part if isinstance(part, list) else [part])]
    return rows if all(isinstance(row, dict) and {"n", "id"} <= row.keys() for row in rows) else None


def _duration_s(row: dict[str, Any], nearest: Nearest) -> float | None:
    if "duration_s" in row:
        return float(row["duration_s"])
    try:
        return nearest.item(row["n"]).duration_s
    except BoilerError:  # it went with a newer index
        return None
