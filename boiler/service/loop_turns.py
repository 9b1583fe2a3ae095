"""Shares the event loop between clients: in each of its iterations every client starts only so much work.

The event loop runs what is ready in the order in which it became ready. A client with 40 connections thus has 40
requests run before the next one of anybody else, milliseconds each. Here the work of a client waits in a queue of its
own, and each iteration takes a few pieces from every queue: another client waits for those of one iteration.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter

MOST_PER_ITERATION = 16
"""Pieces of work of one client: enough for searches that arrive together to be answered by one matrix product."""
SLOW_ITERATION_S, FAST_ITERATION_S = 0.004, 0.002
"""After an iteration that took longer, half as much work of each client is started in the next; after one that took
less, one piece more."""


class LoopTurns:
    """Turns of clients on the event loop. A piece of work is what runs between two `await`: a request, or what is done
    with a part of its body."""

    def __init__(self, now_s: Callable[[], float] = perf_counter) -> None:
        """now_s: the clock that iterations are timed by"""
        self._now_s = now_s
        self.per_iteration = MOST_PER_ITERATION
        self._started: dict[str, int] = {}  # by client, in this iteration
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}  # by client
        self._is_scheduled = False
        self._began = 0.0

    async def wait(self, client: str) -> None:
        """Return when it is the client's turn: at once, if it has started less than its share in this iteration."""
        started = self._started.get(client, 0)
        if started < self.per_iteration and client not in self._waiting:
            self._started[client] = started + 1
            self._schedule()
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(turn)
        await turn  # a cancelled one is skipped

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._began = self._now_s()
            asyncio.get_running_loop().call_soon(self._begin_iteration)

    def _begin_iteration(self) -> None:
        took_s = self._now_s() - self._began
        if took_s > SLOW_ITERATION_S:
            self.per_iteration = max(1, self.per_iteration // 2)
        elif took_s < FAST_ITERATION_S:
            self.per_iteration = min(MOST_PER_ITERATION, self.per_iteration + 1)
        self._is_scheduled = False
        self._started = {client: self._start_some(turns) for client, turns in self._waiting.items()}
        self._waiting = {client: turns for client, turns in self._waiting.items() if turns}
        if self._started:
            self._schedule()

    def _start_some(self, turns: deque[asyncio.Future[None]]) -> int:
        """Start the share of one client. Returns the number of turns given."""
        given = 0
        while turns and given < self.per_iteration:
            turn = turns.popleft()
            if not turn.done():
                turn.set_result(None)
                given += 1
        return given
