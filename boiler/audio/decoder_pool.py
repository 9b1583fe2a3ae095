"""Decoding in processes that may die: one bad file (a crash, a hang, a bomb) loses only itself.

A worker (`boiler.audio.decode_worker`) is a bare Python that imports numpy, PyAV and soxr, and nothing of the process that started
it: no torch, no main module. Its memory and processor time are limited before it opens anything. It answers half a
minute of sound at a time, and is asked for the next answer when the one before is taken: a ten-hour file streams
through it, and memory stays flat on both sides.

    >>> with Decoders(workers=2) as decoders:  # doctest: +SKIP
    ...     for event in decoders.windows([(7, "bird.ogg"), (8, "notes.txt")]):
    ...         match event:
    ...             case Piece(key, windows): ...  # some windows of it, silent ones left out
    ...             case Done(key, probe, sha256): ...  # it is complete
    ...             case Failed(key, error): ...  # throw its pieces away

Why this is no process pool: a task of one cannot stream, and its workers import the parent's main module, which for
`python -m boiler.index` is torch (pebble, which outlives a crash as this does, is built on the same start-up).
"""

from __future__ import annotations

import os
import queue
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, islice
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any, BinaryIO, ClassVar, Generic, NamedTuple, Self, TypeAlias, TypeVar

import numpy as np

from boiler.audio.stream import Limits, Probe, Samples, Source, name_of, sample_range
from boiler.audio.windows import DEFAULT_WINDOWS, SAMPLE_RATE_HZ, Window, WindowCutter, WindowSpec
from boiler.audio.worker_process import Lost, Process
from boiler.errors import ExhaustedError, NotASoundError, SoundError, SoundLimitError

Key = TypeVar("Key")
Path: TypeAlias = str | os.PathLike[str]

FILES_A_REQUEST = 16  # of short sounds; an answer ends where it holds half a minute of sound
WINDOWS_A_PIECE = 32  # 16 MB, however short the hop


@dataclass(frozen=True, slots=True)
class Piece(Generic[Key]):
    """Windows of a sound, in their order, each [window_samples]; at most WINDOWS_A_PIECE. Silent ones are left out."""

    key: Key
    windows: list[Window]


@dataclass(frozen=True, slots=True)
class Done(Generic[Key]):
    """A sound is complete. `sha256`, `size_bytes` and `mtime_s` are those of the very bytes that were decoded.

    `probe.duration_s` is measured; only for a long sound of which the first window was asked it is what the container
    states. `silent`: no window of it is above silence, so no piece came.
    """

    key: Key
    probe: Probe
    sha256: str
    size_bytes: int
    mtime_s: float
    silent: bool


@dataclass(frozen=True, slots=True)
class Failed(Generic[Key]):
    """A sound cannot be used, for the reason in `error`. Pieces of it that came before are to be thrown away."""

    key: Key
    error: SoundError


Event: TypeAlias = Piece[Key] | Done[Key] | Failed[Key]


KINDS = {kind.__name__: kind for kind in (SoundError, NotASoundError, SoundLimitError, ExhaustedError)}


def _error(told: list[str]) -> SoundError:
    kind, path, reason = told
    return KINDS[kind](path, reason)


class _Job(Generic[Key]):
    """A sound on its way through a worker."""

    def __init__(self, turn: int, key: Key, path: str, cutter: WindowCutter) -> None:
        self.turn = turn
        self.key = key
        self.path = path
        self._cutter = cutter
        self._silent = True

    def events(self, part: dict[str, Any], samples: Samples) -> Iterator[Event[Key]]:
        """What a part of an answer means for whoever iterates."""
        if "error" in part:
            yield Failed(self.key, _error(part["error"]))
            return
        ended = "probe" in part
        windows = chain(self._cutter.push(samples), self._cutter.end() if ended else ())
        sounding = (window for window in windows if not window.silent)
        while piece := list(islice(sounding, WINDOWS_A_PIECE)):
            self._silent = False
            yield Piece(self.key, piece)
        if ended:
            probe = Probe(*part["probe"])
            yield Done(self.key, probe, part["sha256"], part["size_bytes"], part["mtime_s"], self._silent)


