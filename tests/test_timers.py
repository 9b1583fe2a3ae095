"""Timers that share one of the loop: each calls when its time is over, unless it was cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from boiler.api.timers import Timers


def test_those_that_are_not_cancelled_call_in_the_order_in_which_they_began() -> None:
    async def main() -> list[object]:
        timers, called, all_called = Timers(), list[object](), asyncio.Event()
        running = [timers.call_later(0.05, called.append, n) for n in range(6)]
        for n in (0, 3, 5, 5):
            running[n].cancel()
        timers.call_later(0.01, called.append, "short")
        timers.call_later(0.05, all_called.set)
        await all_called.wait()
        running[1].cancel()  # too late, and no fault
        return called

    assert asyncio.run(main()) == ["short", 1, 2, 4]


def test_none_calls_before_its_time_also_when_an_older_one_set_the_clock() -> None:
    async def main() -> None:
        loop, timers, called = asyncio.get_running_loop(), Timers(), asyncio.Event()
        timers.call_later(0.1, lambda: None).cancel()
        await asyncio.sleep(0.05)
        began_s = loop.time()
        timers.call_later(0.1, called.set)
        await called.wait()
        assert loop.time() - began_s > 0.095

    asyncio.run(main())


def test_many_of_one_length_take_one_timer_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        loop, timers, taken = asyncio.get_running_loop(), Timers(), list[float]()
        real = loop.call_later

        def counted(delay: float, *more: Any, **named: Any) -> asyncio.TimerHandle:
            taken.append(delay)
            return real(delay, *more, **named)

        monkeypatch.setattr(loop, "call_later", counted)
        for _ in range(100):
            timers.call_later(0.02, lambda: None).cancel()
        assert taken == [0.02]
        past = asyncio.Event()
        real(0.06, past.set)
        await past.wait()
        assert taken == [0.02]  # nothing runs: nothing is waited for
        timers.call_later(0.02, lambda: None)
        assert taken == [0.02, 0.02]

    asyncio.run(main())


def test_one_that_fails_is_told_to_the_loop_and_those_behind_it_call() -> None:
    async def main() -> list[object]:
        told, called = list[object](), asyncio.Event()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
        timers = Timers()
        timers.call_later(0.01, "no number".index, "z")
        timers.call_later(0.01, called.set)
        await called.wait()
        return told

    [told] = asyncio.run(main())
    assert isinstance(told, ValueError)


def test_they_begin_anew_on_another_loop() -> None:
    timers = Timers()

    async def main(waits: bool) -> None:
        called = asyncio.Event()
        timers.call_later(0.01, called.set)
        if waits:
            await called.wait()

    asyncio.run(main(False))  # whose timer never comes to call
    asyncio.run(main(True))
