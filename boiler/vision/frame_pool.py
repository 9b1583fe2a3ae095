"""Decodes pictures and frames in worker processes (`boiler.vision.frame_worker`): a file that crashes the decoder does
not affect this process.

>>> with FramePool() as pool:  # doctest: +SKIP
...     pixels = pool.picture("daisy.jpg")
...     for rate_hz, pictures in pool.frames("bento.mp4"): ...
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any, ClassVar, NamedTuple, TypeAlias

from boiler.audio.sent_file import SentFile
from boiler.audio.stream import Samples
from boiler.audio.worker_pool import WorkerPool
from boiler.audio.worker_process import WorkerLost, WorkerProcess
from boiler.errors import EmbeddingError
from boiler.vision.frame_worker import as_pixels
from boiler.vision.image import MAX_PIXELS
from boiler.vision.video import FrameSize, Picture

Source: TypeAlias = str | os.PathLike[str] | bytes

TIMEOUT_S = 120.0
MEMORY_BYTES = 4 * 2**30
MAX_UPLOAD_PIXELS = 40_000_000
"""Of an uploaded picture."""
UPLOAD_SIDE_PX = 512
"""The longer side to which an uploaded picture is scaled down, so that several fit into memory."""


class Frames(NamedTuple):
    """Consecutive frames of a video. Shape: pictures uint8 [N, crop, crop, 3]."""

    rate_hz: float
    pictures: Picture


class FramePool(WorkerPool):
    """Processes that decode pictures and videos; they start with the first request. Thread-safe."""

    MODULE: ClassVar[str] = "boiler.vision.frame_worker"

    def __init__(self, workers: int = 1, timeout_s: float = TIMEOUT_S, memory_bytes: int = MEMORY_BYTES) -> None:
        super().__init__(workers, timeout_s, memory_bytes)

    def picture(
        self, source: Source, *, on_white: bool = False, max_pixels: int = MAX_PIXELS, max_side: int | None = None
    ) -> Picture:
        """`boiler.vision.image.read_picture` in a worker process.

        Raises: EmbeddingError: it is not a picture, or the process died.
        """
        with self._acquired(1) as (worker,):
            worker.send("picture", _sendable(source), on_white, max_pixels, max_side)
            part, carried = _answer(worker, _name(source))
        return as_pixels(carried, part["shape"])

    def uploaded_picture(self, content: bytes) -> Picture:
        """The pixels of an uploaded picture, as a viewer shows it, scaled down.

        Raises: EmbeddingError: it is not a picture, it has more than `MAX_UPLOAD_PIXELS`, or the process died.
        """
        return self.picture(content, on_white=True, max_pixels=MAX_UPLOAD_PIXELS, max_side=UPLOAD_SIDE_PX)

    def frames(
        self, source: Source, *, rate_hz: float | None = None, size: FrameSize | None = None
    ) -> Generator[Frames]:
        """`boiler.vision.video.frames` in a worker process, a few frames at a time. Close it to stop before the end.

        Raises: EmbeddingError: it is not a video, it is too long or too large, or the process died.
        """
        size = size or FrameSize()
        name = _name(source)
        with self._acquired(1) as (worker,):
            worker.send("frames", _sendable(source), rate_hz, size.short_side, size.crop)
            while worker.busy:
                part, carried = _answer(worker, name)
                if "ended" not in part:
                    worker.send("more")
                if carried.size:
                    yield Frames(part["rate_hz"], as_pixels(carried, part["shape"]))


def _sendable(source: Source) -> SentFile | bytes:
    return source if isinstance(source, bytes) else SentFile(os.fspath(source))


def _name(source: Source) -> str:
    return "the file given" if isinstance(source, bytes) else os.fspath(source)


def _answer(worker: WorkerProcess, name: str) -> tuple[dict[str, Any], Samples]:
    try:
        (part,), carried = worker.receive()
    except WorkerLost as lost:
        raise EmbeddingError(f"{name}: {lost.reason}") from None
    if "refused" in part:
        raise EmbeddingError(part["refused"])
    if "error" in part:
        raise EmbeddingError(f"{name}: {part['error'][2]}")
    return part, carried
