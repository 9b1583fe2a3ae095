"""Decodes sounds in worker processes: a file that crashes, hangs or exhausts its decoder affects no other file.

A worker (`boiler.audio.decode_worker`) is a plain Python process that imports numpy, PyAV and soxr, and nothing of the
parent: no torch, no main module. Its memory and CPU time are limited. An answer has at most half a minute of sound, and
the next one is requested when the previous one is received, so a ten-hour file is streamed in constant memory on both
sides.

    >>> with Decoders(workers=2) as decoders:  # doctest: +SKIP
    ...     for event in decoders.windows([(7, "bird.ogg"), (8, "notes.txt")]):
    ...         match event:
    ...             case DecodedWindows(key, windows): ...  # some of its windows, without silent ones
    ...             case DecodedSound(key, probe, sha256): ...  # it is complete
    ...             case DecodeFailure(key, error): ...  # discard its windows

A standard process pool is not suitable: its tasks cannot stream, and its workers import the parent's main module, which
imports torch for `python -m boiler.index` (pebble, which survives crashes, too, starts workers in the same way).
"""

from __future__ import annotations

import itertools
import math
import os
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing.connection import wait
from typing import Any, BinaryIO, ClassVar, Generic, NamedTuple, TypeAlias, TypeVar

import numpy as np

from boiler.audio.sent_file import SentFile
from boiler.audio.stream import Limits, Probe, Samples, Source, sample_range, source_name
from boiler.audio.windows import DEFAULT_WINDOWS, SAMPLE_RATE_HZ, Window, WindowCutter, WindowSpec
from boiler.audio.worker_pool import WorkerPool
from boiler.audio.worker_process import WorkerLost, WorkerProcess
from boiler.errors import ExhaustedError, NotASoundError, SoundError, SoundLimitError

Key = TypeVar("Key")
Path: TypeAlias = str | os.PathLike[str]

FILES_PER_REQUEST = 16  # short sounds; an answer is full with half a minute of sound
AHEAD_SAMPLES, AHEAD_REQUESTS = 2**21, 4  # of a worker, decoded before it is their turn: 8 MB, or 64 short sounds
STOP_EVERY_S = 0.1  # how often `enough` of `Decoders.windows` is looked at
MAX_WINDOWS = 32  # of a `DecodedWindows`: 16 MB, however short the hop


@dataclass(frozen=True, slots=True)
class DecodedWindows(Generic[Key]):
    """Windows of a sound in order, each [window_samples], at most MAX_WINDOWS. Silent ones are left out."""

    key: Key
    windows: list[Window]


@dataclass(frozen=True, slots=True)
class DecodedSound(Generic[Key]):
    """A sound is complete. `sha256`, `size_bytes` and `mtime_s` are of the bytes that were decoded.

    `probe.duration_s` is measured, except where only the first window of a longer sound was decoded: there it is what
    the container states. `silent`: all windows are silent, so there were no `DecodedWindows`. `warning`: what could not
    be decoded of it, in words; empty for nearly all sounds.
    """

    key: Key
    probe: Probe
    sha256: str
    size_bytes: int
    mtime_s: float
    silent: bool
    warning: str = ""


@dataclass(frozen=True, slots=True)
class DecodeFailure(Generic[Key]):
    """A sound could not be decoded to its end, for the reason in `error`. Discard the windows that came before."""

    key: Key
    error: SoundError


DecodeEvent: TypeAlias = DecodedWindows[Key] | DecodedSound[Key] | DecodeFailure[Key]

ERROR_TYPES = {kind.__name__: kind for kind in (SoundError, NotASoundError, SoundLimitError, ExhaustedError)}


def _error(fields: list[str]) -> SoundError:
    """The error whose `error_fields` are these."""
    kind, path, reason = fields
    return ERROR_TYPES[kind](path, reason)


class _DecodeJob(Generic[Key]):
    """A sound that is being decoded."""

    def __init__(self, turn: int, key: Key, path: str, cutter: WindowCutter) -> None:
        self.turn = turn
        self.key = key
        self.path = path
        self._cutter = cutter
        self._silent = True

    def events(self, part: dict[str, Any], samples: Samples) -> Iterator[DecodeEvent[Key]]:
        """The events of one part of an answer."""
        if "error" in part:
            yield DecodeFailure(self.key, _error(part["error"]))
            return
        ended = "probe" in part
        windows = chain(self._cutter.push(samples), self._cutter.end() if ended else ())
        audible = (window for window in windows if not window.silent)
        while some := list(islice(audible, MAX_WINDOWS)):
            self._silent = False
            yield DecodedWindows(self.key, some)
        if ended:
            probe, of_bytes = Probe(*part["probe"]), (part["sha256"], part["size_bytes"], part["mtime_s"])
            yield DecodedSound(self.key, probe, *of_bytes, self._silent, part["warning"])


