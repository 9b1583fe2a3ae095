"""The state of one worker: settings, the opened index, caches, and queues for work that takes long.

The index is memory-mapped, so that all workers share one copy. A search in a small index runs on the event loop,
because a hop to a thread costs more than the search; in a large one it runs in a thread. Searches that take longer, and
large bodies, have one thread and a queue with fair turns (`Service.run_heavy`): whatever a client sends, the searches
by vector of others wait for at most a few milliseconds of it. A newer index is looked for every `Settings.refresh_s`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import multiprocessing
import signal
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from datetime import datetime
from typing import Generic, TypeVar

import anyio.to_thread
from starlette.requests import Request

from boiler.audio.decoder_pool import Decoders
from boiler.errors import BoilerError, DamagedIndexError, ModelDirError
from boiler.search.nearest import DuplicateGroup, Nearest
from boiler.search.snapshot import RankedItems, Snapshot
from boiler.service import problems
from boiler.service.batching import QueryBatcher
from boiler.service.fair_queue import FairQueue
from boiler.service.links import LinkFetcher
from boiler.service.metrics import Metrics
from boiler.service.row_renderer import RowRenderer
from boiler.service.settings import Settings
from boiler.service.uploads import UploadEmbedder
from boiler.store import generation

log = logging.getLogger("boiler.service")

_MAX_ON_LOOP = 4_000_000
"""Multiplications of an exact scan that take as long as five hops to a thread."""

MAX_K_ON_LOOP = 100
"""A search for more results takes milliseconds, and so does rendering them."""
SWITCH_INTERVAL_S = 0.0002

WorkResult = TypeVar("WorkResult")


class LatestCache(Generic[WorkResult]):
    """A cache with one entry: the latest."""

    def __init__(self) -> None:
        self._key: object = None
        self._value: WorkResult | None = None

    def get(self, key: Hashable, compute: Callable[[], WorkResult]) -> WorkResult:
        """The value of the key, computed if the latest was of another key."""
        value = self._value if self._key == key else None
        if value is None:
            value = compute()
            self._key, self._value = key, value
        return value


class RecentCache(Generic[WorkResult]):
    """A cache of the values that were used last. For the event loop only."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[Hashable, WorkResult] = OrderedDict()

    def get(self, key: Hashable) -> WorkResult | None:
        """The value of a key, which counts as used now; None if it is not there."""
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def put(self, key: Hashable, value: WorkResult) -> None:
        """Add a value; the one that was not used for longest makes room."""
        self._values[key] = value
        if len(self._values) > self._size:
            self._values.popitem(last=False)


