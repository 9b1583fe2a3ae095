"""What one worker of the service holds: its settings, the opened index, and the queues of what takes long.

The index is mapped from its files, so that all workers share one copy in memory. A search in a small index runs on
the event loop, because a hop to a thread costs more than the search; in a large one it runs in a thread, so that the
loop stays free. A newer index is looked for every `Settings.refresh_s`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Hashable
from datetime import datetime
from typing import Generic, TypeVar

import anyio.to_thread
from starlette.requests import Request

from boiler.audio.decoder_pool import Decoders
from boiler.errors import BoilerError
from boiler.search.nearest import DuplicateGroup, Nearest
from boiler.search.snapshot import RankedItems, Snapshot
from boiler.service import problems
from boiler.service.batching import Batches
from boiler.service.metrics import Meters
from boiler.service.row_renderer import Renderer
from boiler.service.settings import Settings
from boiler.service.uploads import Uploads, in_thread

log = logging.getLogger("boiler.service")

# Multiplications of an exact scan that take about as long as five hops to a thread.
_ON_THE_LOOP = 4_000_000

Result = TypeVar("Result")


class Kept(Generic[Result]):
    """The last of its kind that was made: what costs much, and is asked for again and again of one index."""

    def __init__(self) -> None:
        self._key: object = None
        self._value: Result | None = None

    def get(self, key: Hashable, make: Callable[[], Result]) -> Result:
        """That of the key, made when the last was of another."""
        value = self._value if self._key == key else None
        if value is None:
            value = make()
            self._key, self._value = key, value
        return value


class Turns:
    """Work in a thread, one at a time; a few wait. Whoever leaves ends it (`stop`), and the next begins when the
    thread has ended."""

    def __init__(self, most_waiting: int) -> None:
        self._most_waiting = most_waiting
        self._one = asyncio.Lock()
        self._n = 0  # at work or waiting

    async def take(self, work: Callable[[], Result], stop: Callable[[], None] = lambda: None) -> Result:
        """Raises: Problem: 503 with Retry-After, when too many wait"""
        if self._n > self._most_waiting:
            why = "too many long searches are waiting; try again in a few seconds"
            raise problems.Problem(503, "busy", why, headers={"Retry-After": "3"})
        self._n += 1
        try:
            async with self._one:
                return await in_thread(work, stop)
        finally:
            self._n -= 1


class Service:
    """One worker's state. Made by `opened`."""

    def __init__(self, settings: Settings, nearest: Nearest) -> None:
        self.settings = settings
        self.nearest = nearest
        self._batches = Batches(nearest)
        self.meters = Meters(settings.metrics_dir) if settings.metrics else None
        self.uploads = Uploads(settings, nearest, self.meters)
        self.renderer = Renderer()
        self.refused: str | None = None  # why a newer index was not taken up
        self._unshared: str | None = None  # why counts are not shared with the other workers
        self.map_page: Kept[tuple[str, bytes]] = Kept()
        self.duplicates: Kept[list[DuplicateGroup]] = Kept()
        self._seconds, self._minutes = Turns(settings.max_waiting), Turns(settings.max_waiting)

    @property
    def on_the_loop(self) -> bool:
        """Whether a search is over sooner than a hop to a thread."""
        return bool(self.nearest.header.n_rows * self.nearest.dim <= _ON_THE_LOOP)

    async def in_thread(self, work: Callable[[], Result]) -> Result:
        """Work that reads the disk or takes its time, off the event loop."""
        return await anyio.to_thread.run_sync(work)

    async def ranked(self, vector: object, k: int, *, alone: bool = False) -> tuple[Snapshot, RankedItems]:
        """`Nearest.rank`, on the loop together with others (`alone`: there are none), or in a thread, by the size of
        the index."""
        if self.on_the_loop:
            return await self._batches.ranked(vector, k, alone=alone)
        return await anyio.to_thread.run_sync(self.nearest.rank, vector, k)

    async def ask(self, question: Callable[[], Result]) -> Result:
        """The answer of a search, on the loop or in a thread by the size of the index."""
        return question() if self.on_the_loop else await anyio.to_thread.run_sync(question)

    def check_k(self, k: int) -> None:
        """Raises: Problem: fewer than one or more neighbours than the service gives."""
        if not 1 <= k <= self.settings.max_k:
            why = f"must be a whole number from 1 to {self.settings.max_k}"
            raise problems.Problem(422, "invalid-request", f"k {why}", errors=[{"parameter": "k", "detail": why}])

    async def long(self, work: Callable[[], Result]) -> Result:
        """Work that takes seconds. Raises: Problem: as `Turns.take`"""
        return await self._seconds.take(work)

    async def longest(self, work: Callable[[Callable[[], bool]], Result], most_s: float) -> Result:
        """Work that takes minutes, and ends early when what it is given says so: after `most_s` seconds, or when
        whoever asked has left. It waits for its like alone, not for what takes seconds, nor that for it.

        Raises: Problem: as `Turns.take`
        """
        left = threading.Event()

        def bounded() -> Result:
            until = time.monotonic() + most_s
            return work(lambda: left.is_set() or time.monotonic() > until)

        return await self._minutes.take(bounded, left.set)

    def searched(self, engine: str, times: int = 1) -> None:
        """Counts what an engine has answered."""
        if self.meters is not None:
            self.meters.searched(engine, times)

    def tell(self) -> None:
        """Puts what answers now on the meters."""
        if self.meters is not None:
            self.meters.items = len(self.nearest)
            self.meters.created_s = datetime.fromisoformat(self.nearest.header.created).timestamp()
            self._share()

    def _share(self) -> None:
        """Lets the other workers see the meters. Where that fails (a full disk, a folder removed), it is said once."""
        if self.meters is None:
            return
        try:
            self.meters.share()
            self._unshared = None
        except OSError as error:
            if self._unshared != str(error):
                log.error("counts cannot be shared with the other workers: %s", error)
            self._unshared = str(error)

    async def watch(self) -> None:
        """Takes up new indexes, for as long as it runs. One that cannot be opened is refused: the old one serves on,
        and /health says why."""
        while True:
            await asyncio.sleep(self.settings.refresh_s)
            self._share()
            try:
                if await anyio.to_thread.run_sync(self.nearest.refresh):
                    log.info("index %s taken up", self.nearest.generation)
                    self.tell()
                self.refused = None
            except (BoilerError, OSError) as error:
                if self.refused != str(error):
                    log.error("a newer index was refused, %s serves on: %s", self.nearest.generation, error)
                self.refused = str(error)


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Service]:
    """A service whose index is open and has answered a question of its own.

    Raises:
        BoilerError: the model directory cannot be served
    """
    # Of the collection: one for what takes seconds, one for what takes minutes. Uploads have processes of their own.
    reader = Decoders(workers=2, timeout_s=settings.decode_timeout_s)
    nearest = await anyio.to_thread.run_sync(
        functools.partial(
            Nearest,
            settings.model_dir,
            wav_dir=settings.wav_dir,
            device=settings.device,
            engine=settings.engine,
            reader=reader,
        )
    )
    service = Service(settings, nearest)
    with service.uploads, reader:
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
