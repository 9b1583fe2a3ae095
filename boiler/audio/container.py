"""The audio track of a file, as blocks of mono float32 at the file's own rate, decoded by PyAV (FFmpeg).

FFmpeg reads a hundred formats, and some of them refer to other resources: a playlist named `.mp3` opens other local
files, a session description opens a socket. Here FFmpeg is therefore given an open file object, no protocol, and only
the containers and decoders listed below. The format is detected from the content, never from the file's name.

PyAV raises many types of exceptions (`DECODE_ERRORS`); they leave this module as `NotASoundError`.
"""

from __future__ import annotations

import io
import itertools
import os
import stat
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import av
import av.error
import numpy as np

from boiler.audio.windows import Samples
from boiler.errors import ExhaustedError, NotASoundError, SoundLimitError

Source: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO

# Containers of recordings. None of them refers to other files; `concat`, `hls`, `sdp`, `dash`, `image2` and the like do
# and are left out.
FORMATS = "wav,w64,flac,mp3,ogg,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,aac,aiff,asf,caf,au"
# Audio decoders only, so that probing a video never decodes a frame.
CODECS = (
    "aac,ac3,adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,alac,amrnb,amrwb,eac3,flac,gsm,gsm_ms,libopus,mp1,mp1float,mp2,"
    "mp2float,mp3,mp3float,opus,pcm_alaw,pcm_f16le,pcm_f24le,pcm_f32be,pcm_f32le,pcm_f64be,pcm_f64le,pcm_mulaw,"
    "pcm_s16be,pcm_s16be_planar,pcm_s16le,pcm_s16le_planar,pcm_s24be,pcm_s24le,pcm_s24le_planar,pcm_s32be,pcm_s32le,"
    "pcm_s32le_planar,pcm_s64be,pcm_s64le,pcm_s8,pcm_s8_planar,pcm_u16be,pcm_u16le,pcm_u24be,pcm_u24le,pcm_u32be,"
    "pcm_u32le,pcm_u8,speex,vorbis,wmalossless,wmapro,wmav1,wmav2"
)
OPTIONS = {
    "format_whitelist": FORMATS,
    "codec_whitelist": CODECS,
    "protocol_whitelist": "none",
    # In 16-bit stereo WAV FFmpeg looks for DTS data, by default in 2,500 packets, which takes 20 ms a file.
    "max_probe_packets": "8",
}
READ_BYTES = 2**16
BLOCK_SAMPLES = 2**15

# With these codecs, and with `pcm_...`, timestamps after a seek are exact. In WAV and similar containers only with the
# latter: timestamps there are computed from byte positions, which is wrong for compressed data.
TIMED_CODECS = frozenset({"aac", "alac", "flac", "mp3", "opus", "vorbis", "wmav2"})
BYTE_CONTAINERS = frozenset({"aiff", "au", "w64", "wav"})
# Codecs whose packets all have the same number of samples. In a container with timestamps in milliseconds (Matroska,
# ASF), the exact position in samples is known only for these.
EVEN_CODECS = frozenset({"aac", "mp3", "opus", "wmav2"})
SEEK_EARLIER_S = 1  # seek to this long before the target: lossy decoders need up to a tenth of it to settle

