"""Uploaded sounds become vectors: decoded in a process that may die of one, embedded one at a time, a few waiting.

Work belongs to the request that asked for it. When that is cancelled (the client left, or the service is told to stop
and its time is over), the decoding process is killed and embedding stops at the next windows.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import anyio.to_thread

from boiler.audio import stream
from boiler.audio.decoder_pool import Decoders
from boiler.audio.stream import Samples
from boiler.search.nearest import Embedded, Nearest
from boiler.search.seeds import BySamples
from boiler.service import problems
from boiler.service.metrics import Meters
from boiler.service.settings import Settings

Result = TypeVar("Result")
StageCallback = Callable[[str, int, int], None]
"""Is told a stage, and how much of how much of it is done; on the event loop."""

_BLOCK_S = 4  # of sound between two looks at whether to go on


class _Cancelled(Exception):
    """Raised within a thread whose work nobody wants any more."""


class Uploads:
    """Decodes and embeds for one worker of the service. A context manager; its processes start with the first sound:
    a service that is only asked by vectors never has them."""

    def __init__(self, settings: Settings, nearest: Nearest, meters: Meters | None) -> None:
        self._nearest = nearest
        self._meters = meters
        self._most = settings.decoder_workers + settings.max_waiting
        self._n = 0  # sounds being decoded or embedded, or waiting for it
        self._embedding = asyncio.Lock()
        # Each its own, so that it is known which process works for a request. The last used comes first.
        self._lanes: asyncio.LifoQueue[Decoders] = asyncio.LifoQueue()
        self._held = ExitStack()
        limits = stream.Limits(max_seconds=settings.max_upload_s)
        for _ in range(settings.decoder_workers):
            lane = Decoders(workers=1, timeout_s=settings.decode_timeout_s, limits=limits)
            self._lanes.put_nowait(self._held.enter_context(lane))

    def __enter__(self) -> Uploads:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    async def embed(
        self,
        sound: bytes,
        start_s: float,
        end_s: float | None,
        stages: dict[str, float],
        on_progress: StageCallback | None = None,
    ) -> list[Embedded]:
        """The vectors of a sound, with times in the sound that was sent. Adds the time of each stage to `stages`.

        Raises:
            Problem: 422 there is no encoder; 503 with Retry-After
            SoundError: not a sound, too long, or silent
        """
        if not self._nearest.header.encoder_sha256:
            why = "this index holds vectors without the encoder that made them: ask with a vector or an item"
            raise problems.Problem(422, "no-encoder", why)
        on_progress = on_progress or (lambda stage, done, of: None)
        with self._place():
            started = perf_counter()
            on_progress("waiting", 0, 1)
            async with self._lane() as lane:
                began = perf_counter()
                on_progress("decoding", 0, 1)
                rate_hz = self._nearest.header.sample_rate_hz
                samples = await self._decoded(lane, sound, start_s, end_s, rate_hz)
            decoded = perf_counter()
            async with self._embedding:
                turn = perf_counter()
                embedded = await self._embedded(samples, start_s, on_progress)
            done = perf_counter()
            stages |= {"wait": began - started + turn - decoded, "decode": decoded - began, "embed": done - turn}
        return embedded

    async def decode(self, sound: bytes | Path, start_s: float, end_s: float | None) -> BySamples:
        """Samples of an uploaded sound, or of one of the collection, at the rate of the index.

        Raises: SoundError; Problem: 503 with Retry-After
        """
        with self._place():
            async with self._lane() as lane:
                rate_hz = self._nearest.header.sample_rate_hz
                return BySamples(await self._decoded(lane, sound, start_s, end_s, rate_hz), rate_hz)

    @contextmanager
    def _place(self) -> Iterator[None]:
        """A place among those that work or wait. Raises: Problem: 503 there is none."""
        if self._n >= self._most:
            raise problems.Problem(
                503,
                "busy",
                "too many sounds are waiting to be embedded; try again in a few seconds",
                headers={"Retry-After": "3"},
            )
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        self._n += more
        if self._meters is not None:
            self._meters.waiting = self._n

    @asynccontextmanager
    async def _lane(self) -> AsyncIterator[Decoders]:
        lane = await self._lanes.get()
        try:
            yield lane
        finally:
            self._lanes.put_nowait(lane)

    @staticmethod
    async def _decoded(
        lane: Decoders, sound: bytes | Path, start_s: float, end_s: float | None, rate_hz: int
    ) -> Samples:
        def end() -> None:
            for pid in lane.pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

        load = functools.partial(lane.load, sound, start_s=start_s, end_s=end_s, sample_rate_hz=rate_hz)
        return await in_thread(load, end)

    async def _embedded(self, samples: Samples, from_s: float, on_progress: StageCallback) -> list[Embedded]:
        loop, stopped = asyncio.get_running_loop(), threading.Event()
        spec = self._nearest.header.window_spec
        of = spec.n_windows(len(samples))
        block = _BLOCK_S * spec.sample_rate_hz
        on_progress("embedding", 0, of)

        def blocks() -> Iterator[Samples]:
            for at in range(0, len(samples), block):
                if stopped.is_set():
                    raise _Cancelled
                done = min(of - 1, max(0, (at - spec.window_samples) // spec.hop_samples))
                if done > 0:
                    loop.call_soon_threadsafe(on_progress, "embedding", done, of)
                yield samples[at : at + block]

        embedded = await in_thread(
            functools.partial(self._nearest.embed_blocks, blocks(), "the sound sent", from_s), stopped.set
        )
        on_progress("embedding", of, of)
        return embedded


async def in_thread(work: Callable[[], Result], end: Callable[[], None]) -> Result:
    """Work in a thread; when it is cancelled, `end` is called, again and again, until the thread has ended: what is
    held for it may not be given to another request before."""
    task = asyncio.ensure_future(anyio.to_thread.run_sync(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            end()
            await asyncio.wait({task}, timeout=0.05)
        task.exception()  # looked at, so that nobody is told that it was not
        raise
