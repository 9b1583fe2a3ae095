"""The sample of a folder's windows that an encoder is fitted to, decoded once for fitting and embedding."""

from __future__ import annotations

import itertools
import queue
import random
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch

from boiler.arrays import Float32Array
from boiler.audio.decoder_pool import DecodedWindows, DecodeEvent, Decoders
from boiler.audio.windows import Window, WindowSpec
from boiler.catalog.catalog import Catalog
from boiler.catalog.folder import ReadAhead, ReadyFile, SoundFolder, room_for_copies
from boiler.catalog.scan import FoundFile
from boiler.errors import BoilerError
from boiler.indexing.kept_windows import KeptWindows

FIT_WINDOWS_PER_FILE = 4
KEPT_FILES = 1000
"""Of so many files that are embedded first, what is decoded while the encoder is fitted may be kept."""
AHEAD_WINDOWS = 64
"""Windows that are decoded before they are read: those of the seconds in which an encoder is made and compiled."""
LOOK_EVERY_S = 0.1
"""How often the threads look whether the other one has stopped."""
GRACE_S = 0.5
"""Seconds that files which are being decoded have to finish once the encoder is fitted: stopping a worker costs a
restart."""


class FitSample:
    """Batches of windows to fit an encoder on: the first few windows of files drawn at random with `seed`,
    `n_windows` in all. Each iteration decodes them again, in the same order.

    A context manager. The first iteration is decoded in the background from `start` on, at most `AHEAD_WINDOWS` ahead.
    What is decoded for it is kept for the embedding (`boiler.indexing.kept_windows`), and behind the sample the files
    that are embedded first are decoded, until the block ends, the sample is read again, or no more is kept.

    Shape: float32 [B, 1, T], the last batch shorter.
    """

    def __init__(
        self,
        catalog: Catalog,
        folder: SoundFolder,
        decoders: Decoders,
        *,
        spec: WindowSpec,
        batch_size: int,
        n_windows: int,
        seed: int,
        keeps: bool = True,
    ) -> None:
        """keeps: whether what is decoded is kept, and more is decoded in the background"""
        numbers = [pending.n for pending in catalog.queue]  # not the paths of all: there may be millions
        drawn = random.Random(seed).sample(numbers, min(n_windows, len(numbers)))
        chosen = set(drawn)
        found = {one.n: one.found for one in catalog.queue if one.n in chosen}
        self._files = [(n, found[n]) for n in drawn]
        self._folder, self._beside = folder, catalog.path.parent
        self._decoders, self._spec = decoders, spec
        self._batch_size, self._n_windows = batch_size, n_windows
        self.kept = KeptWindows()
        self._works_ahead = (
            keeps and bool(drawn) and not folder.is_remote
        )  # from an address they would be fetched twice
        most = KEPT_FILES if self._works_ahead else 0
        self._next_files = {one.n: one.found for one in itertools.islice(catalog.queue, most)}
        self._decoding: threading.Thread | None = None  # for the first iteration, and of what is embedded first
        self._waiting: queue.Queue[Window | BaseException | None] = queue.Queue(AHEAD_WINDOWS)  # None: that is all
        self._first_windows = self._taken()
        self._is_complete = False  # all windows of the first iteration are decoded
        self._was_read = False  # the first iteration has ended, by itself or with the block: nothing is waited for
        self._enough = threading.Event()  # nothing more is decoded in the background

    @property
    def n_files(self) -> int:
        return len(self._files)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def start(self) -> None:
        """Begin to decode the first iteration, unless it has begun."""
        if self._decoding is None:
            decoding = threading.Thread(target=self._decode_first, daemon=True)
            decoding.start()
            self._decoding = decoding

    def __iter__(self) -> Iterator[torch.Tensor]:
        batch: list[Float32Array] = []
        with closing(self._windows()) as windows:
            for window in itertools.islice(windows, self._n_windows):
                batch.append(window.samples)
                if len(batch) == self._batch_size:
                    yield _tensor(np.stack(batch))
                    batch.clear()
        if batch:
            yield _tensor(np.stack(batch))

    def has_sound(self) -> bool:
        """Whether any of the files has a window that is not silent."""
        if self._was_read:
            return next(iter(self), None) is not None
        self.start()
        first = list(itertools.islice(self._first_windows, 1))
        self._first_windows = itertools.chain(first, self._first_windows)
        return bool(first)

    def _windows(self) -> Generator[Window]:
        if self._was_read:
            self._stop()  # which holds the workers
            with closing(self._decoded(iter(self._files))) as again:
                yield from self._windows_of(again)
            return
        self.start()
        try:
            yield from self._first_windows
        finally:
            self._was_read = True
            if not self._works_ahead:
                self._enough.set()
            with suppress(queue.Empty):  # what is left need not stay in memory
                while True:
                    self._waiting.get_nowait()

    def _stop(self) -> None:
        """End the work in the background."""
        self._was_read = True
        self._enough.set()
        if self._decoding is not None:
            self._decoding.join()

    def _decode_first(self) -> None:
        """Decode the windows of the first iteration, then keep further events until they end, or there is enough."""
        try:
            with closing(self._kept_events()) as events:
                for window in itertools.islice(self._windows_of(events), self._n_windows):
                    self._put(window)
                self._is_complete = True
                self._put(None)
                if self._works_ahead:
                    for _ in events:
                        if self.kept.is_full:
                            return
        except BaseException as error:
            is_told = not self._is_complete and self._put(error)
            # Of a file, or of starting a decoder: the embedding meets it, too, and reports it.
            if not is_told and not isinstance(error, BoilerError | OSError):
                raise

    def _put(self, item: Window | BaseException | None) -> bool:
        """Wait until the first iteration has room for it; whether it had."""
        while not self._was_read:
            with suppress(queue.Full):
                self._waiting.put(item, timeout=LOOK_EVERY_S)
                return True
        return False

    def _taken(self) -> Iterator[Window]:
        """The windows of the first iteration, as they are decoded."""
        while True:
            try:
                item = self._waiting.get(timeout=LOOK_EVERY_S)
            except queue.Empty:
                if self._was_read:
                    return
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def _windows_of(self, events: Iterator[DecodeEvent[int]]) -> Iterator[Window]:
        """The windows of the sample's files, which come first."""
        left = {n: FIT_WINDOWS_PER_FILE for n, _ in self._files}
        for event in events:
            if event.key not in left:
                return
            if isinstance(event, DecodedWindows):
                windows = event.windows[: left[event.key]]
                left[event.key] -= len(windows)
                yield from windows

    def _kept_events(self) -> Generator[DecodeEvent[int]]:
        """The events of the sample, then those of the files that are embedded first."""

        def wanted() -> Iterator[tuple[int, FoundFile]]:
            given: set[int] = set()
            for n, found in self._files:
                if self._is_complete or self._was_read:
                    break
                given.add(n)
                yield n, found
            for n, found in self._next_files.items():
                if self.kept.is_full:
                    return
                if n not in given:
                    yield n, found

        with closing(self._decoded(wanted(), self._enough)) as events:
            yield from self.kept.keeping(events, self._next_files) if self._works_ahead else events

    def _decoded(
        self, wanted: Iterator[tuple[int, FoundFile]], enough: threading.Event | None = None
    ) -> Generator[DecodeEvent[int]]:
        found: dict[int, FoundFile] = {}

        def noted() -> Iterator[tuple[int, FoundFile, bool]]:
            for n, file in wanted:
                found[n] = file
                yield n, file, False

        with room_for_copies(self._folder, self._beside) as into:
            reading = ReadAhead(self._folder, into)
            with (
                closing(reading.files(noted())) as ready,
                closing(
                    self._decoders.windows(_paths(ready), self._spec, ordered=True, enough=enough, grace_s=GRACE_S)
                ) as events,
            ):
                for event in events:
                    if not isinstance(event, DecodedWindows):
                        reading.release(found.pop(event.key))
                    yield event


def _paths(files: Iterator[tuple[int, ReadyFile | OSError]]) -> Iterator[tuple[int, Path]]:
    """Those that can be read; the run reports the others."""
    return ((n, ready.path) for n, ready in files if not isinstance(ready, OSError))


def _tensor(samples: Float32Array) -> torch.Tensor:
    """[B, T] to [B, 1, T]."""
    return torch.from_numpy(samples).unsqueeze(1)