class _PendingPart(NamedTuple):
    """A part of an answer whose events are not yielded yet."""

    job: _DecodeJob[Any]
    fields: dict[str, Any]
    samples: Samples

    @property
    def last(self) -> bool:
        return "error" in self.fields or "probe" in self.fields


class _Lane:
    """A worker with its jobs and its answers."""

    def __init__(
        self,
        worker: WorkerProcess,
        jobs: Iterator[_DecodeJob[Any]],
        spec: WindowSpec,
        limits: Limits,
        files_per_request: int,
    ) -> None:
        self.worker = worker
        self.answered: deque[_PendingPart] = deque()
        self._jobs = jobs
        self._spec = spec
        self._limits = limits
        self._files_per_request = files_per_request
        self._sent: deque[_DecodeJob[Any]] = deque()
        self._in_the_middle = False  # the first job sent is not finished
        self._n_suspects = 0  # jobs to send one at a time, because one of them killed the worker

    @property
    def is_far_ahead(self) -> bool:
        """Whether so much has been decoded before its turn that no more is requested."""
        held = sum(len(part.samples) for part in self.answered)
        return held >= AHEAD_SAMPLES or len(self.answered) >= AHEAD_REQUESTS * self._files_per_request

    def send(self) -> None:
        """Send the next request, if there is work."""
        if self._in_the_middle:
            self.worker.send("more")
            return
        if not self._sent:
            self._sent.extend(islice(self._jobs, self._files_per_request))
        n_files = 1 if self._n_suspects else len(self._sent)
        if n_files:
            sources = [SentFile(job.path) for job in islice(self._sent, n_files)]
            self.worker.send("files", sources, self._spec, self._limits)

    def receive(self) -> None:
        """Receive its answer. If the worker died, fail the job that it was working on, or mark its jobs as suspects."""
        alone = self._in_the_middle or self._n_suspects or len(self._sent) == 1
        try:
            parts, samples = self.worker.receive()
        except WorkerLost as lost:
            if not alone:
                self._n_suspects = len(self._sent)
                return
            job = self._sent[0]
            parts = [{"samples": 0, "error": (lost.kind.__name__, job.path, lost.reason)}]
            samples = np.empty(0, np.float32)
        begin = 0
        for fields in parts:
            end = begin + fields["samples"]
            part = _PendingPart(self._sent[0], fields, samples[begin:end])
            begin = end
            self.answered.append(part)
            self._in_the_middle = not part.last
            if part.last:
                self._sent.popleft()
                self._n_suspects = max(0, self._n_suspects - 1)


