"""The worker process of `boiler.audio.media_pool`: draws and converts sounds on request, and may crash on a bad file.

The protocol is that of `boiler.audio.decode_worker`. Requests: `("media_type", path)`,
`("copy", path, target, start_s, end_s)`, `("peaks", path, points, start_s, end_s)` and
`("spectrogram", path, width, height, start_s, end_s)`.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np

from boiler.audio import decode_worker, spectrogram, transcode
from boiler.audio.decode_worker import NO_SAMPLES, REPORTED_ERRORS, AnswerPart
from boiler.audio.stream import Samples


def serve(handle: int, memory_bytes: int, cpu_s: int) -> None:
    """Answer requests over the socket `handle` until it is closed."""
    decode_worker.serve(handle, memory_bytes, cpu_s, MediaHandler())


class MediaHandler:
    """Answers requests for pictures, waveforms and copies."""

    def answer(self, verb: str, *arguments: Any) -> tuple[list[AnswerPart], Samples]:
        """The answer to a request: one part, and the values of a waveform, [T]."""
        path, *rest = arguments
        try:
            part, samples = getattr(self, f"_{verb}")(path, *rest)
        except REPORTED_ERRORS as error:
            part, samples = {"error": decode_worker.error_fields(error, path)}, NO_SAMPLES
        return [part | {"samples": len(samples)}], samples

    def _media_type(self, path: str) -> tuple[AnswerPart, Samples]:
        return {"media_type": transcode.media_type(Path(path))}, NO_SAMPLES

    def _copy(self, path: str, target: str, start_s: float, end_s: float | None) -> tuple[AnswerPart, Samples]:
        try:
            transcode.write_copy(Path(path), Path(target), start_s, end_s)
        except transcode.NoRoomError as error:
            return {"no_room": str(error)}, NO_SAMPLES
        return {}, NO_SAMPLES

    def _peaks(self, path: str, points: int, start_s: float, end_s: float | None) -> tuple[AnswerPart, Samples]:
        drawn = spectrogram.peaks(path, points, start_s=start_s, end_s=end_s)
        return {"start_s": drawn.start_s, "end_s": drawn.end_s}, np.concatenate([drawn.low, drawn.high])

    def _spectrogram(
        self, path: str, width: int, height: int, start_s: float, end_s: float | None
    ) -> tuple[AnswerPart, Samples]:
        png = spectrogram.spectrogram_png(path, width, height, start_s=start_s, end_s=end_s)
        return {"png": base64.b64encode(png).decode()}, NO_SAMPLES
