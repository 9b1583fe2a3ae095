"""The audio track of a file, as blocks of mono float32 at the file's own rate, decoded by PyAV (FFmpeg).

FFmpeg reads a hundred formats, and some of them refer to other resources: a playlist named `.mp3` opens other local
files, a session description opens a socket. Here FFmpeg is therefore given an open file object, no protocol, and only
the containers and decoders listed below. The format is detected from the content, never from the file's name.

PyAV raises many types of exceptions (`DECODE_ERRORS`); they leave this module as `NotASoundError`.
"""

from __future__ import annotations

import io
import itertools
import math
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, BinaryIO, NamedTuple, TypeAlias, cast

import av
import av.error
import numpy as np

from boiler.audio import bare_frames, ogg, truncation, wavpack
from boiler.audio.sent_file import UnopenedFile, open_regular
from boiler.audio.spliced import Spliced
from boiler.audio.wav import WavHeader, as_ffmpeg_reads
from boiler.audio.windows import Samples
from boiler.errors import ExhaustedError, NotASoundError, SoundLimitError

Source: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO

# Containers of recordings. None of them refers to other files; `concat`, `hls`, `sdp`, `dash`, `image2` and the like do
# and are left out.
FORMATS = "wav,w64,flac,mp3,ogg,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,aac,ac3,aiff,amr,asf,au,avi,caf,dsf,eac3,tta,wv"
# Audio decoders only, so that probing a video never decodes a frame.
CODECS = (
    "aac,ac3,adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,alac,amrnb,amrwb,dsd_lsbf,dsd_lsbf_planar,dsd_msbf,dsd_msbf_planar,"
    "eac3,flac,gsm,gsm_ms,libopencore_amrnb,libopencore_amrwb,libopus,mp1,mp1float,mp2,mp2float,mp3,mp3float,opus,"
    "pcm_alaw,pcm_f16le,pcm_f24le,pcm_f32be,pcm_f32le,pcm_f64be,pcm_f64le,pcm_mulaw,"
    "pcm_s16be,pcm_s16be_planar,pcm_s16le,pcm_s16le_planar,pcm_s24be,pcm_s24le,pcm_s24le_planar,pcm_s32be,pcm_s32le,"
    "pcm_s32le_planar,pcm_s64be,pcm_s64le,pcm_s8,pcm_s8_planar,pcm_u16be,pcm_u16le,pcm_u24be,pcm_u24le,pcm_u32be,"
    "pcm_u32le,pcm_u8,speex,tta,vorbis,wavpack,wmalossless,wmapro,wmav1,wmav2"
)
CODEC_NAMES = frozenset(CODECS.split(","))
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
# Where timestamps say how much is missing after damage, and where the stated duration is exact.
TIMED_CONTAINERS = frozenset({"asf", "flac", "matroska", "mov", "ogg", "tta", "wv"})
EXACT_CONTAINERS = frozenset({"aiff", "au", "caf", "flac", "matroska", "mov", "tta", "wv"})
# Codecs whose packets have a checksum that FFmpeg ignores by default: damaged ones would be noise.
CHECKED_CODECS = frozenset({"tta", "wavpack"})
MIN_GAP_S = 0.02  # containers that count milliseconds are inexact by two
MIN_FIRST_GAP_S = 1.0  # before the first frame, which may be late by what its encoder delays
MIN_MISSING_S, MIN_MISSING_SHARE = 0.5, 0.01  # at the end
MIN_SAID_S = 0.05
# The mean of channels in antiphase is silence. It is judged by the first seconds, and counts as cancelled where it has
# less than this share of the energy that channels without anything in common would have.
MIX_DECIDED_BY_S, CANCELLED = 5, 0.1
MOSTLY_BAD_AFTER_S = 5  # of sound: a track with more samples that are no numbers than others is refused