class Service:
    """The state of one worker. Created by `open_service`."""

    def __init__(self, settings: Settings, nearest: Nearest) -> None:
        self.settings = settings
        self.nearest = nearest
        self.metrics = Metrics(settings.metrics_dir) if settings.metrics else None
        self.uploads = UploadEmbedder(settings, nearest, self.metrics)
        self.renderer = RowRenderer()
        self.refused: str | None = None
        """Why the latest index is not served, without paths."""
        self.has_sounds = False
        """Whether the folder of the sounds is there."""
        self.map_cache: LatestCache[tuple[str, bytes]] = LatestCache()
        self.duplicates_cache: LatestCache[list[DuplicateGroup]] = LatestCache()
        self.links = LinkFetcher(settings)
        self.identified_cache: RecentCache[bytes] = RecentCache(256)
        self._batcher = QueryBatcher(nearest)
        self._metrics_error: str | None = None
        # One thread: each further one that runs Python delays the event loop by another switch interval.
        self._heavy_queue = FairQueue("searches", max_waiting=settings.max_queued, max_wait_s=settings.max_queue_s)
        self._long_queue = FairQueue("long searches", max_waiting=settings.max_waiting)
        self._longest_queue = FairQueue("searches inside the recordings", max_waiting=settings.max_waiting)

    @property
    def searches_on_loop(self) -> bool:
        """Whether a search takes less time than a hop to a thread."""
        small = self.nearest.header.n_rows * self.nearest.dim <= _MAX_ON_LOOP
        return bool(small and not self.nearest.is_hosted)

    async def in_thread(self, work: Callable[[], WorkResult]) -> WorkResult:
        """Run work that reads the disk in a thread."""
        return await anyio.to_thread.run_sync(work)

    async def run_heavy(self, work: Callable[[], WorkResult]) -> WorkResult:
        """Run work of milliseconds to a second in a thread, one at a time, clients in turns.

        Raises: Problem: as `FairQueue.run`
        """
        return await self._heavy_queue.run(work)

    async def ranked(self, vector: object, k: int, *, alone: bool = False) -> tuple[Snapshot, RankedItems]:
        """`Nearest.rank`: batched with other requests on the event loop, or in a thread, by the size of the index.
        `alone`: there is no other request to batch with."""
        if self.searches_on_loop:
            return await self._batcher.ranked(vector, k, alone=alone)
        return await anyio.to_thread.run_sync(self.nearest.rank, vector, k)

    async def run_long(self, work: Callable[[], WorkResult]) -> WorkResult:
        """Run work that takes seconds, one at a time. Raises: Problem: as `FairQueue.run`"""
        return await self._long_queue.run(work)

    async def run_longest(self, work: Callable[[Callable[[], bool]], WorkResult], max_s: float) -> WorkResult:
        """Run work that takes minutes, one at a time, in a queue separate from that of `run_long`.

        Arguments:
            work: is given a function that returns True when it should return early: after `max_s` seconds, or when the
                client has left

        Raises: Problem: as `FairQueue.run`
        """
        cancelled = threading.Event()

        def timed() -> WorkResult:
            deadline = time.monotonic() + max_s
            return work(lambda: cancelled.is_set() or time.monotonic() > deadline)

        return await self._longest_queue.run(timed, cancelled.set)

    def check_k(self, k: int) -> None:
        """Raises: Problem: 422 k is not from 1 to `max_k`"""
        if not 1 <= k <= self.settings.max_k:
            raise problems.invalid_parameter("k", f"must be a whole number from 1 to {self.settings.max_k}")

    def count_searches(self, engine: str, times: int = 1) -> None:
        """Record searches in the metrics."""
        if self.metrics is not None:
            self.metrics.count_searches(engine, times)

    def update_gauges(self) -> None:
        """Record the index that is served in the metrics."""
        if self.metrics is not None:
            self.metrics.items = len(self.nearest)
            self.metrics.created_s = datetime.fromisoformat(self.nearest.header.created).timestamp()
            self._share_metrics()

    def _share_metrics(self) -> None:
        """Write the metrics for the other workers. An error (disk full, folder removed) is logged once."""
        if self.metrics is None:
            return
        try:
            self.metrics.write_shared()
            self._metrics_error = None
        except OSError as error:
            if self._metrics_error != str(error):
                log.error("metrics cannot be shared with the other workers: %s", error)
            self._metrics_error = str(error)

    async def watch_index(self) -> None:
        """Open newer indexes, forever. The current one is kept when a newer one cannot be opened; /health says so, and
        the log why. Nothing that goes wrong ends it: a later index must be opened all the same."""
        retries = Retries(self.settings.refresh_s)
        while True:
            await asyncio.sleep(self.settings.refresh_s)
            if (parent := multiprocessing.parent_process()) is not None and not parent.is_alive():
                log.error("the process that started this worker was killed: it stops, too")
                signal.raise_signal(signal.SIGTERM)
                return
            self._share_metrics()
            name = "?"
            try:
                name = await anyio.to_thread.run_sync(generation.current_name, self.nearest.model_dir)
                if not retries.is_due(name):
                    continue
                if await anyio.to_thread.run_sync(self.nearest.refresh):
                    log.info("opened index %s", self.nearest.generation)
                    self.update_gauges()
                await anyio.to_thread.run_sync(self._look_for_sounds)
            except Exception as error:
                retries.failed(name)
                self._refuse(name, error)
            else:
                retries.succeeded()
                self.refused = None if name == self.nearest.generation else self._not_current(name)

    def _refuse(self, name: str, error: Exception) -> None:
        """Record that a newer index could not be opened. /health needs no key, so it gets no paths."""
        if isinstance(error, BoilerError | OSError):
            log.error("index %s refused, still serving %s: %s", name, self.nearest.generation, error)
        else:
            log.exception("index %s refused, still serving %s", name, self.nearest.generation)
        if self.metrics is not None:
            self.metrics.refused_indexes += 1
        if isinstance(error, DamagedIndexError):
            why = "is damaged"
        elif isinstance(error, ModelDirError):
            why = "cannot be opened"
        else:
            why = f"cannot be opened ({type(error).__name__})"
        self.refused = f"the index {name} {why}; the service's log says why"

    def _not_current(self, name: str) -> str:
        """What /health says while another index is served, because the current one was damaged at the start."""
        return f"the index {name} is damaged; the service's log says why"

    def _look_for_sounds(self) -> None:
        folder = self.nearest.sound_folder
        self.has_sounds = folder is not None and folder.is_here()

    async def start(self) -> None:
        """Record what is served, and whether it is what was published last."""
        self.update_gauges()
        await anyio.to_thread.run_sync(self._look_for_sounds)
        name = await anyio.to_thread.run_sync(generation.current_name, self.nearest.model_dir)
        if name != self.nearest.generation:
            self.refused = self._not_current(name)
        if not self.has_sounds:
            log.warning(
                "the folder of the sounds is not here: %s. Set BOILER_WAV_DIR; until then audio and pictures get 404",
                self.nearest.sound_folder.address if self.nearest.sound_folder else "it is not known",
            )


