"""What every request passes on its way in and out, before and after the routes.

A request gets an id (its own ``X-Request-ID`` when that is a plain one), shows its key where keys are asked, and is
refused early when it is too large, too slow, or one too many. On its way out it is counted, timed and logged, with
nothing of its content. Written as plain ASGI: a layer of `BaseHTTPMiddleware` costs more than the search.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import re
import secrets
import types
from collections.abc import Awaitable, Generator
from time import perf_counter
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from boiler.service import problems
from boiler.service.access_log import LogLines
from boiler.service.auth import OPEN_PATHS, Keys
from boiler.service.metrics import Meters
from boiler.service.settings import Scope as KeyScope
from boiler.service.settings import Settings

# Answered whatever the load: a probe that has to wait gets the service killed.
PROBES = frozenset({"/livez", "/readyz", "/health", "/metrics"})
UPLOADS = frozenset({"/nearest/audio", "/embed", "/locate"})
_FORM_OVERHEAD_BYTES = 8_192  # what multipart adds to a file

SEND_TIMEOUT_S = 120.0  # a paused player reads nothing for a while; then it asks again, by range

_PLAIN_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# Counted from a place that no other worker counts from; a random one for each request is a call of the system.
_IDS = itertools.count(secrets.randbits(63))


class Edge:
    """Wraps the application of one worker."""

    def __init__(self, app: ASGIApp, settings: Settings, meters: Meters | None, lines: LogLines | None) -> None:
        self.app = app
        self.settings = settings
        self.meters = meters
        self.lines = lines
        self.keys = Keys(key.get_secret_value() for key in settings.api_keys)
        self.in_progress = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = perf_counter()
        given = {name: value for name, value in scope["headers"] if name in _INTEREST}
        asked_id = given.get(b"x-request-id")
        request_id = asked_id.decode() if asked_id and _PLAIN_ID.fullmatch(asked_id) else f"{next(_IDS):016x}"
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
        body = _Bounded(receive, self.settings.max_body_s)
        try:
            try:
                body.limit_bytes = self._admitted(scope["path"], scope["method"], given)
            except problems.Problem as problem:
                await problems.response(problem, request_id)(scope, receive, out)
                return
            await self.app(scope, body, out)
        except TimeoutError:
            status = 499  # a reader that stopped reading: the connection is closed on it
            raise ConnectionAbortedError("the client stopped reading") from None
        finally:
            body.end()
            self.in_progress -= 1
            route = getattr(scope.get("route"), "path", None) or "unmatched"
            seconds = perf_counter() - started
            if self.meters is not None:
                self.meters.answered(route, status, seconds, stages)
                self.meters.in_progress = self.in_progress
            if self.lines is not None:
                self.lines.add(scope["method"], route, status, seconds, request_id, stages)

    def _admitted(self, path: str, method: str, given: dict[bytes, bytes]) -> int:
        """How many bytes the body may have.

        Raises: Problem: no key, too busy, or a body that is declared too large
        """
        if self.keys and path not in OPEN_PATHS and method != "OPTIONS":
            self.keys.check(needed_scope(path, method), given.get(b"authorization"), given.get(b"x-api-key"))
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


def needed_scope(path: str, method: str) -> KeyScope:
    """What a key must allow: to judge takes another than to ask, and to read what all have judged yet another."""
    if path != "/feedback" and not path.startswith("/feedback/"):
        return "read"
    return "admin" if method in ("GET", "HEAD") else "feedback"


def too_large(limit: int) -> problems.Problem:
    """The answer to a body that passes its limit. The connection closes: the rest of the body is not read."""
    return problems.Problem(413, "too-large", f"the body may have {limit} bytes", headers={"Connection": "close"})


_INTEREST = frozenset({b"x-request-id", b"content-length", b"authorization", b"x-api-key"})


@types.coroutine
def _rest(steps: Generator[Any, None, Message], waited_for: Any) -> Generator[Any, None, Message]:
    """Goes on with an awaitable whose first step has been taken; which said what it waits for."""
    while True:
        try:
            yield waited_for
            step = steps.__next__
        except BaseException as error:
            step = functools.partial(steps.throw, error)
        try:
            waited_for = step()
        except StopIteration as there:
            message: Message = there.value
            return message


class _Bounded:
    """The messages of a request as they come in; a Problem is raised when the body grows over its limit or takes too
    long to come, counted from when there was first more of it to wait for."""

    def __init__(self, receive: Receive, limit_s: float) -> None:
        self.limit_bytes = 0
        self._receive = receive
        self._limit_s = limit_s
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Task[object] | None = None  # for the next message
        self._seen_bytes = 0
        self._done = self._late = False

    async def __call__(self) -> Message:
        if self._done:
            return await self._receive()  # waits for the client to leave: that may take as long as it likes
        if self._late:
            raise self._slow()
        steps = self._receive().__await__()
        try:
            first = next(steps)
        except StopIteration as there:  # most bodies come with their head: there is nothing to wait for, or to time
            message: Message = there.value
        else:
            message = await self._in_time(_rest(steps, first))
        self._seen_bytes += len(message.get("body", b""))
        if self._seen_bytes > self.limit_bytes:
            raise too_large(self.limit_bytes)
        if message.get("more_body", False):
            self._time()
        else:
            self._done = True
            self.end()
        return message

    def _time(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._limit_s, self._too_late)

    async def _in_time(self, receiving: Awaitable[Message]) -> Message:
        """What comes while the time lasts."""
        self._time()
        task = self._waiting = asyncio.current_task()
        assert task is not None
        try:
            return await receiving
        except asyncio.CancelledError:
            if self._late and task.uncancel() == 0:  # else someone else wants it to end
                raise self._slow() from None
            raise
        finally:
            self._waiting = None

    def end(self) -> None:
        """The request is over."""
        if self._timer is not None:
            self._timer.cancel()

    def _too_late(self) -> None:
        self._late = True
        if self._waiting is not None:
            self._waiting.cancel()

    def _slow(self) -> problems.Problem:
        why = f"the body did not come within {self._limit_s:g} s"
        return problems.Problem(408, "slow-body", why, headers={"Connection": "close"})
