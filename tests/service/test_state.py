"""The queue for long work: one at a time, even when a request is cancelled."""

from __future__ import annotations

import asyncio
import threading

import pytest

from boiler.service.problems import Problem
from boiler.service.state import SerialQueue


def test_cancelled_work_ends_before_the_next_begins() -> None:
    async def main() -> None:
        queue, began, stopped = SerialQueue(max_waiting=1), threading.Event(), threading.Event()
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
        with pytest.raises(Problem) as refused:
            await queue.run(lambda: None)
        assert (refused.value.status_code, refused.value.slug) == (503, "busy")
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await waiting
        assert events == ["first begins", "first ends", "second"]
        assert await queue.run(lambda: 7) == 7

    asyncio.run(main())