class Retries:
    """When to try again to open an index that was refused: less and less often, because all its files are read."""

    def __init__(self, first_s: float, longest_s: float = 60.0) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._name: str | None = None
        self._wait_s = first_s
        self._due_s = 0.0

    def is_due(self, name: str) -> bool:
        """Whether to try this one now."""
        return name != self._name or time.monotonic() >= self._due_s

    def failed(self, name: str) -> None:
        self._wait_s = min(2 * self._wait_s, self._longest_s) if name == self._name else self._first_s
        self._name, self._due_s = name, time.monotonic() + self._wait_s

    def succeeded(self) -> None:
        self._name = None


@contextlib.asynccontextmanager
async def open_service(settings: Settings) -> AsyncIterator[Service]:
    """Open the index, test it with a query, and watch for newer ones.

    Raises:
        BoilerError: the model directory cannot be served
    """
    # Decodes sounds of the index: one process for work of seconds, one for minutes. Uploads have their own.
    reader = Decoders(workers=2, timeout_s=settings.decode_timeout_s)
    nearest = await anyio.to_thread.run_sync(
        functools.partial(
            Nearest,
            settings.model_dir,
            wav_dir=settings.wav_dir,
            device=settings.device,
            engine=settings.engine,
            reader=reader,
            image_model=settings.image_model,
            feedback_url=None if settings.feedback_url is None else settings.feedback_url.get_secret_value(),
        )
    )
    nearest.feedback.max_rows = nearest.hand_labels.max_labels = settings.max_feedback
    nearest.feedback.max_bytes = settings.max_feedback_bytes
    service = Service(settings, nearest)
    with service.uploads, reader, _switching_threads_quickly(), _modules_not_collected():
        await service.start()
        watcher = asyncio.create_task(service.watch_index())
        try:
            yield service
        finally:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
            nearest.close()


@contextlib.contextmanager
def _switching_threads_quickly() -> Iterator[None]:
    """The event loop waits for as long as this whenever a thread is running Python code, several times a request."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextlib.contextmanager
def _modules_not_collected() -> Iterator[None]:
    """Exclude what exists now, mostly imported modules, from garbage collection. A search of many rows starts full
    collections, in which nothing else runs: 70 ms with these objects, less than one without."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def service_of_request(request: Request) -> Service:
    """The state of the worker that handles the request.

    Raises: Problem: 503 before the start-up and after the shutdown
    """
    service = request.app.state.service
    if service is None:
        raise problems.Problem(503, "not-ready", "the service has not started", headers={"Retry-After": "2"})
    assert isinstance(service, Service)
    return service
