"""What one worker of the service holds: its settings, the opened index, the decoding processes, and its queue.

The index is mapped from its files, so that all workers share one copy in memory. A search in a small index runs on
the event loop, because a hop to a thread costs more than the search; in a large one it runs in a thread, so that the
loop stays free. A newer index is looked for every `Settings.refresh_s`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import TypeVar

import anyio.to_thread
from starlette.requests import Request

from boiler import audio
from boiler.api import problems
from boiler.api.meters import Meters
from boiler.api.nearest import Embedded, Nearest, Part
from boiler.api.rendering import Renderer
from boiler.decoders import Decoders
from boiler.errors import BoilerError
from boiler.settings import Settings

log = logging.getLogger("boiler.service")

# Multiplications of an exact scan that take about as long as five hops to a thread.
_ON_THE_LOOP = 4_000_000

Result = TypeVar("Result")


class Service:
    """One worker's state. Made by `opened`."""

    def __init__(self, settings: Settings, nearest: Nearest, decoders: Decoders) -> None:
        self.settings = settings
        self.nearest = nearest
        self.decoders = decoders
        self.meters = Meters(settings.metrics_dir) if settings.metrics else None
        self.renderer = Renderer()
        self.refused: str | None = None  # why a newer index was not taken up
        self.waiting = 0  # sounds being decoded or embedded, or waiting for it
        self._decoding = asyncio.Semaphore(settings.decoder_workers)
        self._embedding = asyncio.Lock()

    @property
    def on_the_loop(self) -> bool:
        """Whether a search is over sooner than a hop to a thread."""
        return bool(self.nearest.header.n_rows * self.nearest.dim <= _ON_THE_LOOP)

    async def in_thread(self, work: Callable[[], Result]) -> Result:
        """Work that reads the disk or takes its time, off the event loop."""
        return await anyio.to_thread.run_sync(work)

    async def ask(self, question: Callable[[], Result]) -> Result:
        """The answer of a search, on the loop or in a thread by the size of the index."""
        return question() if self.on_the_loop else await anyio.to_thread.run_sync(question)

    def check_k(self, k: int) -> None:
        """Raises: Problem: fewer than one or more neighbours than the service gives."""
        if not 1 <= k <= self.settings.max_k:
            why = f"must be a whole number from 1 to {self.settings.max_k}"
            raise problems.Problem(422, "invalid-request", f"k {why}", errors=[{"parameter": "k", "detail": why}])

    async def embed(
        self, sound: bytes, start_s: float, end_s: float | None, stages: dict[str, float]
    ) -> list[Embedded]:
        """The vectors of an uploaded sound: decoded in a process that may die of it, embedded one sound at a time. A
        few sounds wait for their turn, and more are told to come back. Adds the time of each stage to `stages`.

        Raises:
            Problem: 503 with Retry-After
            SoundError: not a sound, too long, or silent
        """
        if not self.nearest.header.encoder_sha256:
            why = "this index holds vectors without the encoder that made them: ask with a vector or an item"
            raise problems.Problem(422, "no-encoder", why)
        if self.waiting >= self.settings.decoder_workers + self.settings.max_waiting:
            raise problems.Problem(
                503,
                "busy",
                "too many sounds are waiting to be embedded; try again in a few seconds",
                headers={"Retry-After": "3"},
            )
        self._wait(1)
        try:
            started = perf_counter()
            async with self._decoding:
                began = perf_counter()
                samples = await self._decoded(sound, start_s, end_s)
            decoded = perf_counter()
            async with self._embedding:
                turn = perf_counter()
                embedded = await anyio.to_thread.run_sync(self.nearest.embed_samples, samples)
            done = perf_counter()
            stages |= {"wait": began - started + turn - decoded, "decode": decoded - began, "embed": done - turn}
        finally:
            self._wait(-1)
        # Times are told in the sound that was sent, not in the part of it.
        shifted = ((Part(one.window.start_s + start_s, one.window.end_s + start_s), one.vector) for one in embedded)
        return [Embedded(*pair) for pair in shifted]

    async def decode(self, sound: Path, start_s: float, end_s: float | None) -> audio.Samples:
        """Samples of a sound of the collection, decoded in a process that may die of it.

        Raises: SoundError
        """
        async with self._decoding:
            return await self._decoded(sound, start_s, end_s)

    async def _decoded(self, sound: bytes | Path, start_s: float, end_s: float | None) -> audio.Samples:
        load = functools.partial(self.decoders.load, sound, start_s=start_s, end_s=end_s)
        return await anyio.to_thread.run_sync(load)

    def _wait(self, more: int) -> None:
        self.waiting += more
        if self.meters is not None:
            self.meters.waiting = self.waiting

    def tell(self) -> None:
        """Puts what answers now on the meters."""
        if self.meters is not None:
            self.meters.items = len(self.nearest)
            self.meters.created_s = datetime.fromisoformat(self.nearest.header.created).timestamp()
            self.meters.share()

    async def watch(self) -> None:
        """Takes up new indexes, for as long as it runs. One that cannot be opened is refused: the old one serves on,
        and /health says why."""
        while True:
            await asyncio.sleep(self.settings.refresh_s)
            if self.meters is not None:
                self.meters.share()
            try:
                if await anyio.to_thread.run_sync(self.nearest.refresh):
                    log.info("index %s taken up", self.nearest.generation)
                    self.tell()
                self.refused = None
            except BoilerError as error:
                if self.refused != str(error):
                    log.error("a newer index was refused, %s serves on: %s", self.nearest.generation, error)
                self.refused = str(error)


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Service]:
    """A service whose index is open and has answered a question of its own.

    Raises:
        BoilerError: the model directory cannot be served
    """
    nearest = await anyio.to_thread.run_sync(
        functools.partial(
            Nearest, settings.model_dir, wav_dir=settings.wav_dir, device=settings.device, engine=settings.engine
        )
    )
    limits = audio.Limits(max_seconds=settings.max_upload_s)
    # Its processes start with the first upload: a service that is only asked by vectors never has them.
    with Decoders(workers=settings.decoder_workers, timeout_s=settings.decode_timeout_s, limits=limits) as decoders:
        service = Service(settings, nearest, decoders)
        service.tell()
        watching = asyncio.create_task(service.watch())
        try:
            yield service
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
            nearest.close()


def of_request(request: Request) -> Service:
    """The service that answers this request.

    Raises: Problem: 503 before the start and after the end
    """
    service = request.app.state.service
    if service is None:
        raise problems.Problem(503, "not-ready", "the service is not started", headers={"Retry-After": "2"})
    assert isinstance(service, Service)
    return service
