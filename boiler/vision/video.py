"""The frames of a video, at a constant rate, as pictures of one size. FFmpeg is restricted in the same way as for
sound.

The frame rate of a video may vary; that of the result is constant: picture i is the one shown at second i / rate.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import av

from boiler.arrays import UInt8Array
from boiler.audio.container import CODECS, DECODE_ERRORS, OPTIONS, Source, open_source, source_name
from boiler.errors import ExhaustedError, NotASoundError, SoundLimitError

VIDEO_CODECS = (
    "av1,flv1,h263,h264,hevc,libdav1d,libvpx-vp9,mjpeg,mpeg1video,mpeg2video,mpeg4,msmpeg4,msmpeg4v2,prores,theora,"
    "vp8,vp9,wmv1,wmv2"
)
VIDEO_OPTIONS = {**OPTIONS, "codec_whitelist": f"{CODECS},{VIDEO_CODECS}"}
SUFFIXES = frozenset({".3gp", ".asf", ".m4v", ".mkv", ".mov", ".mp4", ".ogv", ".webm", ".wmv"})

Picture = UInt8Array
"""[H, W, 3]: red, green, blue."""


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """Limits of one video. They are checked while it is decoded, whatever its header claims."""

    max_seconds: float = 36_000.0
    max_pixels: int = 8_192 * 8_192
    max_rate_hz: float = 240.0
    max_bad_packets: int = 100
    max_work_s: float = 3_600.0


@dataclass(frozen=True, slots=True)
class FrameSize:
    """Pictures are scaled until their short side has `short_side` pixels, then cropped to the middle `crop` x
    `crop`."""

    short_side: int = 256
    crop: int = 224

    def __post_init__(self) -> None:
        if not 1 <= self.crop <= self.short_side <= 4_096:
            raise ValueError(
                f"crop is from 1 to short_side, short_side at most 4096; not {self.crop} and {self.short_side}"
            )


def frames(
    source: Source,
    *,
    rate_hz: float | None = None,
    size: FrameSize | None = None,
    limits: VideoLimits | None = None,
) -> Iterator[tuple[float, Picture]]:
    """Yields pairs of the frame rate in Hz and a picture, in order. `rate_hz` None: the frame rate of the video.

    Shape: uint8 [crop, crop, 3].

    Raises: NotASoundError: it is not a video, or damaged. SoundLimitError: it exceeds the limits.
    """
    size, limits = size or FrameSize(), limits or VideoLimits()
    name = source_name(source)
    with open_source(source) as file:
        try:
            file.seek(0)
            container = cast(
                Any, av.open(file, "r", options=VIDEO_OPTIONS, buffer_size=2**16, metadata_errors="replace")
            )
        except (*DECODE_ERRORS, MemoryError) as error:
            raise NotASoundError(name, "it is not a video in a format that boiler reads") from error
        with container:
            stream = next(iter(container.streams.video), None)
            if stream is None or stream.codec_context is None:
                raise NotASoundError(name, "there are no pictures in it")
            own_hz = float(stream.average_rate or stream.guessed_rate or 0)
            rate = own_hz if rate_hz is None else rate_hz
            if not 0 < rate <= limits.max_rate_hz:
                raise SoundLimitError(name, f"{rate:g} pictures per second; up to {limits.max_rate_hz:g} are allowed")
            context = stream.codec_context
            if context.width * context.height > limits.max_pixels:
                raise SoundLimitError(name, f"{context.width} x {context.height} pixels are more than are allowed")
            stream.thread_count = 1
            empty = True
            for frame in _evenly(_decoded(container, stream, name, limits), rate, name, limits):
                empty = False
                yield rate, _fitted(frame, size)
            if empty:
                raise NotASoundError(name, "none of its pictures could be decoded")


def _decoded(container: Any, stream: Any, name: str, limits: VideoLimits) -> Iterator[Any]:
    """All frames that can be decoded; damaged packets are skipped."""
    packets = container.demux(stream)
    bad = good = 0
    work_s = 0.0
    while True:
        began = time.monotonic()
        found: list[Any] = []
        try:
            packet = next(packets, None)
            if packet is None:
                return
            found = packet.decode()
            good += 1
        except MemoryError:
            raise ExhaustedError(name, "decoding it takes more memory than there is") from None
        except EOFError:
            return
        except DECODE_ERRORS as error:
            bad += 1
            if bad > limits.max_bad_packets and bad > good:
                raise NotASoundError(name, "most of it is damaged") from error
            packets = container.demux(stream)
        work_s += time.monotonic() - began
        if work_s > limits.max_work_s:
            raise ExhaustedError(name, f"decoding it takes more than {limits.max_work_s:g} s")
        for frame in found:
            if frame.width * frame.height > limits.max_pixels:
                raise SoundLimitError(name, f"{frame.width} x {frame.height} pixels are more than are allowed")
            yield frame


def _evenly(frames: Iterator[Any], rate_hz: float, name: str, limits: VideoLimits) -> Iterator[Any]:
    """The frame that is shown at each multiple of 1 / rate."""
    shown = None
    ahead = 0  # number of frames yielded
    origin_s: float | None = None
    for count in itertools.count():
        frame = next(frames, None)
        if frame is None:
            if shown is not None:
                yield shown
            return
        at_s = float(frame.pts * frame.time_base) if frame.pts is not None else count / rate_hz
        origin_s = at_s if origin_s is None else origin_s
        at_s -= origin_s
        if at_s > limits.max_seconds:
            raise SoundLimitError(name, f"it is longer than the {limits.max_seconds:g} s that are allowed")
        # A tolerance of half a millisecond: containers round their timestamps.
        while shown is not None and ahead / rate_hz < at_s - 5e-4:
            yield shown
            ahead += 1
        shown = frame


def _fitted(frame: Any, size: FrameSize) -> Picture:
    scale = size.short_side / min(frame.width, frame.height)
    width, height = max(size.crop, round(frame.width * scale)), max(size.crop, round(frame.height * scale))
    pixels: Picture = frame.reformat(width=width, height=height, format="rgb24", interpolation="AREA").to_ndarray()
    top, left = height // 2 - size.crop // 2, width // 2 - size.crop // 2
    return pixels[top : top + size.crop, left : left + size.crop]