GIVE_UP_AT = 4  # damaged packets for each good one: before the end, for the good ones may come behind a hole
MOSTLY_BAD = "most of its samples are not numbers (NaN or infinity)"
NOT_READ = "it is not a sound in a format that boiler reads"

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
    """The audio track of an open container. Made by `open_track`.

    What cannot be decoded within it is silence, so that everything behind stays where it is in time, and `warning` says
    how much that was.
    """

    def __init__(self, name: str, file: BinaryIO, limits: Limits) -> None:
        self.name = name
        self.limits = limits
        self._file = file
        self._work_s = 0.0
        self._losses = DecodingLosses()
        self._only_channel: tuple[int, int] | None = None  # the one to use, of so many, instead of their mean
        self._done_s = 0.0  # of the sound, in front of what is read next
        with self._as_sound_error(NOT_READ):
            chain = ogg.chain_links(file)
        self._links = [self._link(*span) for span in chain] if len(chain) > 1 else [Link(file)]
        self._open(0)
        with self._as_sound_error(NOT_READ):
            frames = bare_frames.scan(file, self._container_name)
            self._is_cut = frames.is_cut or truncation.is_cut(file, self._container_name)
            blocks = wavpack.block_runs(file) if self._container_name == "wv" else []
        if len(frames.runs) > 1:
            self._links = [self._link(run.offset, run.n_bytes, run.hole_s, run.seconds) for run in frames.runs]
            self._reopen(0)
        elif len(blocks) > 1:
            self._links = [Link(cast(BinaryIO, Spliced(file, blocks)))]
            self._reopen(0)

    def _link(self, offset: int, n_bytes: int, gap_s: float = 0.0, stated_s: float | None = None) -> Link:
        return Link(cast(BinaryIO, Spliced(self._file, [(offset, n_bytes)])), gap_s, stated_s)

    def _open(self, number: int) -> None:
        self._number = number
        with self._as_sound_error(NOT_READ):
            opened = open_container(self._links[number].file)
            self._container, self._wav = cast(Any, opened.container), opened.wav
        with self._as_sound_error("its sound track cannot be decoded"):
            self._stream = cast(Any, audio_stream(self._container, self.name))
            self._codec = self._stream.codec_context
            self._codec.thread_count = 1  # one core per file: files are decoded in parallel
            if self._codec_name in CHECKED_CODECS:
                self._codec.options = {"err_detect": "crccheck+explode"}
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
        return f"{'wav' if self._wav and self._wav.big_endian else self._container_name}/{self._codec_name}"

    @property
    def is_chained(self) -> bool:
        """Whether it is several recordings one after another, perhaps of different rates, or stretches between holes:
        read it from its start."""
        return len(self._links) > 1

    @property
    def stated_s(self) -> float | None:
        """Duration in seconds as the container states it; None if it does not."""
        if not self.is_chained:
            return self._stated_s
        total_s = 0.0
        for number, link in enumerate(self._links):
            if link.stated_s is None:
                self._reopen(number)
            total_s += link.gap_s + ((self._stated_s or 0.0) if link.stated_s is None else link.stated_s)
        self._reopen(0)
        return total_s

    @property
    def _stated_s(self) -> float | None:
        if self._stream.duration is not None and self._stream.time_base:
            return max(0.0, float(self._stream.duration * self._stream.time_base))
        if self._container.duration is not None:
            return max(0.0, float(self._container.duration / av.time_base))
        return None

    @property
    def warning(self) -> str:
        """What could not be decoded of it so far, in words; empty if nothing. Complete once `blocks` has ended."""
        return str(self._losses)

    def blocks(self, from_s: int = 0) -> Iterator[tuple[int, Samples]]:
        """Pairs of sampling rate in Hz and mono samples [T], from second `from_s` on. Can be iterated once.

        The first sample is the one at exactly `from_s`, which is an integer so that it falls on a sample at any rate. A
        track that `is_chained` gives its first link's samples from there on, then all others'.

        Raises:
            NotASoundError: more packets are damaged than the limits allow, or most samples are no numbers.
            SoundLimitError: rate or channels. ExhaustedError: decoding time, memory.
        """
        frames: Iterator[Any]
        if from_s > 0 and self.channels > 1:
            self._choose_channel(self._frames())
            self._reopen(0)
        position, frames = self._frames_from(from_s)
        if from_s <= 0:
            frames = self._choose_channel(frames)
        to_skip: int | None = None
        for rate_hz, mono in self._joined(frames, position):
            if to_skip is None:
                to_skip = from_s * rate_hz - position
            if to_skip < len(mono):
                yield rate_hz, mono[to_skip:]
            to_skip = max(0, to_skip - len(mono))
        for number in range(1, len(self._links)):
            self._reopen(number)
            yield from self._joined(self._choose_channel(self._frames()), 0)

    def _choose_channel(self, frames: Iterator[Any]) -> Iterator[Any]:
        """Decide by the first seconds whether channels cancel each other out in the mean: then the loudest one is used.

        Returns all frames.
        """
        self._only_channel = None
        if self.channels < 2:
            return frames
        first: list[Any] = []
        energy, mixed, n_samples = np.zeros(self.channels), 0.0, 0
        for frame in frames:
            first.append(frame)
            array = _by_channel(frame)
            if len(array) != self.channels:
                break
            values = array.astype(np.float64) - (128.0 if array.dtype == np.uint8 else 0.0)
            values[~np.isfinite(values)] = 0
            energy += np.square(values).sum(axis=1)
            mixed += float(np.square(values.mean(axis=0)).sum())
            n_samples += int(frame.samples)
            if n_samples >= MIX_DECIDED_BY_S * self.rate_hz:
                break
        # Channels that have nothing in common, or one alone that sounds, are mixed to 1 / channels of their energy.
        if mixed < CANCELLED * energy.mean() / self.channels:
            self._only_channel = int(energy.argmax()), self.channels
        return itertools.chain(first, frames)

    def _reopen(self, number: int) -> None:
        self.close()
        self._open(number)

    def _joined(self, frames: Iterator[Any], position: int) -> Iterator[tuple[int, Samples]]:
        """Frames joined into blocks of mono samples: some codecs have frames of 128, and each block has a fixed cost.

        Holes are filled with silence. `position`: the number of samples before the first frame.
        """
        kind: tuple[int, int, str] | None = None
        gathered = av.AudioFifo()

        def block() -> tuple[int, Samples]:
            assert kind is not None
            mono = self._mono(gathered, kind[0])
            self._done_s += len(mono) / kind[0]
            return kind[0], mono

        with self._as_sound_error("its samples cannot be read"):
            for frame, gap_s in self._with_gaps(frames, position == 0):
                now = (int(frame.sample_rate), int(frame.layout.nb_channels), str(frame.format.name))
                if now != kind or gap_s:  # at the beginning, at a hole, and where recordings of two kinds were joined
                    self._check_limits(*now[:2])
                    if kind is None and position:
                        self._done_s = position / now[0]
                    if gathered.samples:
                        yield block()
                    kind, gathered = now, av.AudioFifo()
                if gap_s:
                    yield from self._silence(frame, gap_s)
                frame.pts = None  # with timestamps the FIFO would raise where a packet is missing
                gathered.write(frame)
                if gathered.samples >= BLOCK_SAMPLES:
                    yield block()
            if gathered.samples:
                yield block()
            if kind is not None:
                self._check_end()

    def _silence(self, frame: Any, gap_s: float) -> Iterator[tuple[int, Samples]]:
        """Silence in the place of what is missing in front of `frame`."""
        rate_hz = int(frame.sample_rate)
        n_samples = round(gap_s * rate_hz)
        if self._codec_name in EVEN_CODECS and frame.time_base * rate_hz > 1:  # as in `_position`
            n_samples = round(gap_s * rate_hz / frame.samples) * int(frame.samples)
        self._losses.add_gap(self._done_s, n_samples / rate_hz)
        self._done_s += n_samples / rate_hz
        while n_samples > 0:
            yield rate_hz, np.zeros(min(n_samples, BLOCK_SAMPLES), np.float32)
            n_samples -= BLOCK_SAMPLES

    def _with_gaps(self, frames: Iterator[Any], from_start: bool) -> Iterator[tuple[Any, float]]:
        """Frames, each with the seconds that are missing in front of it, 0 for nearly all."""
        timed = self._container_name in TIMED_CONTAINERS
        due_s: float | None = None  # by the last timestamp and what has been decoded since
        if from_start and timed and self._stream.start_time is not None:
            due_s = float(self._stream.start_time * self._stream.time_base)
        tolerance_s = MIN_FIRST_GAP_S
        latest_s = (self._stated_s or math.inf) + MIN_FIRST_GAP_S
        missing_s = self._links[self._number].gap_s
        frame = next(frames, None)
        while frame is not None:
            following = next(frames, None)
            at_s = _time_s(frame) if timed else None
            if at_s is not None and due_s is not None and at_s - due_s > tolerance_s:
                next_s = None if following is None else _time_s(following)
                # One timestamp alone may be damaged itself: the next must agree, and what the container states.
                if next_s is not None and at_s < next_s <= latest_s:
                    missing_s = at_s - due_s
            due_s = due_s if at_s is None else at_s
            due_s = None if due_s is None else due_s + frame.samples / frame.sample_rate
            yield frame, missing_s
            tolerance_s = MIN_GAP_S
            missing_s, frame = 0.0, following

    def _check_end(self) -> None:
        """Note what is missing at the end of the track, or of a link of it."""
        if self._losses.n_bad and self._losses.n_bad * 2 >= self._losses.n_samples:
            raise NotASoundError(self.name, MOSTLY_BAD)
        if self._wav is not None and self._wav.is_uncompressed:
            self._losses.add_cut(self._wav.missing_s)
        elif not self.is_chained and (stated_s := self._exactly_stated_s) is not None:
            missing_s = stated_s - self._done_s
            if missing_s > MIN_MISSING_S + MIN_MISSING_SHARE * stated_s:
                self._losses.add_cut(missing_s)
        if self._is_cut and self._number == len(self._links) - 1:
            self._losses.is_cut = True

    @property
    def _exactly_stated_s(self) -> float | None:
        """The duration that the container states, if it is of this track, and no estimate."""
        if self._container_name == "mp3":
            self._file.seek(0)
            return self._stated_s if bare_frames.states_frames(self._file.read(READ_BYTES)) else None
        if self._container.streams.video:
            return None
        if (stated_s := truncation.stated_s(self._file, self._container_name)) is not None:
            return stated_s
        return self._stated_s if self._container_name in EXACT_CONTAINERS else None

    def _note_bad(self, bad: Any, rate_hz: int) -> None:
        losses = self._losses
        losses.add_bad(self._done_s + int(bad.argmax()) / rate_hz, int(bad.sum()))
        if losses.n_bad * 2 >= losses.n_samples >= MOSTLY_BAD_AFTER_S * rate_hz:
            raise NotASoundError(self.name, MOSTLY_BAD)

    def _mono(self, gathered: Any, rate_hz: int) -> Samples:
        """The contents of the FIFO, averaged over channels and scaled to [-1, 1). Shape: [T]."""
        array = _by_channel(gathered.read())
        with np.errstate(over="ignore", invalid="ignore"):  # infinities are replaced below
            wide = np.float64 if array.dtype == np.float64 else np.float32
            if self._only_channel is not None and self._only_channel[1] == len(array):
                mono = array[self._only_channel[0]].astype(wide).astype(np.float32, copy=False)
            else:
                mono = array.mean(axis=0, dtype=wide).astype(np.float32, copy=False)
        if array.dtype == np.uint8:
            return cast(Samples, (mono - 128.0) / np.float32(128.0))
        if array.dtype.kind == "i":
            return cast(Samples, mono * np.float32(2.0 ** (1 - 8 * array.dtype.itemsize)))
        self._losses.n_samples += len(mono)
        bad = ~np.isfinite(mono)
        if bad.any():
            self._note_bad(bad, rate_hz)
            mono[bad] = 0
        return cast(Samples, mono)

    @property
    def _container_name(self) -> str:
        """The first of the names that FFmpeg has for the container."""
        return str(self._container.format.name).partition(",")[0]

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
            if first is not None and first.pts is not None:
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
                self._reopen(0)
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
        cause = Exception()
        while True:
            began = time.monotonic()
            frames: list[Any] = []
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                frames = packet.decode()
                good += 1
            except MemoryError:
                raise ExhaustedError(self.name, "decoding it takes more memory than there is") from None
            except EOFError:
                break
            except DECODE_ERRORS as error:
                bad, cause = bad + 1, error
                if bad > self.limits.max_bad_packets and bad > GIVE_UP_AT * good:
                    raise NotASoundError(self.name, f"most of it is damaged: {_plain(error)}") from error
                packets = self._container.demux(self._stream)  # an exception ends the generator
            self._work_s += time.monotonic() - began
            if self._work_s > self.limits.max_work_s:
                raise ExhaustedError(self.name, f"decoding it takes more than {self.limits.max_work_s:g} s")
            yield from frames
        if bad > self.limits.max_bad_packets and bad > good:
            raise NotASoundError(self.name, f"most of it is damaged: {_plain(cause)}") from cause

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


