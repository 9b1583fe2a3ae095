"""Decodes and embeds uploaded sounds: decoding in worker processes, which a file may crash; embedding one at a time.

When a request is cancelled (the client has left, or the shutdown's grace period is over), its decoding process is
killed and embedding stops at the next windows.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from time import perf_counter

from boiler.audio import stream
from boiler.audio.decoder_pool import Decoders
from boiler.audio.stream import Samples
from boiler.errors import EmbeddingError
from boiler.search.nearest import Embedded, Nearest
from boiler.search.seeds import BySamples
from boiler.service import problems
from boiler.service.fair_queue import FairQueue, run_in_thread
from boiler.service.metrics import Metrics
from boiler.service.settings import Settings
from boiler.vision.frame_pool import FramePool
from boiler.vision.video import Picture

StageCallback = Callable[[str, int, int], None]
"""Progress callback: (stage, done, total). Called on the event loop."""

MAX_WAIT_S = 120.0
"""An upload that waits for longer gets 503."""
_BLOCK_S = 4  # of sound between two checks for cancellation


class _Cancelled(Exception):
    """Raised in a thread whose work was cancelled."""


class UploadEmbedder:
    """Decodes and embeds the uploads of one worker. A context manager; its processes start with the first upload."""

    def __init__(self, settings: Settings, nearest: Nearest, metrics: Metrics | None) -> None:
        self._nearest = nearest
        self._metrics = metrics
        # One more than can be decoded at a time: it is embedded meanwhile.
        slots = settings.decoder_workers + 1
        self._queue = FairQueue("uploads", slots=slots, max_waiting=settings.max_waiting, max_wait_s=MAX_WAIT_S)
        self._n_uploads = 0  # in progress or waiting
        self._embedding_lock = asyncio.Lock()
        # One process each, so that the process of a request can be killed. The last used is taken first.
        self._decoders: asyncio.LifoQueue[Decoders] = asyncio.LifoQueue()
        self._exit_stack = ExitStack()
        self._picture_lock = asyncio.Lock()
        self._frames = self._exit_stack.enter_context(FramePool(timeout_s=settings.decode_timeout_s))
        limits = stream.Limits(max_seconds=settings.max_upload_s)
        for _ in range(settings.decoder_workers):
            decoder = Decoders(workers=1, timeout_s=settings.decode_timeout_s, limits=limits)
            self._decoders.put_nowait(self._exit_stack.enter_context(decoder))

    def __enter__(self) -> UploadEmbedder:
        return self

    def __exit__(self, *_: object) -> None:
        self._exit_stack.close()

    async def embed(
        self,
        sound: bytes,
        start_s: float,
        end_s: float | None,
        stages: dict[str, float],
        on_progress: StageCallback | None = None,
    ) -> list[Embedded]:
        """The vectors of a sound; times are relative to the start of the upload.

        Arguments:
            stages: the seconds spent waiting, decoding and embedding are added to it

        Raises:
            Problem: 422 the index has no encoder; 503 too many uploads are waiting
            SoundError: not a sound, too long, or silent
        """
        if not self._nearest.header.encoder_sha256:
            why = "this index has vectors, but not the encoder that made them: search by a vector or an item"
            raise problems.Problem(422, "no-encoder", why)
        on_progress = on_progress or (lambda stage, done, total: None)
        queued = perf_counter()
        on_progress("waiting", 0, 1)
        async with self._turn():
            async with self._decoder() as decoder:
                decoding = perf_counter()
                on_progress("decoding", 0, 1)
                samples = await self._decode(decoder, sound, start_s, end_s)
            decoded = perf_counter()
            async with self._embedding_lock:
                embedding = perf_counter()
                embedded = await self._embed(samples, start_s, on_progress)
            done = perf_counter()
            waited = decoding - queued + embedding - decoded
            stages |= {"wait": waited, "decode": decoded - decoding, "embed": done - embedding}
        return embedded

    async def decode(self, sound: bytes | Path, start_s: float, end_s: float | None) -> BySamples:
        """The samples of an upload or a file, at the sampling rate of the index.

        Raises: SoundError; Problem: 503 too many uploads are waiting
        """
        async with self._turn(), self._decoder() as decoder:
            samples = await self._decode(decoder, sound, start_s, end_s)
            return BySamples(samples, self._nearest.header.sample_rate_hz)

    async def picture(self, data: bytes) -> Picture:
        """The pixels of an uploaded picture, decoded in a worker process. Shape: uint8 [H, W, 3]

        Raises: Problem: 422 not a picture, or too many pixels; 503 too many uploads are waiting
        """

        async with self._turn(), self._picture_lock:

            def kill() -> None:
                for pid in self._frames.pids:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

            decode = functools.partial(self._frames.uploaded_picture, data)
            try:
                return await run_in_thread(decode, kill)
            except EmbeddingError as error:
                raise problems.Problem(422, "unreadable-picture", str(error)) from None

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Raises: Problem: 503 too many uploads are waiting"""
        self._add_uploads(1)
        try:
            async with self._queue.turn():
                yield
        finally:
            self._add_uploads(-1)

    def _add_uploads(self, n: int) -> None:
        self._n_uploads += n
        if self._metrics is not None:
            self._metrics.waiting = self._n_uploads

    @asynccontextmanager
    async def _decoder(self) -> AsyncIterator[Decoders]:
        decoder = await self._decoders.get()
        try:
            yield decoder
        finally:
            self._decoders.put_nowait(decoder)

    async def _decode(self, decoder: Decoders, sound: bytes | Path, start_s: float, end_s: float | None) -> Samples:
        def kill() -> None:
            for pid in decoder.pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

        rate_hz = self._nearest.header.sample_rate_hz
        load = functools.partial(decoder.load, sound, start_s=start_s, end_s=end_s, sample_rate_hz=rate_hz)
        return await run_in_thread(load, kill)

    async def _embed(self, samples: Samples, from_s: float, on_progress: StageCallback) -> list[Embedded]:
        loop, cancelled = asyncio.get_running_loop(), threading.Event()
        spec = self._nearest.header.window_spec
        total = spec.n_windows(len(samples))
        block = _BLOCK_S * spec.sample_rate_hz
        on_progress("embedding", 0, total)

        def blocks() -> Iterator[Samples]:
            for at in range(0, len(samples), block):
                if cancelled.is_set():
                    raise _Cancelled
                done = min(total - 1, max(0, (at - spec.window_samples) // spec.hop_samples))
                if done > 0:
                    loop.call_soon_threadsafe(on_progress, "embedding", done, total)
                yield samples[at : at + block]

        embedded = await run_in_thread(
            functools.partial(self._nearest.embed_blocks, blocks(), "the uploaded sound", from_s), cancelled.set
        )
        on_progress("embedding", total, total)
        return embedded
