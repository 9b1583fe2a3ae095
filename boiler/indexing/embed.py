"""Decodes and embeds the pending files of a catalog: decoding in worker processes, embedding and writing in this one.

::

    pending files > fetch, hash, if the bytes may be known > decode > windows > batches > embed > catalog
                    known: nothing more to do

A batch is embedded in a thread while the next one is gathered from the decoders.

Files are embedded in the order of n, in batches in that order, so the same folder gives the same batches, and vectors
that are equal to the bit. In memory are two batches, what the decoders have decoded ahead (10 MB each), and at most
256 MB of windows that were decoded while the encoder was fitted (`boiler.indexing.kept_windows`); of an address,
fetched files are on the disk until they are embedded. Each batch is one transaction: a kill loses at most two batches,
even within a file of ten hours.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from boiler.arrays import Float32Array
from boiler.audio.decoder_pool import DecodedSound, DecodedWindows, DecodeEvent, DecodeFailure, Decoders
from boiler.audio.windows import Window, WindowSpec
from boiler.catalog.catalog import Catalog
from boiler.catalog.embed_queue import PendingFile
from boiler.catalog.folder import ReadAhead, ReadyFile, SoundFolder, room_for_copies
from boiler.catalog.scan import FoundFile
from boiler.errors import ExhaustedError, SoundError
from boiler.files import sha256_of
from boiler.indexing.kept_windows import KeptWindows
from boiler.progress import Meter

Embed = Callable[[Float32Array], Float32Array]
"""[B, T] to [B, D], by `boiler.encoder.runtime`, which is not imported here because it imports torch."""

_COMMIT_EVERY_S = 1.0


@dataclass
class EmbedTally:
    """Counts, and the wall-clock seconds of the main thread for loading the encoder, waiting for decoders, waiting for
    a batch to be embedded, and writing."""

    embedded: int = 0
    reused: int = 0
    failed: int = 0
    vanished: int = 0
    windows: int = 0
    sound_s: float = 0.0
    prepare_s: float = 0.0
    decode_wait_s: float = 0.0
    embed_s: float = 0.0
    embed_processor_s: float = 0.0  # CPU time of all threads of this process while a batch is embedded
    write_s: float = 0.0

    @property
    def bottleneck(self) -> str:
        """The slowest stage; empty if nothing was embedded."""
        if not self.windows:
            return ""
        return "decoding" if self.decode_wait_s > self.embed_s else "embedding"


@dataclass
class _OpenFile:
    """A file of which some windows have been decoded."""

    c: int
    stored_start_s: set[float]
    waiting: int = 0  # decoded windows that are not embedded yet
    done: DecodedSound[int] | None = None


class _Batch(NamedTuple):
    """Windows that are being embedded, each with the number of its file, and their vectors with the CPU time taken."""

    windows: list[tuple[int, Window]]
    embedded: Future[tuple[Float32Array, float]]


@dataclass
class EmbedRun:
    """Embeds the pending files of a catalog."""

    catalog: Catalog
    folder: SoundFolder
    embed: Embed
    decoders: Decoders
    spec: WindowSpec
    batch_size: int
    meter: Meter
    tally: EmbedTally = field(default_factory=EmbedTally)
    kept: KeptWindows = field(default_factory=KeptWindows)

    def __post_init__(self) -> None:
        self._open: dict[int, _OpenFile] = {}
        self._gathered: collections.deque[tuple[int, Window]] = collections.deque()
        self._embedding: _Batch | None = None
        self._pending: dict[int, PendingFile] = {}
        self._decoding: set[str] = set()  # hashes of files that are being decoded
        self._tried: set[int] = set()  # files left for the next run; below, hashes
        self._exhausted: set[str] = set()
        self._committed = time.monotonic()

    def run(self) -> EmbedTally:
        """Embed all pending files. Failures are recorded, not raised."""
        with ThreadPoolExecutor(1) as thread:
            while True:
                duplicates = self._pass(thread)
                # A duplicate is a file whose bytes were being decoded under another name. If that failed for a passing
                # reason (the other file vanished, say), the duplicate is tried itself.
                if not duplicates or all(pending.n not in duplicates for pending in self.catalog.queue):
                    return self.tally

    def _pass(self, thread: Executor) -> set[int]:
        duplicates: set[int] = set()
        with (
            self.catalog.transaction(),
            room_for_copies(self.folder, self.catalog.path.parent) as into,
            closing(self._events(into, duplicates)) as events,
        ):
            while (event := self._next(events)) is not None:
                match event:  # without the rest of a file that failed in `_store`
                    case DecodedWindows(key, windows) if key in self._pending:
                        self._take(key, windows)
                    case DecodedSound(key) if key in self._pending:
                        self._opened(key).done = event
                        self._finish(key)
                    case DecodeFailure(key, error):
                        self._failed(key, error)
                while len(self._gathered) >= self.batch_size:
                    self._embed_batch(thread)
                if time.monotonic() - self._committed > _COMMIT_EVERY_S:
                    self._commit()
            while self._gathered:
                self._embed_batch(thread)
            self._store(*self._take_embedded())
        return duplicates

    def _events(self, into: Path, duplicates: set[int]) -> Generator[DecodeEvent[int]]:
        self._reading = ReadAhead(self.folder, into)
        with closing(self._reading.files(self._wanted())) as reading:
            yield from self.kept.windows(self.decoders, self._jobs(reading, duplicates), self.spec)

    def _next(self, events: Iterator[DecodeEvent[int]]) -> DecodeEvent[int] | None:
        began = time.monotonic()
        event = next(events, None)
        self.tally.decode_wait_s += time.monotonic() - began
        return event

    def _jobs(
        self, files: Iterator[tuple[PendingFile, ReadyFile | OSError]], duplicates: set[int]
    ) -> Iterator[tuple[int, Path]]:
        """The files to decode. Files that need no decoding are finished on the way."""
        for queued, ready in files:
            if isinstance(ready, OSError):
                self._unreadable(queued, ready)
                self.meter.step()
                continue
            pending = queued if ready.sha256 is None else replace(queued, sha256=ready.sha256)
            if pending.sha256 is not None:
                self.catalog.queue.set_hash(pending.n, pending.sha256)
                if pending.sha256 in self._exhausted:
                    self._reading.release(pending.found)
                    self.meter.step()
                    continue
                if self.catalog.queue.is_done(pending.sha256) or pending.sha256 in self._decoding:
                    if pending.sha256 in self._decoding:
                        duplicates.add(pending.n)
                    self.tally.reused += 1
                    self._reading.release(pending.found)
                    self.meter.step()
                    continue
                self._decoding.add(pending.sha256)
            self._pending[pending.n] = pending
            yield pending.n, ready.path

    def _wanted(self) -> Iterator[tuple[PendingFile, FoundFile, bool]]:
        """The pending files, and whether to hash them: those of an address always, as their bytes are at hand."""
        for pending in self.catalog.queue:
            if pending.n in self._tried or pending.sha256 in self._exhausted:
                continue
            hashed = pending.sha256 is None and (self.folder.is_remote or self.catalog.queue.may_be_duplicate(pending))
            yield pending, pending.found, hashed

    def _opened(self, n: int) -> _OpenFile:
        if n not in self._open:
            self._open[n] = _OpenFile(*self.catalog.queue.begin(n))
        return self._open[n]

    def _take(self, n: int, windows: list[Window]) -> None:
        opened = self._opened(n)
        for window in windows:
            if window.start_s not in opened.stored_start_s:
                self._gathered.append((n, window))
                opened.waiting += 1

    def _embed_batch(self, thread: Executor) -> None:
        """Begin to embed the next batch when the one before is embedded, and store that meanwhile."""
        windows = [self._gathered.popleft() for _ in range(min(self.batch_size, len(self._gathered)))]
        samples = np.stack([window.samples for _, window in windows])
        before = self._take_embedded()
        self._embedding = _Batch(windows, thread.submit(self._timed_embed, samples))
        self._store(*before)

    def _timed_embed(self, samples: Float32Array) -> tuple[Float32Array, float]:
        began = time.process_time()
        return self.embed(samples), time.process_time() - began

    def _take_embedded(self) -> tuple[list[tuple[int, Window]], Float32Array]:
        """Wait for the batch that is being embedded: its windows and their vectors; none if there is no batch."""
        batch, self._embedding = self._embedding, None
        if batch is None:
            return [], np.empty((0, 0), np.float32)
        began = time.monotonic()
        vectors, processor_s = batch.embedded.result()
        self.tally.embed_s += time.monotonic() - began
        self.tally.embed_processor_s += processor_s
        self.tally.windows += len(batch.windows)
        return batch.windows, vectors

    def _store(self, batch: list[tuple[int, Window]], vectors: Float32Array) -> None:
        """Store the vectors of embedded windows, and finish the files that are complete with them."""
        began = time.monotonic()
        usable = [bool(np.isfinite(vector).all() and vector.any()) for vector in vectors]
        self.catalog.queue.add_windows(
            (self._open[n].c, window.start_s, window.end_s, vector)
            for (n, window), vector, good in zip(batch, vectors, usable, strict=True)
            if good and n in self._open
        )
        for (n, _), good in zip(batch, usable, strict=True):
            if not good:
                id = self._pending[n].found.id if n in self._pending else ""
                self._failed(n, SoundError(id, "the encoder returned a vector that is zero or not finite"))
        for n, count in collections.Counter(n for n, _ in batch).items():
            if n in self._open:
                self._open[n].waiting -= count
                self._finish(n)
        self._commit()
        self.tally.write_s += time.monotonic() - began

    def _finish(self, n: int) -> None:
        """Finish a file once all its windows are stored."""
        opened = self._open[n]
        if opened.done is None or opened.waiting:
            return
        done = opened.done
        self.catalog.queue.finish(n, opened.c, done.sha256, done.size_bytes, done.probe, done.warning)
        self.tally.embedded += 1
        self.tally.sound_s += opened.done.probe.duration_s
        self._close(n)

    def _failed(self, n: int, error: SoundError) -> None:
        if n not in self._pending:
            return
        self._gathered = collections.deque(one for one in self._gathered if one[0] != n)
        pending = self._pending[n]
        try:
            if self.folder.size_and_time(pending.found) != (pending.found.size_bytes, pending.found.mtime_ns):
                self._problem(pending, "it changed while it was read: the next run tries again")
            else:
                sha256 = pending.sha256 or sha256_of(self.folder.get(pending.found, Path()))
                may_pass = isinstance(error, ExhaustedError)
                self.catalog.queue.fail(n, sha256, error.reason, may_pass=may_pass)
                self.tally.failed += 1
                if may_pass:
                    self._exhausted.add(sha256)
        except OSError as unreadable:
            self._unreadable(pending, unreadable)
        self._close(n)

    def _unreadable(self, pending: PendingFile, error: OSError) -> None:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            self.catalog.queue.delete_file(pending.n)
            self.tally.vanished += 1
        else:
            self._problem(pending, f"it cannot be read: {error.strerror}")

    def _problem(self, pending: PendingFile, reason: str) -> None:
        self.catalog.queue.set_problem(pending.n, reason)
        self._tried.add(pending.n)
        self.tally.failed += 1

    def _close(self, n: int) -> None:
        self._open.pop(n, None)
        pending = self._pending.pop(n)
        self._reading.release(pending.found)
        if pending.sha256:
            self._decoding.discard(pending.sha256)
        self.meter.step()

    def _commit(self) -> None:
        self.catalog.commit()
        self._committed = time.monotonic()


def file_hashes(folder: SoundFolder, beside: Path) -> Callable[[list[FoundFile]], Iterator[str | None]]:
    """A function that hashes files of a folder, in order; None for a file that cannot be read. Copies of those of an
    address are made in the folder `beside`."""

    def hash_all(files: list[FoundFile]) -> Iterator[str | None]:
        with room_for_copies(folder, beside) as into:
            reading = ReadAhead(folder, into)
            for found, ready in reading.files((found, found, True) for found in files):
                reading.release(found)
                yield None if isinstance(ready, OSError) else ready.sha256

    return hash_all