class Opened(NamedTuple):
    """A container, and the header of a WAV."""

    container: av.container.InputContainer
    wav: WavHeader | None


def open_container(file: BinaryIO) -> Opened:
    """The container in an open file, with the restrictions above. All of boiler's reading of files goes through it.

    Raises: one of `DECODE_ERRORS`; MemoryError.
    """
    seen, header = as_ffmpeg_reads(file)
    seen.seek(0)
    # Tags are not used, and in many files they are not valid UTF-8.
    container = av.open(seen, "r", options=OPTIONS, buffer_size=READ_BYTES, metadata_errors="replace")
    return Opened(container, header)


def audio_stream(container: av.container.InputContainer, name: str) -> av.AudioStream:
    """The best audio stream whose codec is listed above. FFmpeg's own list of codecs is for probing alone.

    Raises: NotASoundError: there is none.
    """
    best = container.streams.best("audio")
    streams = [best] if best is not None else []
    streams += [stream for stream in container.streams.audio if stream is not best]
    if not streams:
        raise NotASoundError(name, "there is no sound track in it")
    contexts = [stream.codec_context for stream in streams]
    for stream, context in zip(streams, contexts, strict=True):
        if context is not None and context.codec.name in CODEC_NAMES:
            return cast(av.AudioStream, stream)
    known = next((f" ({context.codec.name})" for context in contexts if context is not None), "")
    raise NotASoundError(name, f"its sound uses a codec that boiler does not read{known}")


