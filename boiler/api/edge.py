"""What every request passes on its way in and out, before and after the routes.

A request gets an id (its own ``X-Request-ID`` when that is a plain one), shows its key where keys are asked, and is
refused early when it is too large, too slow, or one too many. On its way out it is counted, timed and logged, with
nothing of its content. Written as plain ASGI: a layer of `BaseHTTPMiddleware` costs more than the search.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import sys
from collections.abc import Callable
from time import perf_counter, time

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from boiler.api import problems
from boiler.api.keys import OPEN_PATHS, Keys
from boiler.api.meters import Meters
from boiler.settings import Scope as KeyScope
from boiler.settings import Settings

# Answered whatever the load: a probe that has to wait gets the service killed.
PROBES = frozenset({"/livez", "/readyz", "/health", "/metrics"})
UPLOADS = frozenset({"/nearest/audio", "/embed"})
_FORM_OVERHEAD_BYTES = 8_192  # what multipart adds to a file

SEND_TIMEOUT_S = 120.0  # a paused player reads nothing for a while; then it asks again, by range

_PLAIN_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Edge:
    """Wraps the application of one worker."""

    def __init__(self, app: ASGIApp, settings: Settings, meters: Meters | None) -> None:
        self.app = app
        self.settings = settings
        self.meters = meters
        self.keys = Keys(key.get_secret_value() for key in settings.api_keys)
        self.in_progress = 0
        self.write = _writer(settings.log)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = perf_counter()
        given = _headers_of_interest(scope)
        asked_id = given.get(b"x-request-id", b"")
        request_id = asked_id.decode() if _PLAIN_ID.fullmatch(asked_id) else secrets.token_hex(8)
        stages: dict[str, float] = {}
        scope.setdefault("state", {}).update(request_id=request_id, stages=stages)
        status = 500  # until an answer has begun

        async def out(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
                await send(message)
            elif message.get("more_body"):
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await send(message)
            else:
                await send(message)

        self.in_progress += 1
        try:
            try:
                limit_bytes = self._admitted(scope["path"], scope["method"], given)
            except problems.Problem as problem:
                await problems.response(problem, request_id)(scope, receive, out)
                return
            await self.app(scope, _bounded(receive, limit_bytes, self.settings.max_body_s), out)
        except TimeoutError:
            status = 499  # a reader that stopped reading: the connection is closed on it
            raise ConnectionAbortedError("the client stopped reading") from None
        finally:
            self.in_progress -= 1
            self._account(scope, status, perf_counter() - started, stages)

    def _admitted(self, path: str, method: str, given: dict[bytes, bytes]) -> int:
        """How many bytes the body may have.

        Raises: Problem: no key, too busy, or a body that is declared too large
        """
        if self.keys and path not in OPEN_PATHS and method != "OPTIONS":
            self.keys.check(needed_scope(path), given.get(b"authorization"), given.get(b"x-api-key"))
        if self.in_progress > self.settings.max_requests and path not in PROBES:
            raise problems.Problem(
                503, "busy", "too many requests are being worked on; try again", headers={"Retry-After": "1"}
            )
        limit = self.settings.max_body_bytes
        if path in UPLOADS:
            limit = self.settings.max_upload_bytes + _FORM_OVERHEAD_BYTES
        length = given.get(b"content-length", b"0")
        if length.isdigit() and int(length[:19]) > limit:
            raise too_large(limit)
        return limit

    def _account(self, scope: Scope, status: int, seconds: float, stages: dict[str, float]) -> None:
        route = scope.get("route")
        name = getattr(route, "path", None) or "unmatched"
        if self.meters is not None:
            self.meters.answered(name, status, seconds, stages)
            self.meters.in_progress.set(self.in_progress)
        if self.write is not None:
            self.write(scope, name, status, seconds)


def needed_scope(path: str) -> KeyScope:
    """What a key must allow for a path."""
    return "feedback" if path == "/feedback" or path.startswith("/feedback/") else "read"


def too_large(limit: int) -> problems.Problem:
    """The answer to a body that passes its limit. The connection closes: the rest of the body is not read."""
    return problems.Problem(413, "too-large", f"the body may have {limit} bytes", headers={"Connection": "close"})


def _headers_of_interest(scope: Scope) -> dict[bytes, bytes]:
    return {name: value for name, value in scope["headers"] if name in _INTEREST}


_INTEREST = frozenset({b"x-request-id", b"content-length", b"authorization", b"x-api-key"})


def _bounded(receive: Receive, limit_bytes: int, limit_s: float) -> Receive:
    """The same messages; a Problem is raised when the body grows over its limit or takes too long to come."""
    seen, done, until = 0, False, 0.0

    async def bounded() -> Message:
        nonlocal seen, done, until
        if done:
            return await receive()  # waits for the client to leave: that may take as long as it likes
        until = until or asyncio.get_running_loop().time() + limit_s
        try:
            async with asyncio.timeout_at(until):
                message = await receive()
        except TimeoutError:
            raise problems.Problem(
                408, "slow-body", f"the body did not come within {limit_s:g} s", headers={"Connection": "close"}
            ) from None
        done = not message.get("more_body", False)
        seen += len(message.get("body", b""))
        if seen > limit_bytes:
            raise too_large(limit_bytes)
        return message

    return bounded


Writer = Callable[[Scope, str, int, float], None]


def _writer(kind: str) -> Writer | None:
    """Writes one line for each request to stderr. Not by `logging`, whose way to a line costs a tenth of a request."""
    if kind == "none":
        return None

    def as_json(scope: Scope, route: str, status: int, seconds: float) -> None:
        state = scope["state"]
        line = {
            "time": round(time(), 3),
            "request_id": state["request_id"],
            "method": scope["method"],
            "route": route,
            "status": status,
            "ms": round(seconds * 1e3, 3),
        }
        for stage, spent in state["stages"].items():
            line[stage + "_ms"] = round(spent * 1e3, 3)
        sys.stderr.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE).decode())

    def as_text(scope: Scope, route: str, status: int, seconds: float) -> None:
        line = f"{scope['method']} {route} {status} {seconds * 1e3:.1f} ms [{scope['state']['request_id']}]\n"
        sys.stderr.write(line)

    return as_json if kind == "json" else as_text
