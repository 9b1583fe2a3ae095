"""Fetches the sounds that links lead to, where the settings allow it (`boiler.links`)."""

from __future__ import annotations

import asyncio
import functools
import threading
from time import perf_counter

from boiler.links.fetch import FetchLimits, fetch
from boiler.service.fair_queue import FairQueue
from boiler.service.problems import Problem
from boiler.service.settings import Settings
from boiler.service.uploads import StageCallback

SLOTS = 2
"""Links that are fetched at a time."""


class _Left(Exception):
    """Ends the fetching of a link that nobody waits for any more."""


class LinkFetcher:
    """Fetches links for the requests of one worker, a few at a time."""

    def __init__(self, settings: Settings) -> None:
        self._enabled = settings.links
        self._limits = FetchLimits(settings.max_upload_bytes, settings.max_link_s, settings.links_private)
        self._queue = FairQueue("links", slots=SLOTS, max_waiting=settings.max_waiting)

    def check_enabled(self) -> None:
        """Raises: Problem: 403 links are not allowed"""
        if not self._enabled:
            why = "this service fetches no links; its setting BOILER_LINKS=1 would allow it. Send the file instead"
            raise Problem(403, "links-disabled", why)

    async def fetch(self, url: str, stages: dict[str, float], on_progress: StageCallback) -> bytes:
        """The sound or video that a link leads to. Its process is killed when the request is cancelled.

        Arguments:
            stages: the seconds that it took are added to it
            on_progress: called with the bytes done and in all, 0 if that is not known

        Raises: LinkError; Problem: 403 links are not allowed; 503 too many are waiting
        """
        self.check_enabled()
        loop, left = asyncio.get_running_loop(), threading.Event()
        last: tuple[int, int | None] | None = None

        def report(done: int, total: int | None) -> None:
            nonlocal last
            if left.is_set():
                raise _Left
            if (done, total) != last:
                last = done, total
                loop.call_soon_threadsafe(on_progress, "fetching", done, total or 0)

        began = perf_counter()
        on_progress("fetching", 0, 0)
        found = await self._queue.run(functools.partial(fetch, url, self._limits, report), left.set)
        stages["fetch"] = perf_counter() - began
        return found.content
