"""What runs in a drawing process: it reads sounds of the collection to draw and to copy them, and may die of one. Its
other end is `boiler.audio.media_pool`; how the two talk, and why not by pickles, stands in `boiler.audio.decode_worker`.

Requests: ``("kind", path)``, ``("copy", path, target, start_s, end_s)``, ``("peaks", path, points, start_s, end_s)``
and ``("picture", path, width, height, start_s, end_s)``.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np

from boiler.audio import decode_worker, spectrogram, transcode
from boiler.audio.decode_worker import NOTHING, REFUSED, Part
from boiler.audio.stream import Samples


def serve(handle: int, memory_bytes: int, cpu_s: int) -> None:
    """Answer what is asked over the socket `handle` until it is closed."""
    decode_worker.serve(handle, memory_bytes, cpu_s, Easel())


class Easel:
    """Answers requests."""

    def answer(self, verb: str, *arguments: Any) -> tuple[list[Part], Samples]:
        """One part, and what of it is numbers. Shape: [T]."""
        path, *rest = arguments
        try:
            part, samples = getattr(self, f"_{verb}")(path, *rest)
        except REFUSED as error:
            part, samples = {"error": decode_worker.told(error, path)}, NOTHING
        return [part | {"samples": len(samples)}], samples

    def _kind(self, path: str) -> tuple[Part, Samples]:
        return {"kind": transcode.media_type(Path(path))}, NOTHING

    def _copy(self, path: str, target: str, start_s: float, end_s: float | None) -> tuple[Part, Samples]:
        try:
            transcode.make(Path(path), Path(target), start_s, end_s)
        except transcode.NoRoomError as error:
            return {"no_room": str(error)}, NOTHING
        return {}, NOTHING

    def _peaks(self, path: str, points: int, start_s: float, end_s: float | None) -> tuple[Part, Samples]:
        drawn = spectrogram.peaks(path, points, start_s=start_s, end_s=end_s)
        return {"start_s": drawn.start_s, "end_s": drawn.end_s}, np.concatenate([drawn.low, drawn.high])

    def _picture(self, path: str, width: int, height: int, start_s: float, end_s: float | None) -> tuple[Part, Samples]:
        png = spectrogram.spectrogram_png(path, width, height, start_s=start_s, end_s=end_s)
        return {"png": base64.b64encode(png).decode()}, NOTHING