DECODE_ERRORS = (
    av.error.FFmpegError,
    ArithmeticError,
    AttributeError,  # PyAV: a frame or packet without an expected attribute
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one source, enforced while it is decoded, whatever its header claims.

    max_work_s: wall-clock time spent decoding
    max_bad_packets: number of damaged packets that are skipped in any file; more are skipped as long as there are more
        good ones
    """

    max_seconds: float = 86_400.0
    max_channels: int = 64
    min_rate_hz: int = 1_000
    max_rate_hz: int = 768_000
    max_bad_packets: int = 100
    max_work_s: float = 1_800.0


class Track:
    """The audio track of an open container. Made by `open_track`."""

    def __init__(self, name: str, file: BinaryIO, limits: Limits) -> None:
        self.name = name
        self.limits = limits
        self._file = file
        self._work_s = 0.0
        self._open()

    def _open(self) -> None:
        with self._as_sound_error("it is not a sound in a format that boiler reads"):
            self._file.seek(0)
            self._container = cast(Any, open_container(self._file))
        with self._as_sound_error("its sound track cannot be decoded"):
            self._stream = self._container.streams.best("audio")
            if self._stream is None:
                raise NotASoundError(self.name, "there is no sound track in it")
            self._codec = self._stream.codec_context
            if self._codec is None:
                raise NotASoundError(self.name, "its sound uses a codec that boiler does not read")
            self._codec.thread_count = 1  # one core per file: files are decoded in parallel
            self._check_limits(self.rate_hz, self.channels)

    def close(self) -> None:
        self._container.close()

    @property
    def rate_hz(self) -> int:
        """Sampling rate in Hz, as the container states it."""
        return int(self._codec.sample_rate)

    @property
    def channels(self) -> int:
        return int(self._codec.layout.nb_channels)

    @property
    def format(self) -> str:
        """Container and codec, such as `ogg/vorbis`."""
        return f"{self._container.format.name.split(',')[0]}/{self._codec_name}"

    @property
    def stated_s(self) -> float | None:
        """Duration in seconds as the container states it; None if it does not."""
        if self._stream.duration is not None and self._stream.time_base:
            return max(0.0, float(self._stream.duration * self._stream.time_base))
        if self._container.duration is not None:
            return max(0.0, float(self._container.duration / av.time_base))
        return None

    def blocks(self, from_s: int = 0) -> Iterator[tuple[int, Samples]]:
        """Pairs of sampling rate in Hz and mono samples [T], from second `from_s` on. Can be iterated once.

        The first sample is the one at exactly `from_s`, which is an integer so that it falls on a sample at any rate.

        Raises:
            NotASoundError: more packets are damaged than the limits allow, or there are samples that are NaN or
            infinite. SoundLimitError: rate or channels. ExhaustedError: decoding time, memory.
        """
        position, frames = self._frames_from(from_s)
        to_skip: int | None = None
        for rate_hz, mono in self._joined(frames):
            if to_skip is None:
                to_skip = from_s * rate_hz - position
            if to_skip < len(mono):
                yield rate_hz, mono[to_skip:]
            to_skip = max(0, to_skip - len(mono))

    def _joined(self, frames: Iterator[Any]) -> Iterator[tuple[int, Samples]]:
        """Frames joined into blocks of mono samples: some codecs have frames of 128, and each block has a fixed
        cost."""
        kind: tuple[int, int, str] | None = None
        gathered = av.AudioFifo()
        with self._as_sound_error("its samples cannot be read"):
            for frame in frames:
                now = (int(frame.sample_rate), int(frame.layout.nb_channels), str(frame.format.name))
                if now != kind:  # at the start, and where recordings with different parameters were joined
                    self._check_limits(*now[:2])
                    if kind is not None and gathered.samples:
                        yield kind[0], self._mono(gathered)
                    kind, gathered = now, av.AudioFifo()
                frame.pts = None  # with timestamps the FIFO would raise where a packet is missing
                gathered.write(frame)
                if gathered.samples >= BLOCK_SAMPLES:
                    yield now[0], self._mono(gathered)
            if kind is not None and gathered.samples:
                yield kind[0], self._mono(gathered)

    def _mono(self, gathered: Any) -> Samples:
        """The contents of the FIFO, averaged over channels and scaled to [-1, 1). Shape: [T]."""
        frame = gathered.read()
        array = frame.to_ndarray()
        if not frame.format.is_planar:
            array = array.reshape(-1, frame.layout.nb_channels).T
        with np.errstate(over="ignore", invalid="ignore"):  # infinities are rejected below
            wide = np.float64 if array.dtype == np.float64 else np.float32
            mono = array.mean(axis=0, dtype=wide).astype(np.float32, copy=False)
        if array.dtype == np.uint8:
            return cast(Samples, (mono - 128.0) / np.float32(128.0))
        if array.dtype.kind == "i":
            return cast(Samples, mono * np.float32(2.0 ** (1 - 8 * array.dtype.itemsize)))
        if not np.isfinite(mono).all():
            raise NotASoundError(self.name, "it has samples that are NaN or infinite")
        return cast(Samples, mono)

    @property
    def _codec_name(self) -> str:
        return str(self._codec.codec.canonical_name)

    def _frames_from(self, from_s: int) -> tuple[int, Iterator[Any]]:
        """Frames from `from_s` or earlier, and the number of samples before the first of them.

        Not every container seeks exactly. If the position after a seek cannot be verified, the track is decoded from
        its start instead, which is slower but always exact.
        """
        if from_s > SEEK_EARLIER_S and self._has_exact_timestamps():
            first = next(self._frames(), None)
            if first is not None:
                with suppress(*DECODE_ERRORS):
                    origin = first.pts * first.time_base
                    self._container.seek(
                        round((from_s - SEEK_EARLIER_S + origin) / self._stream.time_base), stream=self._stream
                    )
                    frames = self._frames()
                    landed = next(frames, None)
                    position = self._position(landed, first) if landed is not None else None
                    if landed is not None and position is not None and 0 <= position <= from_s * landed.sample_rate:
                        return position, itertools.chain([landed], frames)
                self.close()
                self._open()
        return 0, self._frames()

    def _has_exact_timestamps(self) -> bool:
        if self._codec_name.startswith("pcm_"):
            return True
        return self._codec_name in TIMED_CODECS and self._container.format.name not in BYTE_CONTAINERS

    def _position(self, frame: Any, first: Any) -> int | None:
        """The number of samples before `frame`; None if unknown. `first`: the first frame of the track."""
        if frame.pts is None or frame.sample_rate != first.sample_rate:
            return None
        rate_hz = int(frame.sample_rate)
        # Relative to the first frame, not to zero: MP3 timestamps include the delay of the encoder.
        samples_per_tick: Fraction = frame.time_base * rate_hz
        position: Fraction = (frame.pts * frame.time_base - first.pts * first.time_base) * rate_hz
        if samples_per_tick <= 1:
            return round(position)
        if self._codec_name not in EVEN_CODECS:
            return None
        n_first, n_each = int(first.samples), int(frame.samples)
        return n_first + round((position - n_first) / n_each) * n_each

    def _frames(self) -> Iterator[Any]:
        """All frames that can be decoded; damaged packets are skipped."""
        packets = self._container.demux(self._stream)
        good = bad = 0
        while True:
            began = time.monotonic()
            frames: list[Any] = []
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                frames = packet.decode()
                good += 1
            except MemoryError:
                raise ExhaustedError(self.name, "decoding it takes more memory than there is") from None
            except EOFError:
                return
            except DECODE_ERRORS as error:
                bad += 1
                if bad > self.limits.max_bad_packets and bad > good:
                    raise NotASoundError(self.name, f"most of it is damaged: {_plain(error)}") from error
                packets = self._container.demux(self._stream)  # an exception ends the generator
            self._work_s += time.monotonic() - began
            if self._work_s > self.limits.max_work_s:
                raise ExhaustedError(self.name, f"decoding it takes more than {self.limits.max_work_s:g} s")
            yield from frames

    def _check_limits(self, rate_hz: int, channels: int) -> None:
        limits = self.limits
        if not limits.min_rate_hz <= rate_hz <= limits.max_rate_hz:
            reason = f"{rate_hz} samples a second; {limits.min_rate_hz} to {limits.max_rate_hz} are allowed"
            raise SoundLimitError(self.name, reason)
        if not 1 <= channels <= limits.max_channels:
            raise SoundLimitError(self.name, f"{channels} channels; 1 to {limits.max_channels} are allowed")

    @contextmanager
    def _as_sound_error(self, reason: str) -> Iterator[None]:
        """Turn what PyAV and FFmpeg raise into one of boiler's errors, with this reason."""
        try:
            yield
        except MemoryError:
            raise ExhaustedError(self.name, "decoding it takes more memory than there is") from None
        except DECODE_ERRORS as error:
            raise NotASoundError(self.name, f"{reason} ({_plain(error)})") from error


def open_container(file: BinaryIO) -> av.container.InputContainer:
    """The container in an open file, with the restrictions above. boiler opens all sound and video files with it.

    Raises: one of `DECODE_ERRORS`; MemoryError.
    """
    # Tags are not used, and in many files they are not valid UTF-8.
    return av.open(file, "r", options=OPTIONS, buffer_size=READ_BYTES, metadata_errors="replace")


@contextmanager
def open_track(source: Source, limits: Limits) -> Iterator[Track]:
    """The audio track of `source`. A path is opened and closed; a file object of the caller is left open.

    Raises:
        NotASoundError: no such file, empty, or no sound in a format of `FORMATS`.
        SoundLimitError: its sampling rate or number of channels.
    """
    name = source_name(source)
    with ExitStack() as stack:
        track = Track(name, stack.enter_context(open_source(source)), limits)
        stack.callback(track.close)
        yield track


def source_name(source: Source) -> str:
    """The name of a source in errors: its path, or the name of the file object."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    name = getattr(source, "name", None)
    return os.fspath(name) if isinstance(name, str | os.PathLike) else "the sound given"


@contextmanager
def open_source(source: Source) -> Iterator[BinaryIO]:
    """The source as an open file. Raises: NotASoundError: no such file, not a regular file, empty, or unreadable."""
    name = source_name(source)
    with ExitStack() as stack:
        try:
            if isinstance(source, bytes):
                file: BinaryIO = io.BytesIO(source)
                size = len(source)
            elif isinstance(source, str | os.PathLike):
                # Checked before it is opened: opening a pipe without a writer would block for ever.
                found = Path(source).stat()
                if not stat.S_ISREG(found.st_mode):
                    raise NotASoundError(name, "it is not a file")
                file = stack.enter_context(Path(source).open("rb", buffering=0))
                size = found.st_size
            else:
                file = source if source.seekable() else io.BytesIO(source.read())
                size = file.seek(0, os.SEEK_END)
        except (OSError, ValueError) as error:
            raise NotASoundError(name, _plain(error)) from error
        if size == 0:
            raise NotASoundError(name, "it is empty (0 bytes)")
        yield file


def _plain(error: BaseException) -> str:
    """The reason without the path, which the error message contains already."""
    return str(getattr(error, "strerror", None) or error or type(error).__name__).lower()
