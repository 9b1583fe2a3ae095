"""The worker process of `boiler.audio.media_pool`: draws and converts sounds on request, and may crash on a bad file.

The protocol is that of `boiler.audio.decode_worker`. Requests: `("media_type", source)`, `("video_type", source)`,
`("copy", source, target, start_s, end_s)`, `("peaks", source, points, start_s, end_s)` and
`("spectrogram", source, width, height, start_s, end_s)`; `target` is an open file, too.
"""

from __future__ import annotations

import base64
import io
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np

from boiler.audio import decode_worker, spectrogram, transcode
from boiler.audio.container import Source, source_name
from boiler.audio.decode_worker import NO_SAMPLES, REPORTED_ERRORS, SECOND_OF_SILENCE, AnswerPart
from boiler.audio.stream import Samples
from boiler.errors import BoilerError


def serve(handle: int, memory_bytes: int, cpu_s: int) -> None:
    """Answer requests over the socket `handle` until it is closed."""
    decode_worker.serve(handle, memory_bytes, cpu_s, MediaHandler())


class MediaHandler:
    """Answers requests for pictures, waveforms and copies."""

    def warm_up(self) -> None:
        """Import what answers need; see `decode_worker.RequestHandler`."""
        transcode.media_type(SECOND_OF_SILENCE)
        transcode.write_flac(SECOND_OF_SILENCE, io.BytesIO(), 0.0, None)
        spectrogram.peaks(SECOND_OF_SILENCE, 10)
        spectrogram.spectrogram_png(SECOND_OF_SILENCE, 10, 10)
        with suppress(BoilerError):
            transcode.media_type(SECOND_OF_SILENCE[:20])

    def answer(self, verb: str, *arguments: Any) -> tuple[list[AnswerPart], Samples]:
        """The answer to a request: one part, and the values of a waveform, [T]."""
        source, *rest = arguments
        try:
            part, samples = getattr(self, f"_{verb}")(source, *rest)
        except REPORTED_ERRORS as error:
            part, samples = {"error": decode_worker.error_fields(error, source_name(source))}, NO_SAMPLES
        return [part | {"samples": len(samples)}], samples

    def _media_type(self, source: Source) -> tuple[AnswerPart, Samples]:
        return {"media_type": transcode.media_type(source)}, NO_SAMPLES

    def _video_type(self, source: Source) -> tuple[AnswerPart, Samples]:
        return {"video_type": transcode.video_type(source)}, NO_SAMPLES

    def _copy(
        self, source: Source, target: BinaryIO, start_s: float, end_s: float | None
    ) -> tuple[AnswerPart, Samples]:
        try:
            transcode.write_flac(source, target, start_s, end_s)
        except transcode.NoRoomError as error:
            return {"no_room": str(error)}, NO_SAMPLES
        return {}, NO_SAMPLES

    def _peaks(self, source: Source, points: int, start_s: float, end_s: float | None) -> tuple[AnswerPart, Samples]:
        drawn = spectrogram.peaks(source, points, start_s=start_s, end_s=end_s)
        return {"start_s": drawn.start_s, "end_s": drawn.end_s}, np.concatenate([drawn.low, drawn.high])

    def _spectrogram(
        self, source: Source, width: int, height: int, start_s: float, end_s: float | None
    ) -> tuple[AnswerPart, Samples]:
        png = spectrogram.spectrogram_png(source, width, height, start_s=start_s, end_s=end_s)
        return {"png": base64.b64encode(png).decode()}, NO_SAMPLES
