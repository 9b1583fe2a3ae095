"""The middleware around the routes: request ids, metrics and the access log; then API keys, capacity and body limits.

Plain ASGI: a layer of Starlette's `BaseHTTPMiddleware` costs more than a search.
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

from boiler.service import http_protocol, problems
from boiler.service.access_log import AccessLog
from boiler.service.auth import ApiKeys
from boiler.service.fair_queue import CLIENT, CONNECTION
from boiler.service.loop_turns import LoopTurns
from boiler.service.metrics import Metrics
from boiler.service.policy import Policy, RouteTable, policy_of
from boiler.service.settings import Settings

SEND_TIMEOUT_S = 120.0
"""A paused media player reads nothing for a while; afterwards it requests the rest as a range."""

_FORM_OVERHEAD_BYTES = 8_192  # added to a file by the multipart encoding
_PLAIN_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# Counted from a random start, which no other worker has; a random id per request would be a system call.
_IDS = itertools.count(secrets.randbits(63))


class RequestMiddleware:
    """Gives each request an id (its own ``X-Request-ID`` where that is plain), and records it in the metrics and the
    access log when it is finished. One per worker.

    `scope["state"]` has `request_id`, and `stages`: the seconds spent in each stage, which routes add to.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics | None, access_log: AccessLog | None) -> None:
        self.app = app
        self.metrics = metrics
        self.access_log = access_log
        self.in_progress = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = perf_counter()
        given_id = next((value for name, value in scope["headers"] if name == b"x-request-id"), None)
        request_id = given_id.decode() if given_id and _PLAIN_ID.fullmatch(given_id) else f"{next(_IDS):016x}"
        stages: dict[str, float] = {}
        scope.setdefault("state", {}).update(request_id=request_id, stages=stages)
        status = 500  # until a response has started

        async def send_with_id(message: Message) -> None:
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
            await self.app(scope, receive, send_with_id)
        except TimeoutError:
            status = 499
            raise ConnectionAbortedError("the client stopped reading") from None
        finally:
            self.in_progress -= 1
            route = getattr(scope.get("route"), "path", None) or "unmatched"
            seconds = perf_counter() - started
            if self.metrics is not None:
                self.metrics.observe_request(route, status, seconds, stages)
                self.metrics.in_progress = self.in_progress
            if self.access_log is not None:
                self.access_log.add(scope["method"], route, status, seconds, request_id, stages)


class AdmissionMiddleware:
    """Refuses requests without a sufficient API key, over the capacity of the worker, and with bodies that are too
    large or too slow. One per worker.

    A request occupies one of `max_requests` slots from when its body is complete, so that slow clients cannot occupy
    them, and no client can occupy more than `max_requests_per_client`. A client is an address, with one key where keys
    are required. Incomplete bodies are limited separately, per client and in total: above a limit the oldest is
    refused, so that fast clients are never refused because of slow ones. Requests, and the parts of their bodies, take
    turns on the event loop by client (`boiler.service.loop_turns`); probes do not wait.
    """

    def __init__(self, app: ASGIApp, settings: Settings, routes: RouteTable) -> None:
        self.app = app
        self.settings = settings
        self.keys = ApiKeys(key.get_secret_value() for key in settings.api_keys)
        self._routes = routes
        self._hosts = frozenset(host.lower() for host in settings.allowed_hosts)
        self.working = 0
        self.working_of: dict[str, int] = {}  # by client
        self.receiving: dict[str, dict[_BoundedReceive, None]] = {}  # by client; the oldest first
        self.n_receiving = 0
        self.turns = LoopTurns()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name: value for name, value in scope["headers"] if name in _RELEVANT_HEADERS}
        policy = policy_of(self._routes.find(scope))
        body = _BoundedReceive(self, receive, policy)
        try:
            try:
                self._check_host(policy, headers)
                body.client = self._client(policy, scope, headers)
                CLIENT.set(body.client)
                CONNECTION.set(scope.get("extensions", {}).get(http_protocol.CONNECTION))
                body.limit_bytes = self._body_limit(policy, headers)
                if scope["method"] != "POST" or not _has_body(headers):  # only POST routes read a body
                    body.take_slot()
                    if not policy.is_probe:
                        await self.turns.wait(body.client)
            except problems.Problem as problem:
                await problems.response(problem, scope["state"]["request_id"])(scope, receive, send)
                return
            await self.app(scope, body, send)
        finally:
            body.release()

    def _check_host(self, policy: Policy, headers: dict[bytes, bytes]) -> None:
        """Raises: Problem: 421 the Host header names a host that is not listed. Probes ask by address."""
        if not self._hosts or policy.is_probe:
            return
        host = re.sub(r":\d*$", "", headers.get(b"host", b"").decode("latin-1").lower())
        if host not in self._hosts:
            raise problems.Problem(
                421, "unknown-host", "this service does not answer under the host name of the request"
            )

    def _client(self, policy: Policy, scope: Scope, headers: dict[bytes, bytes]) -> str:
        """Who sent the request. Raises: Problem: 401 or 403 without a sufficient key"""
        address = str((scope.get("client") or ("",))[0])
        # OPTIONS: browsers send no key with a preflight request.
        if not self.keys or policy.scope is None or scope["method"] == "OPTIONS":
            return address
        key = self.keys.require(policy.scope, headers.get(b"authorization"), headers.get(b"x-api-key"))
        scope["state"].update(key_scope=self.keys.scope_of(key), key_owner=self.keys.owner(key))
        return f"{address} {key}"

    def _body_limit(self, policy: Policy, headers: dict[bytes, bytes]) -> int:
        """The largest allowed body in bytes. Raises: Problem: 413 for a declared size above it"""
        limit = self.settings.max_body_bytes
        is_form = headers.get(b"content-type", b"").lower().startswith(b"multipart/form-data")
        if policy.is_upload or (policy.may_have_sounds and is_form):
            limit = self.settings.max_upload_bytes + _FORM_OVERHEAD_BYTES
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:19]) > limit:
            raise too_large(limit)
        return limit


