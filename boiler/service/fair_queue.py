"""Queues for work that takes long: few requests run at a time, and clients take turns (round robin).

Without turns a client that sends 40 searches makes the next client wait for all of them. Here each client has its own
queue, and the queues are served in rotation: a client waits for at most one request of each other client.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from starlette.requests import ClientDisconnect

from boiler.service import problems

WorkResult = TypeVar("WorkResult")

_Turn = asyncio.Future[None]

CLIENT: ContextVar[str] = ContextVar("client", default="")
"""The client that sent the current request; set by the middleware."""
CONNECTION: ContextVar[asyncio.BaseTransport | None] = ContextVar("connection", default=None)
"""Its connection, if the server tells; set by the middleware. Work that has waited is not begun once it is closing."""


class FairQueue:
    """Gives `slots` turns at a time, to waiting clients in rotation.

    If more than `max_waiting` requests wait, the newest request of the client that has the most of them is refused, so
    that a client cannot fill the queue for others. A request that waits for longer than `max_wait_s` is refused, too.

    Arguments:
        what: a noun in plural for the work, for error messages
    """

    def __init__(self, what: str, *, slots: int = 1, max_waiting: int, max_wait_s: float | None = None) -> None:
        self._what = what
        self._free = slots
        self._threads = anyio.CapacityLimiter(slots)  # a separate limiter: other work must not delay a turn
        self._max_waiting = max_waiting
        self._max_wait_s = max_wait_s
        self._n_waiting = 0
        self._waiting: dict[str, deque[_Turn]] = {}  # by client; the next client first

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Context manager: waits for a turn, which ends on exit.

        Raises: Problem: 503 with Retry-After: too many requests are waiting, or this one waited too long.
            ClientDisconnect: the client has left meanwhile
        """
        has_waited = not self._free
        if has_waited:
            await self._wait(CLIENT.get())
        else:
            self._free -= 1
        try:
            connection = CONNECTION.get()
            if has_waited and connection is not None and connection.is_closing():
                raise ClientDisconnect
            yield
        finally:
            self._give_to_next()

    async def run(self, work: Callable[[], WorkResult], stop: Callable[[], None] = lambda: None) -> WorkResult:
        """Run work in a thread when it is the client's turn. On cancellation `stop` is called, which makes the work
        return early, and the next turn begins when its thread has ended.

        Raises: Problem: as `turn`; and what the work raises
        """
        async with self.turn():
            return await run_in_thread(work, stop, self._threads)

    async def _wait(self, client: str) -> None:
        turn: _Turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(turn)
        self._n_waiting += 1
        if self._n_waiting > self._max_waiting:
            self._refuse_one()
        try:
            async with asyncio.timeout(self._max_wait_s):
                await turn
        except (TimeoutError, asyncio.CancelledError) as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give_to_next()  # the turn was given in the moment in which the request was cancelled
            if isinstance(error, TimeoutError):
                raise self._busy(f"it waited for {self._max_wait_s:g} s") from None
            raise
        finally:
            self._forget(client, turn)

    def _refuse_one(self) -> None:
        """Refuse the newest request of the client that has the most; among several such clients, of the last one."""
        client = max(reversed(self._waiting), key=lambda one: len(self._waiting[one]))
        turn = self._waiting[client][-1]
        self._forget(client, turn)
        turn.set_exception(self._busy("too many wait"))

    def _forget(self, client: str, turn: _Turn) -> None:
        own = self._waiting.get(client)
        if own is not None and turn in own:
            own.remove(turn)
            self._n_waiting -= 1
            if not own:
                del self._waiting[client]

    def _give_to_next(self) -> None:
        while self._waiting:
            client = next(iter(self._waiting))
            own = self._waiting.pop(client)
            turn = own.popleft()
            self._n_waiting -= 1
            if own:
                self._waiting[client] = own  # to the end of the rotation
            if not turn.done():  # otherwise it was cancelled, and its task has not resumed yet
                turn.set_result(None)
                return
        self._free += 1

    def _busy(self, why: str) -> problems.Problem:
        detail = f"the service is busy with {self._what} ({why}); try again in a few seconds"
        return problems.Problem(503, "busy", detail, headers={"Retry-After": "3"})


async def run_in_thread(
    work: Callable[[], WorkResult], stop: Callable[[], None], limiter: anyio.CapacityLimiter | None = None
) -> WorkResult:
    """Run work in a thread. On cancellation, call `stop` repeatedly until the thread has ended, because no other
    request may use its resources before."""
    task: asyncio.Task[Any] = asyncio.ensure_future(anyio.to_thread.run_sync(work, limiter=limiter))
    try:
        result: WorkResult = await asyncio.shield(task)
        return result
    except asyncio.CancelledError:
        while not task.done():
            stop()
            await asyncio.wait({task}, timeout=0.05)
        task.exception()  # retrieved, or asyncio logs that it was not
        raise
