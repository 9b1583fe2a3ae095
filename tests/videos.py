"""Write videos with given frames and sound, with PyAV."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt


def write_video(
    path: Path,
    frames: Iterable[npt.NDArray[np.uint8]],
    sound: npt.NDArray[np.floating[Any]] | None = None,
    *,
    rate_hz: int = 10,
    sample_rate_hz: int = 48_000,
    times: list[int] | None = None,
    codec: str = "mpeg4",
) -> Path:
    """Write `frames` [H, W, 3], all of one size, and mono `sound`. `times`: time of each frame in units of
    1 / `rate_hz` (default: evenly spaced)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = list(frames)
    with av.open(str(path), "w") as container:
        height, width = frames[0].shape[:2]
        video: Any = container.add_stream(codec, rate=rate_hz)
        video.width, video.height, video.pix_fmt, video.bit_rate = width, height, "yuv420p", 4_000_000
        video.time_base = Fraction(1, rate_hz)
        audio: Any = container.add_stream("aac", rate=sample_rate_hz, layout="mono") if sound is not None else None
        for at, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = (times[at] if times else at), Fraction(1, rate_hz)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None and sound is not None:
            samples = np.asarray(sound, np.float32)[None]
            for begin in range(0, samples.shape[1], 1024):
                block = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(samples[:, begin : begin + 1024]), format="fltp", layout="mono"
                )
                block.sample_rate, block.pts, block.time_base = sample_rate_hz, begin, Fraction(1, sample_rate_hz)
                container.mux(audio.encode(block))
            container.mux(audio.encode())
    return path


def plain_frames(levels: Iterable[int], height: int = 240, width: int = 320) -> list[npt.NDArray[np.uint8]]:
    """Grey frames, each of one level."""
    return [np.full((height, width, 3), level, np.uint8) for level in levels]
