"""What runs in a decoding process: it reads sounds on request, and may die of one. Its other end is `boiler.audio.decoder_pool`.

Whoever takes over this process through a hole in a decoder must not get further. So its answers are numbers and plain
text (JSON, then raw float32), never pickles. Requests are pickled: they come from the process that started this one.

A request is `(verb, *arguments)`:

* `("files", paths, spec, limits)`: sounds one after another, cut as `WindowSpec` says, until an answer is full.
* `("stream", source, start_s, end_s, sample_rate_hz, limits)`: a sound or a part of it, as far as it fits an answer.
* `("more",)`: go on with the sound that did not fit the answer before.
* `("load", source, start_s, end_s, sample_rate_hz, limits)` and `("probe", source, limits)`, source being a path or bytes.

An answer is a list of parts, one for each sound touched, in the order asked, and the samples of all of them in one
piece: `samples`, how many of them are its; and, when it is over with it, either `error` (kind, reason) or `probe`,
`sha256`, `size_bytes`, `mtime_s`; after `stream`, `ended`.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import astuple
from multiprocessing.connection import Connection
from typing import Any, Protocol, TypeAlias

import numpy as np

from boiler.audio.container import name_of, opened, readable
from boiler.audio.stream import Limits, Probe, Samples, Source, blocks_of, load, probe, stream
from boiler.audio.windows import SAMPLE_RATE_HZ, WindowSpec
from boiler.errors import ExhaustedError, NotASoundError, SoundError

Part: TypeAlias = dict[str, Any]

# An answer is sent when it holds this much sound (half a minute at 16 kHz, 2 MB), or after this much time: a slow file
# is not a hanging one.
ANSWER_SAMPLES = 32 * SAMPLE_RATE_HZ
ANSWER_AFTER_S = 2.0
HASH_BYTES = 2**20
NOTHING = np.empty(0, np.float32)
REFUSED = (SoundError, MemoryError, OSError)


def serve(handle: int, memory_bytes: int, cpu_s: int, desk: Answers | None = None) -> None:
    """Answer what is asked over the socket `handle` until it is closed. `desk`: who answers, if not a `Desk`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    with suppress(ValueError, OSError):  # not every system has this limit
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    connection = Connection(handle)
    desk = desk or Desk()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        connection.send_bytes(b"ready")
        while True:
            request = connection.recv()
            _allow_cpu(cpu_s)
            parts, samples = desk.answer(*request)
            connection.send_bytes(json.dumps(parts).encode())
            if samples.size:
                connection.send_bytes(samples.data.cast("B"))


class Answers(Protocol):
    """Who answers requests."""

    def answer(self, verb: str, *arguments: Any) -> tuple[list[Part], Samples]:
        """The parts, and the samples of all of them. Shape: [T]."""


class Desk:
    """Answers requests; remembers the sound that it is in the middle of."""

    def __init__(self) -> None:
        self._open: Iterator[Samples | Part] | None = None

    def answer(self, verb: str, *arguments: Any) -> tuple[list[Part], Samples]:
        """The parts, and the samples of all of them. Shape: [T]."""
        parts: list[Part] = []
        blocks: list[Samples] = []
        until = time.monotonic() + ANSWER_AFTER_S
        if verb == "files":
            paths, spec, limits = arguments
            for path in paths:
                self._open = _sound(path, spec, limits)
                parts.append(self._draw(blocks, until))
                if self._open is not None or _full(blocks, until):
                    break
        elif verb == "stream":
            self._open = _stream(*arguments)
            parts.append(self._draw(blocks, until))
        elif verb == "more":
            parts.append(self._draw(blocks, until))
        else:
            part, samples = _once(verb, *arguments)
            return [part], samples
        return parts, np.concatenate(blocks) if blocks else NOTHING

    def _draw(self, blocks: list[Samples], until: float) -> Part:
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


def _sound(path: str, spec: WindowSpec, limits: Limits) -> Iterator[Samples | Part]:
    """Blocks of the sound (empty ones where it only takes time), then what there is to say of it."""
    try:
        with readable(path) as file:
            before = os.fstat(file.fileno())
            digest = hashlib.sha256()
            while block := file.read(HASH_BYTES):
                digest.update(block)
                yield NOTHING
            with opened(file, limits) as track:
                stated_s = track.stated_s
                end_s = None
                if spec.which == "first" and stated_s is not None:
                    # One sample more than a window tells whether there is more.
                    end_s = (spec.window_samples + 1) / spec.sample_rate_hz
                n_samples = 0
                for samples in blocks_of(track, end_s=end_s, sample_rate_hz=spec.sample_rate_hz):
                    n_samples += len(samples)
                    yield samples
                duration_s = n_samples / spec.sample_rate_hz
                if end_s is not None and n_samples > spec.window_samples:
                    duration_s = max(duration_s, stated_s or 0.0)
                said = Probe(duration_s, track.rate_hz, track.channels, track.format)
            after = os.fstat(file.fileno())
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise NotASoundError(path, "it was changed while it was read; try again when it is complete")
        yield {
            "probe": astuple(said),
            "sha256": digest.hexdigest(),
            "size_bytes": before.st_size,
            "mtime_s": before.st_mtime_ns / 1e9,
        }
    except REFUSED as error:
        yield {"error": told(error, path)}


def _stream(
    source: Source, start_s: float, end_s: float | None, sample_rate_hz: int, limits: Limits
) -> Iterator[Samples | Part]:
    """Blocks of the sound, then that it has ended."""
    try:
        yield from stream(source, start_s=start_s, end_s=end_s, sample_rate_hz=sample_rate_hz, limits=limits)
        yield {"ended": True}
    except REFUSED as error:
        yield {"error": told(error, name_of(source))}


def _once(verb: str, source: Source, *arguments: Any) -> tuple[Part, Samples]:
    try:
        if verb == "load":
            start_s, end_s, sample_rate_hz, limits = arguments
            samples = load(source, start_s=start_s, end_s=end_s, sample_rate_hz=sample_rate_hz, limits=limits)
            return {"samples": len(samples)}, samples
        return {"samples": 0, "probe": astuple(probe(source, *arguments))}, NOTHING
    except REFUSED as error:
        return {"samples": 0, "error": told(error, name_of(source))}, NOTHING


def told(error: Exception, path: str) -> tuple[str, str, str]:
    """Kind, path and reason, as an answer tells them."""
    if isinstance(error, SoundError):
        return type(error).__name__, error.path, error.reason
    if isinstance(error, MemoryError):
        return ExhaustedError.__name__, path, "decoding it takes more memory than is allowed"
    return NotASoundError.__name__, path, str(error)


def _allow_cpu(cpu_s: int) -> None:
    """The kernel ends this process (SIGXCPU) when this request takes more processor time, whatever it hangs in."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used.ru_utime + used.ru_stime) + cpu_s + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
