"""The worker process of `boiler.audio.decoder_pool`: decodes sounds on request, and may crash on a bad file.

An attacker who takes over this process through a vulnerability of a decoder must not reach the parent process. So
answers are JSON and raw float32, never pickles. Requests are pickled, because they come from the parent. The process
has no environment, and once it is up it opens no file, socket, program or other process (`boiler.audio.sandbox`): files
come open with a request (`boiler.audio.sent_file`), and are closed at the next one.

A request is `(verb, *arguments)`:

* `("files", sources, spec, limits)`: sounds one after another, at the rate of `spec` (a `WindowSpec`), until an answer
  is full.
* `("stream", source, start_s, end_s, sample_rate_hz, limits)`: a sound or a part of it, until an answer is full.
* `("more",)`: the rest of the sound that the last answer ended in.
* `("load", source, start_s, end_s, sample_rate_hz, limits)` and `("probe", source, limits)`. A source is an open
  file or bytes.

An answer is a list of parts, one for each sound that was worked on, in the order of the request, and the samples of all
of them in one array. A part has `samples`, the number of its samples; and, if the sound is finished, either `error`
(type, path, reason) or `probe`, `sha256`, `size_bytes`, `mtime_s` and `warning`, or, after `stream`, `ended`.
"""

from __future__ import annotations

import hashlib
import json
import os
import pkgutil
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import astuple
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any, BinaryIO, Protocol, TypeAlias

import av
import numpy as np

from boiler.audio import sandbox, sent_file
from boiler.audio.container import open_source, open_track, source_name
from boiler.audio.stream import Limits, Probe, Samples, Source, load, probe, stream, track_blocks
from boiler.audio.windows import SAMPLE_RATE_HZ, WindowSpec
from boiler.errors import ExhaustedError, NotASoundError, SoundError

AnswerPart: TypeAlias = dict[str, Any]

# An answer is sent when it has this many samples (half a minute at 16 kHz, 2 MB), or after this time, so that a slow
# file does not look like one that hangs.
ANSWER_SAMPLES = 32 * SAMPLE_RATE_HZ
MAX_ANSWER_S = 2.0
HASH_BYTES = 2**20
NO_SAMPLES = np.empty(0, np.float32)
SECOND_OF_SILENCE = b"RIFF\x24\x7d\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data\0\x7d\0\0" + bytes(
    32_000
)
"""A WAV file."""
REPORTED_ERRORS = (SoundError, MemoryError, OSError)