class _Part(NamedTuple):
    """A part of an answer that has not been handed over yet."""

    job: _Job[Any]
    said: dict[str, Any]
    samples: Samples

    @property
    def last(self) -> bool:
        return "error" in self.said or "probe" in self.said


class _Lane:
    """A worker, the sounds given to it, and what it answered."""

    def __init__(self, worker: Process, jobs: Iterator[_Job[Any]], spec: WindowSpec, limits: Limits) -> None:
        self.worker = worker
        self.answered: deque[_Part] = deque()
        self._jobs = jobs
        self._spec = spec
        self._limits = limits
        self._given: deque[_Job[Any]] = deque()
        self._in_the_middle = False  # of the first of those given
        self._one_by_one = 0  # so many of those given are suspects: one of them took the worker along

    def ask(self) -> None:
        """Give it work, when there is any."""
        if self._in_the_middle:
            self.worker.ask("more")
            return
        if not self._given:
            self._given.extend(islice(self._jobs, FILES_A_REQUEST))
        n_files = 1 if self._one_by_one else len(self._given)
        if n_files:
            paths = [job.path for job in islice(self._given, n_files)]
            self.worker.ask("files", paths, self._spec, self._limits)

    def take(self) -> None:
        """Its answer, or what its death means."""
        alone = self._in_the_middle or self._one_by_one or len(self._given) == 1
        try:
            parts, samples = self.worker.take()
        except Lost as lost:
            if not alone:
                self._one_by_one = len(self._given)
                return
            job = self._given[0]
            parts = [{"samples": 0, "error": (lost.kind.__name__, job.path, lost.reason)}]
            samples = np.empty(0, np.float32)
        begin = 0
        for said in parts:
            end = begin + said["samples"]
            part = _Part(self._given[0], said, samples[begin:end])
            begin = end
            self.answered.append(part)
            self._in_the_middle = not part.last
            if part.last:
                self._given.popleft()
                self._one_by_one = max(0, self._one_by_one - 1)


