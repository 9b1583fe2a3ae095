"""Timers for what nearly never takes too long: a body, a head, the next request of a connection.

A timer of the event loop costs several hundredths of a request, and each of these would be started and cancelled with
every request. Those of one length end in the order in which they began, so that one timer of the loop, set for the
oldest of them, serves them all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any


class Timer:
    """One that runs; `cancel` may be called at any time, as that of the loop's own."""

    __slots__ = ("_length", "arguments", "call", "until")

    def __init__(self, length: _Length, until: float, call: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self._length = length
        self.until = until
        self.call = call
        self.arguments = arguments

    def cancel(self) -> None:
        """It will not call."""
        self._length.running.pop(self, None)


class Timers:
    """Those of the event loop that runs; of another one, they begin anew."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lengths: dict[float, _Length] = {}

    def call_later(self, seconds: float, call: Callable[..., object], *arguments: Any) -> Timer:
        """As the loop's own. There should be few different lengths."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._lengths = loop, {}
        length = self._lengths.get(seconds)
        if length is None:
            length = self._lengths[seconds] = _Length(loop)
        timer = Timer(length, monotonic() + seconds, call, arguments)
        length.running[timer] = None
        if not length.armed:
            length.arm(seconds)
        return timer


class _Length:
    """The timers of one length, oldest first."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.running: dict[Timer, None] = {}
        self.armed = False

    def arm(self, seconds: float) -> None:
        self.armed = True
        self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self.armed = False
        while timer := next(iter(self.running), None):
            left_s = timer.until - monotonic()
            if left_s > 0:
                self.arm(left_s)
                return
            del self.running[timer]
            try:
                timer.call(*timer.arguments)
            except Exception as error:  # as the loop does; those behind it are called all the same
                self._loop.call_exception_handler({"message": f"a timer failed: {timer.call}", "exception": error})