def too_large(limit_bytes: int) -> problems.Problem:
    """The response to a body over its limit. The connection is closed, because the rest of the body is not read."""
    why = f"the body has more than {limit_bytes} bytes"
    return problems.Problem(413, "too-large", why, headers={"Connection": "close"})


_RELEVANT_HEADERS = frozenset(
    {b"host", b"content-length", b"content-type", b"transfer-encoding", b"authorization", b"x-api-key"}
)


def _has_body(headers: dict[bytes, bytes]) -> bool:
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


@types.coroutine
def _resume(steps: Generator[Any, None, Message], waited_for: Any) -> Generator[Any, None, Message]:
    """Continue an awaitable whose first step was taken and yielded `waited_for`."""
    while True:
        try:
            yield waited_for
            step = steps.__next__
        except BaseException as error:
            step = functools.partial(steps.throw, error)
        try:
            waited_for = step()
        except StopIteration as finished:
            message: Message = finished.value
            return message


class _BoundedReceive:
    """The `receive` of one request.

    Raises:
        Problem: 413 the body grows over `limit_bytes`; 408 it is not complete `max_body_s` after the first wait for it;
            503 there is no slot for the request, or too many bodies are being received
    """

    def __init__(self, admission: AdmissionMiddleware, receive: Receive, policy: Policy) -> None:
        self.limit_bytes = 0
        self.client = ""
        self._admission = admission
        self._receive = receive
        self._needs_slot = not policy.is_probe
        self._has_slot = False
        self._is_receiving = False
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: asyncio.Task[object] | None = None  # for the next message
        self._seen_bytes = 0
        self._is_complete = False
        self._failure: problems.Problem | None = None  # why the body was given up

    async def __call__(self) -> Message:
        if self._is_complete:
            return await self._receive()  # a disconnect; without limit of time
        if self._failure is not None:
            raise self._failure
        steps = self._receive().__await__()
        try:
            waited_for = next(steps)
        except StopIteration as finished:  # most bodies arrive with their head
            message: Message = finished.value
        else:
            message = await self._while_receiving(_resume(steps, waited_for))
        self._seen_bytes += len(message.get("body", b""))
        if self._seen_bytes > self.limit_bytes:
            raise too_large(self.limit_bytes)
        if message.get("more_body", False):
            self._start_receiving()
        else:
            self._is_complete = True
            self._stop_receiving()
            if message["type"] == "http.request":
                self.take_slot()
        if message["type"] == "http.request":
            await self._admission.turns.wait(self.client)
        return message

    def take_slot(self) -> None:
        """Take a slot, if the request needs one and has none. Raises: Problem: 503"""
        if self._has_slot or not self._needs_slot:
            return
        admission = self._admission
        own = admission.working_of.get(self.client, 0)
        if admission.working >= admission.settings.max_requests:
            raise _busy("too many requests are in progress; try again")
        if own >= admission.settings.max_requests_per_client:
            raise _busy("too many requests of this client are in progress; try again")
        admission.working += 1
        admission.working_of[self.client] = own + 1
        self._has_slot = True

    def release(self) -> None:
        """The request is finished."""
        self._stop_receiving()
        if self._has_slot:
            self._admission.working -= 1
            own = self._admission.working_of.pop(self.client)
            if own > 1:
                self._admission.working_of[self.client] = own - 1
            self._has_slot = False

    def _start_receiving(self) -> None:
        if self._is_receiving:
            return
        admission, settings = self._admission, self._admission.settings
        own = admission.receiving.get(self.client, {})
        if len(own) >= settings.max_receiving_per_client:
            next(iter(own)).give_up(_too_many_bodies())
        elif admission.n_receiving >= settings.max_receiving:
            most = max(admission.receiving.values(), key=len)
            next(iter(most)).give_up(_too_many_bodies())
        self._is_receiving = True
        admission.receiving.setdefault(self.client, {})[self] = None
        admission.n_receiving += 1
        self._timer = asyncio.get_running_loop().call_later(settings.max_body_s, self._time_out)

    def _stop_receiving(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_receiving:
            own = self._admission.receiving[self.client]
            del own[self]
            if not own:
                del self._admission.receiving[self.client]
            self._admission.n_receiving -= 1
            self._is_receiving = False

    async def _while_receiving(self, receiving: Awaitable[Message]) -> Message:
        """Wait for the next message. Raises: Problem: the body was given up"""
        self._start_receiving()
        task = self._waiting = asyncio.current_task()
        assert task is not None
        try:
            return await receiving
        except asyncio.CancelledError:
            if self._failure is not None and task.uncancel() == 0:  # otherwise it was cancelled by somebody else, too
                raise self._failure from None
            raise
        finally:
            self._waiting = None

    def give_up(self, problem: problems.Problem) -> None:
        """Stop receiving the body: waiting for it raises this problem."""
        self._failure = problem
        self._stop_receiving()
        if self._waiting is not None:
            self._waiting.cancel()

    def _time_out(self) -> None:
        why = f"the body did not arrive within {self._admission.settings.max_body_s:g} s"
        self.give_up(problems.Problem(408, "slow-body", why, headers={"Connection": "close"}))


def _too_many_bodies() -> problems.Problem:
    return _busy("too many request bodies are incomplete, and this is the oldest; try again", close=True)


def _busy(why: str, *, close: bool = False) -> problems.Problem:
    headers = {"Retry-After": "1"} | ({"Connection": "close"} if close else {})
    return problems.Problem(503, "busy", why, headers=headers)
