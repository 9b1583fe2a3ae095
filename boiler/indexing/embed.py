"""From files to vectors in the catalog: decoded in processes that may die, embedded in batches, written by one hand.

::

    pending files > hashed, where their bytes may be known > decoded > windows > batches > embedded > catalog
                             known: nothing more to do

The files come in the order of n and the batches are cut from that order, so that the same folder gives the same
batches, and the same vectors to the bit. What is in memory at a time is one batch, and what the decoders hold ready.
Each batch is one transaction: a kill loses at most the batch under way, also within a file of ten hours.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from boiler import files as files_module
from boiler.arrays import Float32Array
from boiler.audio.decoder_pool import Decoders, Done, Event, Failed, Piece
from boiler.audio.windows import Window, WindowSpec
from boiler.catalog.catalog import Catalog, Pending
from boiler.catalog.scan import Found
from boiler.errors import ExhaustedError, SoundError
from boiler.progress import Meter

Embed = Callable[[Float32Array], Float32Array]
"""[B, T] to [B, D]; `boiler.encoder.runtime`, which this file does not import, for it brings torch."""

_HASH_THREADS = 2  # reading waits for the disk, and hashing lets go of the interpreter
_HASH_AHEAD = 16
_HASHES_AT_ONCE = 1_000
_COMMIT_EVERY_S = 1.0


@dataclass
class Tally:
    """What was done, and where the time went. Seconds of the wall clock, of the one thread that drives it all: making
    or opening the encoder, waiting for decoders, embedding, writing."""

    embedded: int = 0
    reused: int = 0
    failed: int = 0
    vanished: int = 0
    windows: int = 0
    sound_s: float = 0.0
    prepare_s: float = 0.0
    decode_wait_s: float = 0.0
    embed_s: float = 0.0
    embed_processor_s: float = 0.0  # of all threads of this process: against embed_s, what others took from it
    write_s: float = 0.0

    @property
    def bottleneck(self) -> str:
        """Which of the stages the others waited for; empty where nothing was embedded."""
        if not self.windows:
            return ""
        return "decoding" if self.decode_wait_s > self.embed_s else "embedding"


@dataclass
class _Open:
    """A file whose windows are coming in."""

    c: int
    known: set[float]
    waiting: int = 0  # windows of it that are not embedded yet
    done: Done[int] | None = None


@dataclass
class Hearing:
    """One pass over the pending files of a catalog."""

    catalog: Catalog
    root: Path
    embed: Embed
    decoders: Decoders
    spec: WindowSpec
    batch_size: int
    meter: Meter
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self._open: dict[int, _Open] = {}
        self._batch: collections.deque[tuple[int, Window]] = collections.deque()
        self._pending: dict[int, Pending] = {}
        self._at_work: set[str] = set()  # hashes of files that are with the decoders
        self._tried: set[int] = set()  # files, and below hashes, that are left to the next run
        self._exhausted: set[str] = set()
        self._committed = time.monotonic()

    def run(self) -> Tally:
        """Hear all that is pending. Failures are written down and never raised."""
        while True:
            twins = self._pass()
            # The bytes of a twin were with the decoders already. When they could not be heard there for a passing
            # reason (the file vanished, say), the twin is tried itself.
            if not twins or all(pending.n not in twins for pending in self.catalog.pending()):
                return self.tally

    def _pass(self) -> set[int]:
        twins: set[int] = set()
        with (
            self.catalog.changing(),
            ThreadPoolExecutor(_HASH_THREADS) as threads,
            closing(self._events(threads, twins)) as events,
        ):
            while (event := self._next(events)) is not None:
                match event:
                    case Piece(key, windows):
                        self._take(key, windows)
                    case Done(key):
                        self._opened(key).done = event
                        self._finish(key)
                    case Failed(key, error):
                        self._failed(key, error)
                while len(self._batch) >= self.batch_size:
                    self._flush()
                if time.monotonic() - self._committed > _COMMIT_EVERY_S:
                    self._commit()
            while self._batch:
                self._flush()
        return twins

    def _events(self, threads: ThreadPoolExecutor, twins: set[int]) -> Generator[Event[int]]:
        jobs = self._jobs(threads, twins)
        return self.decoders.windows(jobs, self.spec, ordered=True)

    def _next(self, events: Iterator[Event[int]]) -> Event[int] | None:
        began = time.monotonic()
        event = next(events, None)
        self.tally.decode_wait_s += time.monotonic() - began
        return event

    def _jobs(self, threads: ThreadPoolExecutor, twins: set[int]) -> Iterator[tuple[int, Path]]:
        """The files to decode; what needs no decoding is settled on the way."""
        for pending, hashing in self._hashed_ahead(threads):
            if hashing is not None:
                try:
                    pending = replace(pending, sha256=hashing.result())
                except OSError as error:
                    self._unreadable(pending, error)
                    self.meter.step()
                    continue
            if pending.sha256 is not None:
                self.catalog.hashed(pending.n, pending.sha256)
                if pending.sha256 in self._exhausted:
                    self.meter.step()
                    continue
                if self.catalog.is_heard(pending.sha256) or pending.sha256 in self._at_work:
                    if pending.sha256 in self._at_work:
                        twins.add(pending.n)
                    self.tally.reused += 1
                    self.meter.step()
                    continue
                self._at_work.add(pending.sha256)
            self._pending[pending.n] = pending
            yield pending.n, pending.found.path(self.root)

    def _hashed_ahead(self, threads: ThreadPoolExecutor) -> Iterator[tuple[Pending, Future[str] | None]]:
        """The pending files, and the hash of those whose bytes may be known, computed while others are at work."""
        ahead: collections.deque[tuple[Pending, Future[str] | None]] = collections.deque()
        for pending in self.catalog.pending():
            if pending.n in self._tried or pending.sha256 in self._exhausted:
                continue
            in_doubt = pending.sha256 is None and self.catalog.may_be_known(pending)
            path = pending.found.path(self.root)
            ahead.append((pending, threads.submit(files_module.sha256_of, path) if in_doubt else None))
            if len(ahead) > _HASH_AHEAD:
                yield ahead.popleft()
        yield from ahead

    def _opened(self, n: int) -> _Open:
        if n not in self._open:
            self._open[n] = _Open(*self.catalog.begin(n))
        return self._open[n]

    def _take(self, n: int, windows: list[Window]) -> None:
        opened = self._opened(n)
        for window in windows:
            if window.start_s not in opened.known:
                self._batch.append((n, window))
                opened.waiting += 1

    def _flush(self) -> None:
        """Embed one batch and keep it."""
        batch = [self._batch.popleft() for _ in range(min(self.batch_size, len(self._batch)))]
        samples = np.stack([window.samples for _, window in batch])
        began, worked = time.monotonic(), time.process_time()
        vectors = self.embed(samples)
        embedded = time.monotonic()
        self.tally.embed_s += embedded - began
        self.tally.embed_processor_s += time.process_time() - worked
        self.tally.windows += len(batch)
        usable = [bool(np.isfinite(vector).all() and vector.any()) for vector in vectors]
        self.catalog.add(
            (self._open[n].c, window.start_s, window.end_s, vector)
            for (n, window), vector, good in zip(batch, vectors, usable, strict=True)
            if good and n in self._open
        )
        for (n, _), good in zip(batch, usable, strict=True):
            if not good:
                id = self._pending[n].found.id if n in self._pending else ""
                self._failed(n, SoundError(id, "the encoder gives a vector of no length, or one that is not finite"))
        for n, count in collections.Counter(n for n, _ in batch).items():
            if n in self._open:
                self._open[n].waiting -= count
                self._finish(n)
        self._commit()
        self.tally.write_s += time.monotonic() - embedded

    def _finish(self, n: int) -> None:
        """Close a file when the last of its windows is in."""
        opened = self._open[n]
        if opened.done is None or opened.waiting:
            return
        self.catalog.finish(n, opened.c, opened.done.sha256, opened.done.size_bytes, opened.done.probe)
        self.tally.embedded += 1
        self.tally.sound_s += opened.done.probe.duration_s
        self._close(n)

    def _failed(self, n: int, error: SoundError) -> None:
        if n not in self._pending:
            return
        self._batch = collections.deque(one for one in self._batch if one[0] != n)
        pending = self._pending[n]
        path = pending.found.path(self.root)
        try:
            stat = path.stat()
            if (stat.st_size, stat.st_mtime_ns) != (pending.found.size_bytes, pending.found.mtime_ns):
                self._problem(pending, "it changed while it was read: the next run takes it up")
            else:
                sha256 = pending.sha256 or files_module.sha256_of(path)
                passing = isinstance(error, ExhaustedError)
                self.catalog.fail(n, sha256, error.reason, passing=passing)
                self.tally.failed += 1
                if passing:
                    self._exhausted.add(sha256)
        except OSError as unreadable:
            self._unreadable(pending, unreadable)
        self._close(n)

    def _unreadable(self, pending: Pending, error: OSError) -> None:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            self.catalog.vanished(pending.n)
            self.tally.vanished += 1
        else:
            self._problem(pending, f"it cannot be read: {error.strerror}")

    def _problem(self, pending: Pending, reason: str) -> None:
        self.catalog.problem(pending.n, reason)
        self._tried.add(pending.n)
        self.tally.failed += 1

    def _close(self, n: int) -> None:
        self._open.pop(n, None)
        pending = self._pending.pop(n)
        if pending.sha256:
            self._at_work.discard(pending.sha256)
        self.meter.step()

    def _commit(self) -> None:
        self.catalog.commit()
        self._committed = time.monotonic()


def hashes(root: Path) -> Callable[[list[Found]], Iterator[str | None]]:
    """Reads files below `root` and gives their hashes, in order; None for one that cannot be read."""

    def one(found: Found) -> str | None:
        try:
            return files_module.sha256_of(found.path(root))
        except OSError:
            return None

    def all_of(files: list[Found]) -> Iterator[str | None]:
        with ThreadPoolExecutor(_HASH_THREADS) as threads:
            for begin in range(0, len(files), _HASHES_AT_ONCE):  # what is waiting takes memory
                yield from threads.map(one, files[begin : begin + _HASHES_AT_ONCE])

    return all_of
