"""Sounds that every browser can play: the file itself if browsers play its format, otherwise a FLAC copy.

FLAC is lossless, half the size of WAV, seekable, and plays in all current browsers. A copy has at most two channels and
48 kHz. It is made once and cached in a bounded temporary folder that all workers share.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import re
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import av
import av.error
import numpy as np

from boiler import files
from boiler.arrays import Int16Array
from boiler.audio import container
from boiler.audio.container import Source
from boiler.errors import BoilerError, NotASoundError, SoundLimitError

COPY_TYPE = "audio/flac"
MAX_COPY_S = 7_200.0
MAX_KEPT_BYTES = 2 * 1024**3
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_SETTLE_S = 5.0  # decoded before the start, because a decoder needs some sound after a seek; it is cut off
_MAX_DAMAGED = 1_000
_IN_USE_S = 10.0  # a copy used within this time is not evicted: its response may not have opened it yet
_STALE_S = 3_600.0  # an unfinished copy this old is of a process that was killed
_COPY = re.compile(r"[0-9a-f]{32}(\.[a-z0-9]+)?")  # others are being written
_WATCH_S = 0.1  # between two checks of the bound while a copy grows
_SPARE_BYTES = 32 * 1024**2  # what a copy may grow by between two checks

# What Chrome, Firefox and Safari all play in an <audio> element: container, codecs, media type.
_PLAYED: tuple[tuple[str, frozenset[str], str], ...] = (
    ("wav", frozenset({"pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_f32le"}), "audio/wav"),
    ("mp3", frozenset({"mp3", "mp3float"}), "audio/mpeg"),
    ("flac", frozenset({"flac"}), "audio/flac"),
    ("ogg", frozenset({"vorbis", "opus"}), "audio/ogg"),
    ("mov", frozenset({"aac"}), "audio/mp4"),
    ("webm", frozenset({"vorbis", "opus"}), "audio/webm"),
    ("aac", frozenset({"aac"}), "audio/aac"),
)
_PLAYED_RATE_HZ = 96_000
# The same of <video> elements, by the codec of the pictures.
_PLAYED_VIDEO: tuple[tuple[str, frozenset[str], str], ...] = (
    ("webm", frozenset({"vp8", "vp9", "av1", "libdav1d"}), "video/webm"),
    ("mp4", frozenset({"h264", "av1", "libdav1d"}), "video/mp4"),
)


class NoRoomError(BoilerError):
    """A copy cannot be written because the disk is full or read-only."""

    slug = "no-room"


def media_type(sound: Source) -> str | None:
    """The media type of a file that browsers play as it is; None if it needs a copy.

    Raises:
        NotASoundError: it cannot be read as a sound
    """
    name = container.source_name(sound)
    try:
        with ExitStack() as stack:
            opened = container.open_container(stack.enter_context(container.open_source(sound)))
            source = stack.enter_context(opened.container)
            stream = container.audio_stream(source, name)
            moving = [one for one in source.streams.video if not one.disposition & av.stream.Disposition.attached_pic]
            names, codec, rate_hz = source.format.name.split(","), stream.codec_context.name, stream.rate or 0
    except container.DECODE_ERRORS as error:
        raise NotASoundError(name, "it cannot be read as a sound") from error
    if moving or rate_hz > _PLAYED_RATE_HZ or (opened.wav and not opened.wav.plain):
        return None
    return next((kind for name, codecs, kind in _PLAYED if name in names and codec in codecs), None)


def video_type(medium: Source) -> str | None:
    """The media type of a video that browsers play as it is; None of other videos and of sounds.

    Raises:
        NotASoundError: it cannot be read
    """
    name = container.source_name(medium)
    try:
        with ExitStack() as stack:
            opened = container.open_container(stack.enter_context(container.open_source(medium)))
            source = stack.enter_context(opened.container)
            moving = [one for one in source.streams.video if not one.disposition & av.stream.Disposition.attached_pic]
            codec = moving[0].codec_context.name if moving else ""
            names = source.format.name.split(",")
    except container.DECODE_ERRORS as error:
        raise NotASoundError(name, "it cannot be read as a video") from error
    return next((kind for one, codecs, kind in _PLAYED_VIDEO if one in names and codec in codecs), None)


def flac_copy(path: Path, start_s: float = 0.0, end_s: float | None = None) -> Path:
    """The path of a FLAC copy of the sound, or of a part of it, from the cache or new.

    Raises:
        NotASoundError: it cannot be decoded, or ends before the part
        SoundLimitError: more than `MAX_COPY_S` of it
        NoRoomError: the disk is full
    """
    target = copy_path(path, start_s, end_s)
    if not target.is_file():
        write_copy(path, target, start_s, end_s)
    return target


def write_copy(path: Path, target: Path, start_s: float, end_s: float | None) -> None:
    """Write the copy atomically, and evict old ones meanwhile.

    Raises: as `flac_copy`.
    """
    with replacing_copy(target) as aside, aside.open("w+b") as file:
        write_flac(path, file, start_s, end_s)


@contextlib.contextmanager
def replacing_copy(target: Path) -> Iterator[Path]:
    """`files.replacing`, while the cache keeps its bound: as the new copy grows, old ones are deleted.

    Raises: NoRoomError: nothing can be deleted, because all of it was used a moment ago or is being written.
    """
    folder, finished = target.parent, threading.Event()
    if not evict(folder):
        raise NoRoomError(f"{folder} is full of copies that are in use")

    def watch() -> None:
        while not finished.wait(_WATCH_S):
            evict(folder)

    watcher = threading.Thread(target=watch, name="copies", daemon=True)
    watcher.start()
    try:
        with files.replacing(target) as aside:
            yield aside
    finally:
        finished.set()
        watcher.join()
    evict(folder)


def copy_path(path: Path, start_s: float = 0.0, end_s: float | None = None) -> Path:
    """The path of the copy in the cache, whether it exists or not. Marks an existing one as used."""
    status = path.stat()
    key = f"{path}\0{status.st_mtime_ns}\0{status.st_size}\0{start_s}\0{end_s}"
    return cached_path(key, ".flac")


def cached_path(key: str, suffix: str) -> Path:
    """The path in the cache of what is made from `key`, whether it exists or not. Marks an existing one as used."""
    name = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    found = _folder() / f"{name}{suffix}"
    with contextlib.suppress(FileNotFoundError):
        os.utime(found, ns=(time.time_ns(), found.stat().st_mtime_ns))
    return found


def write_flac(sound: Source, target: BinaryIO, start_s: float, end_s: float | None) -> None:
    """Write the sound, or a part of it, as FLAC to an open file.

    Raises: as `flac_copy`.
    """
    name = container.source_name(sound)
    try:
        with (
            container.open_source(sound) as stored,
            container.open_container(stored).container as source,
            av.open(target, "w", format="flac") as copied,
        ):
            stream = container.audio_stream(source, name)
            assert stream.time_base is not None
            rate_hz = min(stream.rate, 48_000)
            layout = "mono" if stream.codec_context.channels == 1 else "stereo"
            encoder = copied.add_stream("flac", rate=rate_hz, layout=layout, format="s16")
            first, last = round(start_s * rate_hz), None if end_s is None else round(end_s * rate_hz)
            if start_s > _SETTLE_S:
                source.seek(int((start_s - _SETTLE_S) / stream.time_base), stream=stream, backward=True)
            written = 0
            for at, samples in _blocks(source, stream, rate_hz, layout):
                cut = samples[max(0, first - at) : None if last is None else max(0, last - at)]
                if len(cut):
                    piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(cut).reshape(1, -1), "s16", layout)
                    piece.sample_rate, piece.pts = rate_hz, written
                    written += len(cut)
                    copied.mux(encoder.encode(piece))
                if written > MAX_COPY_S * rate_hz:
                    raise SoundLimitError(
                        name, f"more than {MAX_COPY_S:.0f} s to copy; ask for a part by start_s and end_s"
                    )
                if last is not None and at + len(samples) >= last:
                    break
            if not written:
                raise NotASoundError(name, "there is no sound in that part of it")
            copied.mux(encoder.encode(None))
    except container.DECODE_ERRORS as error:
        if getattr(error, "errno", None) in _NO_ROOM:
            raise NoRoomError(f"no copy of a sound can be kept: {error}") from error
        raise NotASoundError(name, "it cannot be read as a sound") from error


def _blocks(
    source: av.container.InputContainer, stream: av.AudioStream, rate_hz: int, layout: str
) -> Iterator[tuple[int, Int16Array]]:
    """Decoded blocks ``[samples, channels]``, each with its first sample's position in the sound. Damaged packets are
    skipped."""
    resampler = av.AudioResampler(format="s16", layout=layout, rate=rate_hz)
    assert stream.time_base is not None
    at, damaged = -1, 0
    for packet in source.demux(stream):
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            damaged += 1
            if damaged > _MAX_DAMAGED:
                return
            continue
        for frame in frames:
            if at < 0:
                at = max(0, round(float((frame.pts or 0) - (stream.start_time or 0)) * stream.time_base * rate_hz))
            frame.pts = None  # the resampler keeps its own count
            for block in resampler.resample(frame):
                samples = _samples(block)
                yield at, samples
                at += len(samples)
    for block in resampler.resample(None) if at >= 0 else []:
        yield at, _samples(block)


def _samples(frame: av.AudioFrame) -> Int16Array:
    return np.asarray(frame.to_ndarray().reshape(-1, len(frame.layout.channels)), np.int16)


def _folder() -> Path:
    """The cache. No other user of the machine may write to it, because its files are served."""
    folder = Path(tempfile.gettempdir()) / f"boiler-listening-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError(f"{folder} is not a folder of this user alone; remove it")
    return folder


def evict(folder: Path) -> bool:
    """Delete the least recently used copies until all that remain, with those that are being written, fit
    `MAX_KEPT_BYTES` with something to spare. Returns whether they do.

    A time in the future, as the clock was set back, counts as the oldest.
    """
    now = time.time()
    found: list[tuple[float, int, Path]] = []
    for one in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # deleted by another process
            status = one.stat()
            # Of one that is being written, only the other time advances.
            used_s_ago = now - (status.st_atime if _COPY.fullmatch(one.name) else status.st_mtime)
            found.append((used_s_ago if used_s_ago > -1 else math.inf, status.st_size, one))
    total = sum(n_bytes for _, n_bytes, _ in found) + min(_SPARE_BYTES, MAX_KEPT_BYTES // 8)
    for used_s_ago, n_bytes, one in sorted(found, reverse=True):
        if total <= MAX_KEPT_BYTES:
            break
        if used_s_ago >= (_IN_USE_S if _COPY.fullmatch(one.name) else _STALE_S):
            one.unlink(missing_ok=True)
            total -= n_bytes
    return total <= MAX_KEPT_BYTES