class Link(NamedTuple):
    """One of the recordings that a file consists of, or a stretch of it between damage.

    gap_s: missing in front of it. stated_s: its duration; None: as its container states it
    """

    file: BinaryIO
    gap_s: float = 0.0
    stated_s: float | None = None


@dataclass
class DecodingLosses:
    """What of a sound could not be decoded, in the order of time."""

    n_samples: int = 0
    n_bad: int = 0  # samples that are not numbers
    is_cut: bool = False  # its end is missing, and nothing states how much
    _bad_from_s: float = 0.0
    _gaps: list[tuple[float, float]] = field(default_factory=list)
    _cut_s: float = 0.0

    def add_gap(self, at_s: float, missing_s: float) -> None:
        self._gaps.append((at_s, missing_s))

    def add_bad(self, at_s: float, n_samples: int) -> None:
        self._bad_from_s = self._bad_from_s if self.n_bad else at_s
        self.n_bad += n_samples

    def add_cut(self, missing_s: float) -> None:
        self._cut_s += missing_s

    def __str__(self) -> str:
        said = []
        if sum(s for _, s in self._gaps) >= MIN_SAID_S:
            where = ", ".join(f"at {at_s:.1f} s" for at_s, _ in self._gaps[:3]) + (", ..." if self._gaps[3:] else "")
            said.append(f"{sum(s for _, s in self._gaps):.1f} s of it cannot be decoded ({where}) and are silence here")
        if self.n_bad:
            said.append(f"{self.n_bad} samples are not numbers (from {self._bad_from_s:.1f} s on) and are silence here")
        if self._cut_s >= MIN_SAID_S:
            said.append(f"it ends {self._cut_s:.1f} s before the end that it states")
        elif self.is_cut:
            said.append("it is cut off at its end, and does not state how much is missing")
        return "; ".join(said)