class Decoders(WorkerPool):
    """Worker processes that decode. A context manager; `close` ends them. Safe to call from several threads.

    Arguments:
        workers: processes; they start with the first request
        timeout_s: for one answer (a long sound takes many)
        memory_bytes: of address space for each process
        limits: of each sound
        files_per_request: most of a request of `windows`, so that short sounds take fewer requests
    """

    MODULE: ClassVar[str] = "boiler.audio.decode_worker"

    def __init__(
        self,
        workers: int = 2,
        *,
        timeout_s: float = 60.0,
        memory_bytes: int = 2 * 2**30,
        limits: Limits | None = None,
        files_per_request: int = FILES_PER_REQUEST,
    ) -> None:
        super().__init__(workers, timeout_s, memory_bytes)
        self.limits = limits or Limits()
        self._files_per_request = files_per_request

    def start(self) -> None:
        """Start the workers now, not with the first request; does not wait until they have started."""
        with self._acquired(len(self._workers)) as workers:
            for worker in workers:
                worker.start()

    def load(
        self,
        source: Source,
        *,
        start_s: float = 0.0,
        end_s: float | None = None,
        sample_rate_hz: int = SAMPLE_RATE_HZ,
        limits: Limits | None = None,
    ) -> Samples:
        """`boiler.audio.stream.load` in a worker; any thread may call it, and waits for a free worker.

        Raises: as `boiler.audio.stream.load`.
        """
        sample_range(start_s, end_s, sample_rate_hz)
        return self._once("load", source, (start_s, end_s, sample_rate_hz, limits or self.limits))[1]

    def stream(
        self,
        source: Source,
        *,
        start_s: float = 0.0,
        end_s: float | None = None,
        sample_rate_hz: int = SAMPLE_RATE_HZ,
        limits: Limits | None = None,
    ) -> Generator[Samples]:
        """`boiler.audio.stream.stream` in a worker, which decodes one answer ahead. Close the generator to stop early.

        Raises: as `boiler.audio.stream.stream`.
        """
        sample_range(start_s, end_s, sample_rate_hz)  # raises now, not at the first block
        return self._stream(source, (start_s, end_s, sample_rate_hz, limits or self.limits))

    def _stream(self, source: Source, arguments: tuple[Any, ...]) -> Generator[Samples]:
        name = source_name(source)
        with self._acquired(1) as (worker,):
            worker.send("stream", _sendable(source), *arguments)
            while worker.busy:
                fields, samples = _only_part(worker, name)
                if "ended" not in fields:
                    worker.send("more")
                if samples.size:
                    yield samples

    def probe(self, source: Source, *, limits: Limits | None = None) -> Probe:
        """`boiler.audio.stream.probe` in a worker. Raises: as `boiler.audio.stream.probe`."""
        return Probe(*self._once("probe", source, (limits or self.limits,))[0]["probe"])

    def windows(
        self,
        jobs: Iterable[tuple[Key, Path]],
        spec: WindowSpec = DEFAULT_WINDOWS,
        *,
        ordered: bool = False,
        enough: threading.Event | None = None,
        grace_s: float = 0.0,
    ) -> Generator[DecodeEvent[Key]]:
        """Decode files and cut them into windows, in all free workers.

        For each key: any number of `DecodedWindows`, then one `DecodedSound` or `DecodeFailure`. `ordered`: all events
        of one key before those of the next, in the order of `jobs`; otherwise as they come, sounds interleaved. `jobs`
        is iterated as work is sent. Each worker is at most two answers (of half a minute of sound, or 16 files) ahead
        of the caller; `ordered`: where other sounds have their turn first, `AHEAD_SAMPLES` or `AHEAD_REQUESTS`, and an
        answer. Close the generator to stop early. `enough`: once another thread has set it, no further jobs are sent,
        and the events end `grace_s` seconds later at the latest, within a file if need be.

        Raises: BoilerError: a worker does not start.
        """
        numbered = enumerate(jobs)
        queued = (_DecodeJob(turn, key, os.fspath(path), WindowCutter(spec)) for turn, (key, path) in numbered)
        return self._windows(queued, spec, ordered, enough, grace_s)

    def _windows(
        self,
        jobs: Iterator[_DecodeJob[Key]],
        spec: WindowSpec,
        ordered: bool,
        enough: threading.Event | None,
        grace_s: float,
    ) -> Generator[DecodeEvent[Key]]:
        turn, ends_at, look_every_s = 0, math.inf, math.inf
        if enough is not None:
            jobs = itertools.takewhile(lambda _: not enough.is_set(), jobs)
            look_every_s = STOP_EVERY_S
        with self._acquired(len(self._workers)) as workers:
            lanes = [_Lane(worker, jobs, spec, self.limits, self._files_per_request) for worker in workers]
            while True:
                if enough is not None and enough.is_set():
                    ends_at = min(ends_at, time.monotonic() + grace_s)
                    if time.monotonic() > ends_at:
                        return
                waiting = any(lane.answered for lane in lanes)
                for lane in lanes:
                    # The next request is sent before the answer is yielded, so that the worker decodes meanwhile, but
                    # of what is not its turn only so much, which limits memory.
                    may_send = not ordered or not lane.is_far_ahead or lane.answered[0].job.turn == turn
                    if may_send and not lane.worker.busy:
                        lane.send()
                for lane in lanes:
                    while lane.answered and (not ordered or lane.answered[0].job.turn == turn):
                        job, fields, samples = part = lane.answered.popleft()
                        turn += part.last
                        yield from job.events(fields, samples)
                busy = [lane for lane in lanes if lane.worker.busy]
                if not busy and not waiting:  # no jobs are left
                    return
                _wait_for_any([lane.worker for lane in busy], look_every_s)
                for lane in busy:
                    if lane.worker.has_answer:
                        lane.receive()

    def _once(self, verb: str, source: Source, arguments: tuple[Any, ...]) -> tuple[dict[str, Any], Samples]:
        with self._acquired(1) as (worker,):
            worker.send(verb, _sendable(source), *arguments)
            return _only_part(worker, source_name(source))


def _wait_for_any(workers: list[WorkerProcess], at_most_s: float) -> None:
    """Wait until one of them has answered, has died, or is overdue, or for `at_most_s` seconds."""
    remaining_s = min(at_most_s, min((worker.remaining_s for worker in workers), default=0.0))
    wait([worker.connection for worker in workers if worker.connection], max(0.0, remaining_s))


def _sendable(source: Source) -> SentFile | bytes:
    """A source as it is sent to a worker: a file to open, or bytes."""
    if isinstance(source, str | os.PathLike):
        return SentFile(os.fspath(source))
    return source if isinstance(source, bytes) else _read(source)


def _only_part(worker: WorkerProcess, name: str) -> tuple[dict[str, Any], Samples]:
    """The only part of its answer. Raises: SoundError: the sound cannot be decoded, or the worker died."""
    try:
        (fields,), samples = worker.receive()
    except WorkerLost as lost:
        raise lost.kind(name, lost.reason) from None
    if "error" in fields:
        error = _error(fields["error"])
        raise type(error)(name, error.reason)
    return fields, samples


def _read(file: BinaryIO) -> bytes:
    if file.seekable():
        file.seek(0)
    return file.read()
