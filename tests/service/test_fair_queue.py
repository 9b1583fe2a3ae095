"""The queue for long work: clients take turns, and one at a time works, even when a request is cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from boiler.service.fair_queue import CLIENT, CONNECTION, FairQueue
from boiler.service.problems import Problem


def as_client(name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    async def run() -> Any:
        CLIENT.set(name)
        return await work

    return asyncio.create_task(run())


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Turns:
    """Takes turns, and records in which order they began."""

    def __init__(self, queue: FairQueue) -> None:
        self.queue = queue
        self.began: list[str] = []

    async def take(self, name: str) -> None:
        async with self.queue.turn():
            self.began.append(name)
            await asyncio.sleep(0.01)

    def start(self, name: str) -> asyncio.Task[Any]:
        """`a1` is a request of the client `a`."""
        return as_client(name[0], self.take(name))


def test_a_client_waits_for_one_request_of_each_other() -> None:
    async def main() -> None:
        turns = Turns(FairQueue("searches", max_waiting=10))
        await asyncio.gather(*[turns.start(name) for name in ("a1", "a2", "a3", "a4", "b1", "c1", "b2")])
        assert turns.began == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]

    asyncio.run(main())


def test_slots_are_used_at_the_same_time_and_no_more() -> None:
    async def main() -> None:
        queue, most, now = FairQueue("searches", slots=2, max_waiting=10), 0, 0

        async def work() -> None:
            nonlocal most, now
            async with queue.turn():
                now += 1
                most = max(most, now)
                await asyncio.sleep(0.01)
                now -= 1

        await asyncio.gather(*[work() for _ in range(6)])
        assert most == 2

    asyncio.run(main())


def test_a_full_queue_refuses_the_client_that_fills_it() -> None:
    async def main() -> None:
        turns = Turns(FairQueue("searches", max_waiting=3))
        tasks = {name: turns.start(name) for name in ("a1", "a2", "a3", "a4", "b1", "b2", "c1")}
        results = await asyncio.gather(*tasks.values(), return_exceptions=True)
        refused = {name for name, result in zip(tasks, results, strict=True) if isinstance(result, Problem)}
        assert refused == {"a4", "a3", "b2"}
        assert turns.began == ["a1", "a2", "b1", "c1"]
        problem = await asyncio.gather(tasks["a4"], return_exceptions=True)
        assert (problem[0].status_code, problem[0].slug) == (503, "busy")  # type: ignore[union-attr]
        assert "Retry-After" in (problem[0].headers or {})  # type: ignore[union-attr]

    asyncio.run(main())


def test_waiting_has_a_limit() -> None:
    async def main() -> None:
        queue = FairQueue("searches", max_waiting=3, max_wait_s=0.02)
        async with queue.turn():
            with pytest.raises(Problem) as refused:
                await queue.run(lambda: None)
        assert (refused.value.status_code, refused.value.slug) == (503, "busy")
        assert await queue.run(lambda: 7) == 7

    asyncio.run(main())


@pytest.mark.parametrize("steps", range(6))
def test_cancelled_requests_give_their_turn_away(steps: int) -> None:
    async def main() -> None:
        turns = Turns(FairQueue("searches", max_waiting=3))
        first, second, third = (turns.start(name) for name in ("a1", "b1", "c1"))
        await settle()
        first.cancel()
        for _ in range(steps):  # before, while and after it is given the turn
            await asyncio.sleep(0)
        second.cancel()
        await asyncio.wait({first, second, third})
        assert turns.began[-1] == "c1"
        async with asyncio.timeout(5), turns.queue.turn():
            pass

    asyncio.run(main())


def test_cancelled_work_ends_before_the_next_begins() -> None:
    async def main() -> None:
        queue, began, stopped = FairQueue("searches", max_waiting=1), threading.Event(), threading.Event()
        events: list[str] = []

        def first() -> None:
            events.append("first begins")
            began.set()
            assert stopped.wait(60)
            events.append("first ends")

        cancelled = asyncio.create_task(queue.run(first, stopped.set))
        while not began.is_set():
            await asyncio.sleep(0)
        waiting = asyncio.create_task(queue.run(lambda: events.append("second")))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await waiting
        assert events == ["first begins", "first ends", "second"]
        assert await queue.run(lambda: 7) == 7

    asyncio.run(main())


def test_work_of_a_client_that_has_left_is_not_begun() -> None:
    class Connection(asyncio.BaseTransport):
        has_left = False

        def is_closing(self) -> bool:
            return self.has_left

    async def main() -> None:
        turns, connection = Turns(FairQueue("searches", max_waiting=10)), Connection()

        async def take(name: str) -> None:
            CONNECTION.set(connection)
            await turns.take(name)

        first = turns.start("a1")
        await settle()
        waiting = as_client("b", take("b1"))
        last = turns.start("c1")
        await settle()
        connection.has_left = True
        await asyncio.gather(first, last)
        with pytest.raises(ClientDisconnect):
            await waiting
        assert turns.began == ["a1", "c1"]

    asyncio.run(main())