def serve(handle: int, memory_bytes: int, cpu_s: int, handler: RequestHandler | None = None) -> None:
    """Answer requests over the socket `handle` until it is closed.

    Arguments: `memory_bytes` of address space, `cpu_s` of processor time for each request, `handler`: by default a
    `DecodeHandler`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    for kind, most in ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CORE, 0)):
        with suppress(ValueError, OSError):  # not every system has this limit
            resource.setrlimit(kind, (most, most))
    connection = Connection(handle)
    handler = handler or DecodeHandler()
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if not module.name.endswith("__main__"):  # PyAV imports some of its modules when it meets their kind of stream
            import_module(module.name)
    handler.warm_up()
    missing = sandbox.confine()
    held: list[BinaryIO] = []
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send_bytes(b"ready" + (f" without {', '.join(missing)}".encode() if missing else b""))
        while True:
            request, files = sent_file.receive(connection)
            if request[0] != "more":
                for file in held:
                    file.close()
                held = files
            _allow_cpu(cpu_s)
            parts, samples = handler.answer(*request)
            connection.send_bytes(json.dumps(parts).encode())
            if samples.size:
                connection.send_bytes(samples.data.cast("B"))


class RequestHandler(Protocol):
    """Answers the requests that `serve` receives."""

    def warm_up(self) -> None:
        """Import and open all that answers may need: nothing can be opened later."""

    def answer(self, verb: str, *arguments: Any) -> tuple[list[AnswerPart], Samples]:
        """The parts of the answer, and the samples of all of them, [T]."""


class DecodeHandler:
    """Decodes sounds; keeps the last one open if an answer ended before the end of the sound."""

    def __init__(self) -> None:
        self._open: Iterator[Samples | AnswerPart] | None = None

    def warm_up(self) -> None:
        """As `RequestHandler.warm_up`."""
        load(SECOND_OF_SILENCE, sample_rate_hz=SAMPLE_RATE_HZ // 2)
        with suppress(SoundError):
            load(SECOND_OF_SILENCE[:50])

    def answer(self, verb: str, *arguments: Any) -> tuple[list[AnswerPart], Samples]:
        """As `RequestHandler.answer`."""
        parts: list[AnswerPart] = []
        blocks: list[Samples] = []
        until = time.monotonic() + MAX_ANSWER_S
        if verb == "files":
            sources, spec, limits = arguments
            for source in sources:
                self._open = _decode_file(source, spec, limits)
                parts.append(self._fill_answer(blocks, until))
                if self._open is not None or _full(blocks, until):
                    break
        elif verb == "stream":
            self._open = _decode_stream(*arguments)
            parts.append(self._fill_answer(blocks, until))
        elif verb == "more":
            parts.append(self._fill_answer(blocks, until))
        else:
            part, samples = _once(verb, *arguments)
            return [part], samples
        return parts, np.concatenate(blocks) if blocks else NO_SAMPLES

    def _fill_answer(self, blocks: list[Samples], until: float) -> AnswerPart:
        assert self._open is not None
        n_samples = 0
        for item in self._open:
            if isinstance(item, dict):
                self._open = None
                return {"samples": n_samples, **item}
            blocks.append(item)
            n_samples += len(item)
            if _full(blocks, until):
                break
        return {"samples": n_samples}


def _full(blocks: list[Samples], until: float) -> bool:
    return sum(map(len, blocks)) >= ANSWER_SAMPLES or time.monotonic() > until


def _decode_file(source: Source, spec: WindowSpec, limits: Limits) -> Iterator[Samples | AnswerPart]:
    """Blocks of the sound (empty ones while it is hashed), then its last part."""
    path = source_name(source)
    try:
        with open_source(source) as file:
            before = os.fstat(file.fileno())
            digest = hashlib.sha256()
            file.seek(0)
            while block := file.read(HASH_BYTES):
                digest.update(block)
                yield NO_SAMPLES
            with open_track(file, limits) as track:
                stated_s = track.stated_s
                end_s = None
                if spec.which == "first" and stated_s is not None:
                    # One sample more than a window shows whether the sound continues.
                    end_s = (spec.window_samples + 1) / spec.sample_rate_hz
                n_samples = 0
                for samples in track_blocks(track, end_s=end_s, sample_rate_hz=spec.sample_rate_hz):
                    n_samples += len(samples)
                    yield samples
                duration_s = n_samples / spec.sample_rate_hz
                if end_s is not None and n_samples > spec.window_samples:
                    duration_s = max(duration_s, stated_s or 0.0)
                found = Probe(duration_s, track.rate_hz, track.channels, track.format)
                warning = track.warning
            after = os.fstat(file.fileno())
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise NotASoundError(path, "it was changed while it was read; try again when it is complete")
        yield {
            "probe": astuple(found),
            "sha256": digest.hexdigest(),
            "size_bytes": before.st_size,
            "mtime_s": before.st_mtime_ns / 1e9,
            "warning": warning,
        }
    except REPORTED_ERRORS as error:
        yield {"error": error_fields(error, path)}


def _decode_stream(
    source: Source, start_s: float, end_s: float | None, sample_rate_hz: int, limits: Limits
) -> Iterator[Samples | AnswerPart]:
    """Blocks of the sound, then its last part."""
    try:
        yield from stream(source, start_s=start_s, end_s=end_s, sample_rate_hz=sample_rate_hz, limits=limits)
        yield {"ended": True}
    except REPORTED_ERRORS as error:
        yield {"error": error_fields(error, source_name(source))}


def _once(verb: str, source: Source, *arguments: Any) -> tuple[AnswerPart, Samples]:
    try:
        if verb == "load":
            start_s, end_s, sample_rate_hz, limits = arguments
            samples = load(source, start_s=start_s, end_s=end_s, sample_rate_hz=sample_rate_hz, limits=limits)
            return {"samples": len(samples)}, samples
        return {"samples": 0, "probe": astuple(probe(source, *arguments))}, NO_SAMPLES
    except REPORTED_ERRORS as error:
        return {"samples": 0, "error": error_fields(error, source_name(source))}, NO_SAMPLES


def error_fields(error: Exception, path: str) -> tuple[str, str, str]:
    """Type, path and reason, as in an answer."""
    if isinstance(error, SoundError):
        return type(error).__name__, error.path, error.reason
    if isinstance(error, MemoryError):
        return ExhaustedError.__name__, path, "decoding it takes more memory than is allowed"
    return NotASoundError.__name__, path, str(error)


def _allow_cpu(cpu_s: int) -> None:
    """Have the kernel end this process (SIGXCPU) if this request takes more processor time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used.ru_utime + used.ru_stime) + cpu_s + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