def _by_channel(frame: Any) -> Any:
    """Its samples as they are coded. Shape: [channels, T]."""
    array = frame.to_ndarray()
    return array if frame.format.is_planar else array.reshape(-1, frame.layout.nb_channels).T


def _time_s(frame: Any) -> float | None:
    time_s: float | None = frame.time  # a tenth of the time that its pts and time_base take, which are fractions
    return time_s


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


def source_name(source: Source | UnopenedFile) -> str:
    """The name of a source in errors: its path, or the name of the file object."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    name = getattr(source, "name", None)
    return os.fspath(name) if isinstance(name, str | os.PathLike) else "the sound given"


@contextmanager
def open_source(source: Source | UnopenedFile) -> Iterator[BinaryIO]:
    """The source as an open file. Raises: NotASoundError: no such file, not a regular file, empty, or unreadable."""
    name = source_name(source)
    with ExitStack() as stack:
        try:
            if isinstance(source, bytes):
                file: BinaryIO = io.BytesIO(source)
                size = len(source)
            elif isinstance(source, str | os.PathLike):
                file = cast(BinaryIO, stack.enter_context(open_regular(source)))
                size = os.fstat(file.fileno()).st_size
            elif isinstance(source, UnopenedFile):
                raise NotASoundError(source.name, source.reason)
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