class Decoders:
    """Workers that decode. A context manager; `close` ends them.

    `workers`: processes. `timeout_s`: for one answer, whatever it hangs in (a sound that goes on takes many).
    `memory_bytes`: of address space for each. `limits`: of each sound.
    """

    MODULE: ClassVar[str] = "boiler.audio.decode_worker"
    """What runs in the processes."""

    def __init__(
        self,
        workers: int = 2,
        *,
        timeout_s: float = 60.0,
        memory_bytes: int = 2 * 2**30,
        limits: Limits | None = None,
    ) -> None:
        if workers < 1:
            raise ValueError(f"at least one worker is needed, not {workers}")
        self.limits = limits or Limits()
        self._workers = [Process(timeout_s, memory_bytes, self.MODULE) for _ in range(workers)]
        self._free: queue.SimpleQueue[Process] = queue.SimpleQueue()
        for worker in self._workers:
            self._free.put(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """Of the processes that are running."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    def start(self) -> None:
        """Start the workers now rather than with the first request; does not wait for them."""
        with self._taken(len(self._workers)) as workers:
            for worker in workers:
                worker.start()

    def close(self) -> None:
        """End the workers. A later request starts them again."""
        for worker in self._workers:
            worker.stop()

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
        """`boiler.audio.stream.stream` in a worker, which is an answer ahead. Close it to stop before the end.

        Raises: as `boiler.audio.stream.stream`.
        """
        sample_range(start_s, end_s, sample_rate_hz)  # now, not at the first block
        return self._pieces(source, (start_s, end_s, sample_rate_hz, limits or self.limits))

    def _pieces(self, source: Source, arguments: tuple[Any, ...]) -> Generator[Samples]:
        name = name_of(source)
        with self._taken(1) as (worker,):
            worker.ask("stream", _given(source), *arguments)
            while worker.asked:
                said, samples = _only(worker, name)
                if "ended" not in said:
                    worker.ask("more")
                if samples.size:
                    yield samples

    def probe(self, source: Source, *, limits: Limits | None = None) -> Probe:
        """`boiler.audio.stream.probe` in a worker. Raises: as `boiler.audio.stream.probe`."""
        return Probe(*self._once("probe", source, (limits or self.limits,))[0]["probe"])

    def windows(
        self, jobs: Iterable[tuple[Key, Path]], spec: WindowSpec = DEFAULT_WINDOWS, *, ordered: bool = False
    ) -> Generator[Event[Key]]:
        """Decode files and cut them into windows, in all workers that are free.

        For each key: any number of `Piece`, then one `Done` or `Failed`. `ordered`: all of one key before the next, in
        the order of `jobs`; otherwise as it comes, sounds mixed. `jobs` is read as work is given out, and each worker
        is at most two answers (of half a minute of sound, or 16 files) ahead of whoever iterates. Close it to stop
        before the end.

        Raises: BoilerError: a worker does not even start.
        """
        numbered = enumerate(jobs)
        queued = (_Job(turn, key, os.fspath(path), WindowCutter(spec)) for turn, (key, path) in numbered)
        return self._windows(queued, spec, ordered)

    def _windows(self, jobs: Iterator[_Job[Key]], spec: WindowSpec, ordered: bool) -> Generator[Event[Key]]:
        turn = 0
        with self._taken(len(self._workers)) as workers:
            lanes = [_Lane(worker, jobs, spec, self.limits) for worker in workers]
            while True:
                waiting = any(lane.answered for lane in lanes)
                for lane in lanes:
                    # Asked before its answer is handed over, so that it works while that is made use of. Not when it
                    # has to wait for its turn anyway: that is what bounds what is held here.
                    if not lane.worker.asked and (
                        not lane.answered or lane.answered[0].job.turn == turn or not ordered
                    ):
                        lane.ask()
                for lane in lanes:
                    while lane.answered and (not ordered or lane.answered[0].job.turn == turn):
                        job, said, samples = part = lane.answered.popleft()
                        turn += part.last
                        yield from job.events(said, samples)
                asked = [lane for lane in lanes if lane.worker.asked]
                if not asked and not waiting:  # all of them were offered work, and there was none
                    return
                _await([lane.worker for lane in asked])
                for lane in asked:
                    if lane.worker.due:
                        lane.take()

    def _once(self, verb: str, source: Source, arguments: tuple[Any, ...]) -> tuple[dict[str, Any], Samples]:
        with self._taken(1) as (worker,):
            worker.ask(verb, _given(source), *arguments)
            return _only(worker, name_of(source))

    @contextmanager
    def _taken(self, at_most: int) -> Iterator[list[Process]]:
        """So many workers for oneself: one is waited for, others only taken when they are free."""
        workers = [self._free.get()]
        with suppress(queue.Empty):
            while len(workers) < at_most:
                workers.append(self._free.get_nowait())
        try:
            yield workers
        finally:
            for worker in workers:
                if worker.asked:  # left in the middle of something
                    worker.stop()
                self._free.put(worker)


def _await(workers: list[Process]) -> None:
    """Until one of them has answered, has died, or is overdue."""
    left_s = min((worker.left_s for worker in workers), default=0.0)
    wait([worker.connection for worker in workers if worker.connection], max(0.0, left_s))


def _given(source: Source) -> str | bytes:
    """As it is sent to a worker."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    return source if isinstance(source, bytes) else _read(source)


def _only(worker: Process, name: str) -> tuple[dict[str, Any], Samples]:
    """The one part of its answer. Raises: SoundError: it cannot be read, or the worker died of it."""
    try:
        (said,), samples = worker.take()
    except Lost as lost:
        raise lost.kind(name, lost.reason) from None
    if "error" in said:
        error = _error(said["error"])
        raise type(error)(name, error.reason)
    return said, samples


def _read(file: BinaryIO) -> bytes:
    if file.seekable():
        file.seek(0)
    return file.read()
