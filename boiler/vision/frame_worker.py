"""The worker process of `boiler.vision.frame_pool`: decodes pictures and videos on request, and may crash on a bad
file. `boiler.audio.decode_worker` describes the protocol, and why it does not use pickle.

Requests: ``("picture", source, on_white, max_pixels, max_side)``; ``("frames", source, rate_hz, short_side, crop)``,
answered with a few pictures, and ``("more",)`` for the next few. Pixels are sent as raw bytes in place of samples, four
per float.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
from PIL import Image

from boiler.audio import decode_worker
from boiler.audio.container import Source, source_name
from boiler.audio.decode_worker import NO_SAMPLES, REPORTED_ERRORS, AnswerPart
from boiler.audio.stream import Samples
from boiler.errors import BoilerError, EmbeddingError
from boiler.vision import image, video
from boiler.vision.video import FrameSize, Picture

PICTURES_AN_ANSWER = 16


def serve(handle: int, memory_bytes: int, cpu_s: int) -> None:
    """Answer requests over the socket `handle` until it is closed."""
    decode_worker.serve(handle, memory_bytes, cpu_s, FrameReader())


class FrameReader:
    """Answers requests; keeps the video that it is currently decoding."""

    def __init__(self) -> None:
        self._frames: Iterator[tuple[float, Picture]] = iter(())
        self._name = ""

    def warm_up(self) -> None:
        """Import what reading needs; see `boiler.audio.decode_worker.RequestHandler`."""
        for format in image.FORMATS:
            tiny = io.BytesIO()
            Image.new("RGB", (8, 8)).save(tiny, format)
            image.read_picture(tiny.getvalue())
        with suppress(BoilerError):
            next(video.frames(tiny.getvalue()))

    def answer(self, verb: str, *arguments: Any) -> tuple[list[AnswerPart], Samples]:
        """The answer to a request: one part, and the pixels of its pictures."""
        carried = NO_SAMPLES
        part: AnswerPart
        try:
            if verb == "picture":
                part, pixels = self._picture(*arguments)
            else:
                if verb == "frames":
                    self._begin(*arguments)
                part, pixels = self._next()
            carried = as_floats(pixels)
        except EmbeddingError as error:
            part = {"refused": str(error)}
        except REPORTED_ERRORS as error:
            part = {"error": decode_worker.error_fields(error, self._name)}
        return [part | {"samples": len(carried)}], carried

    def _picture(
        self, source: Source, on_white: bool, max_pixels: int, max_side: int | None
    ) -> tuple[AnswerPart, Picture]:
        self._name = source_name(source)
        pixels = image.read_picture(source, on_white=on_white, max_pixels=max_pixels, max_side=max_side)
        return {"shape": list(pixels.shape)}, pixels

    def _begin(self, source: Source, rate_hz: float | None, short_side: int, crop: int) -> None:
        self._name = source_name(source)
        self._frames = video.frames(source, rate_hz=rate_hz, size=FrameSize(short_side, crop))

    def _next(self) -> tuple[AnswerPart, Picture]:
        some = list(itertools.islice(self._frames, PICTURES_AN_ANSWER))
        if not some:
            return {"shape": [0], "ended": True}, np.empty(0, np.uint8)
        pixels = np.stack([picture for _, picture in some])
        part: AnswerPart = {"shape": list(pixels.shape), "rate_hz": some[0][0]}
        return part if len(some) == PICTURES_AN_ANSWER else part | {"ended": True}, pixels


def as_floats(pixels: Picture) -> Samples:
    """The bytes of the pixels, padded to whole floats, in which they are sent. Shape: any to [T]."""
    raw = np.ascontiguousarray(pixels).ravel()
    return np.pad(raw, (0, -len(raw) % 4)).view(np.float32)


def as_pixels(carried: Samples, shape: list[int]) -> Picture:
    """The inverse of `as_floats`. Shape: [T] to `shape`."""
    count = int(np.prod(shape))
    return carried.view(np.uint8)[:count].reshape(shape)
