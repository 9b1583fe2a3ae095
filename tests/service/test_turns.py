"""What takes long has its turn: nobody else works until a thread whose work is not wanted any more has ended."""

from __future__ import annotations

import asyncio
import threading

import pytest

from boiler.service.problems import Problem
from boiler.service.state import Turns


def test_who_leaves_ends_the_work_before_the_next_begins() -> None:
    async def main() -> None:
        turns, began, left = Turns(most_waiting=1), threading.Event(), threading.Event()
        at_work: list[str] = []

        def first() -> None:
            at_work.append("first begins")
            began.set()
            assert left.wait(60)
            at_work.append("first ends")

        leaving = asyncio.create_task(turns.take(first, left.set))
        while not began.is_set():
            await asyncio.sleep(0)
        waiting = asyncio.create_task(turns.take(lambda: at_work.append("second")))
        await asyncio.sleep(0)
        with pytest.raises(Problem) as refused:
            await turns.take(lambda: None)
        assert (refused.value.status_code, refused.value.slug) == (503, "busy")
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await waiting
        assert at_work == ["first begins", "first ends", "second"]
        assert await turns.take(lambda: 7) == 7

    asyncio.run(main())
