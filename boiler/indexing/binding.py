"""Binds a model directory to one encoder, which is saved once and only read afterwards.

The same file embeds the sounds of an index and later the queries. The catalog records what the index is bound to
(`Binding`); another encoder, checkpoint or window length needs another model directory.
"""

from __future__ import annotations

import itertools
import json
import random
import shlex
import shutil
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from boiler import encoder, files
from boiler.arrays import Float32Array
from boiler.audio.decoder_pool import DecodedWindows, DecodeEvent, Decoders
from boiler.audio.windows import DEFAULT_WINDOWS, Which, Window, WindowSpec
from boiler.catalog.catalog import Catalog
from boiler.catalog.folder import ReadAhead, ReadyFile, SoundFolder, room_for_copies
from boiler.catalog.scan import FoundFile
from boiler.errors import BoilerError, ModelDirError
from boiler.indexing.kept_windows import KeptWindows
from boiler.model import checkpoint
from boiler.model.device import keep_freed_memory

ENCODER_FILE = ".encoder.pt"
FIT_WINDOWS_PER_FILE = 4
# Fewer are too few for statistics: the mean of one sound is the sound itself, which whitening would map to zero.
FIT_FILES_AT_LEAST = 8
KEPT_FILES = 1000
"""Of so many files that are embedded first, what is decoded while the encoder is fitted may be kept."""
GRACE_S = 0.5
"""Seconds that files which are being decoded have to finish once the encoder is fitted: stopping a worker costs a
restart."""


@dataclass(frozen=True)
class Binding:
    """The properties that must be equal for vectors to be comparable."""

    encoder: str
    checkpoint_sha256: str  # empty for an encoder that needs none
    windows: str
    hop_s: float
    sample_rate_hz: int = DEFAULT_WINDOWS.sample_rate_hz
    window_samples: int = DEFAULT_WINDOWS.window_samples

    @property
    def window_spec(self) -> WindowSpec:
        """The windows of the sounds."""
        which: Which = "first" if self.windows == "first" else "all"
        return WindowSpec(self.sample_rate_hz, self.window_samples, self.hop_s, which)

    def differences(self, other: Binding) -> list[str]:
        """Descriptions of what differs in `other`."""
        mine, theirs = asdict(self), asdict(other)
        return [f"{name}: {mine[name]} there, {theirs[name]} now" for name in mine if mine[name] != theirs[name]]


def read_binding(catalog: Catalog) -> Binding | None:
    """The binding of the catalog; None for a new one."""
    text = catalog.get("binding")
    if text is None:
        return None
    bound = Binding(**json.loads(text))
    return replace(bound, encoder=encoder.RENAMED.get(bound.encoder, bound.encoder))


def bind_catalog(catalog: Catalog, binding: Binding, *, force: bool) -> None:
    """Bind a new catalog, or check that an existing one has the same binding.

    Raises: ModelDirError: it has another binding, and `force` (which embeds everything again) is not given.
    """
    before = read_binding(catalog)
    if before == binding and not (force and _encoder_is_lost(catalog)):
        return
    if before is not None:
        if not force:
            raise ModelDirError(
                f"{catalog.path.parent} has another binding ({'; '.join(before.differences(binding))}): give another"
                " --model_dir, or --force to embed everything again here"
            )
        catalog.queue.clear()
        unbind_encoder(catalog)
    catalog.put(binding=json.dumps(asdict(binding)))


def _encoder_is_lost(catalog: Catalog) -> bool:
    try:
        return catalog.get("encoder_sha256") is not None and not restore_encoder(catalog)
    except ModelDirError:
        return True


class FitSample:
    """Batches of windows to fit an encoder on: the first few windows of files drawn at random with `seed`,
    `n_windows` in all. Each iteration decodes them again, in the same order.

    A context manager. What the first iteration decodes is kept for the embedding (`boiler.indexing.kept_windows`), and
    from its end on the files that are embedded first are decoded in the background, until the block ends, the sample is
    read again, or no more is kept.

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
        self._events: Generator[DecodeEvent[int]] | None = None  # of the first iteration
        self._first_windows: Iterator[Window] = iter(())
        self._enough = threading.Event()  # nothing more is decoded in the background
        self._ahead: threading.Thread | None = None
        self._was_read = False  # by an iteration, to its end or not

    @property
    def n_files(self) -> int:
        return len(self._files)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        if self._events is not None:
            self._events.close()

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
        self._begin()
        first = list(itertools.islice(self._first_windows, 1))
        self._first_windows = itertools.chain(first, self._first_windows)
        return bool(first)

    def _begin(self) -> Generator[DecodeEvent[int]]:
        if self._events is None:
            self._events = self._kept_events()
            self._first_windows = self._windows_of(self._events)
        return self._events

    def _windows(self) -> Generator[Window]:
        if self._was_read:
            self._stop()  # which holds the workers
            with closing(self._decoded(iter(self._files))) as again:
                yield from self._windows_of(again)
            return
        events = self._begin()
        try:
            yield from self._first_windows
        finally:
            self._was_read = True
            if self._works_ahead:
                self._ahead = threading.Thread(target=self._decode_ahead, args=(events,), daemon=True)
                self._ahead.start()
            else:
                events.close()

    def _stop(self) -> None:
        """End the work in the background."""
        self._enough.set()
        if self._ahead is not None:
            self._ahead.join()
            self._ahead = None

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
                if self._was_read:
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

    def _decode_ahead(self, events: Generator[DecodeEvent[int]]) -> None:
        """Keep further events until they end, or there is enough."""
        with closing(events), suppress(BoilerError, OSError):  # the embedding meets the same error, and reports it
            for _ in events:
                if self.kept.is_full:
                    return

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


def bind_encoder(
    catalog: Catalog,
    name: str,
    pt_path: Path | None,
    spec: WindowSpec,
    sample: FitSample,
    options: Mapping[str, Any] | None = None,
) -> Path:
    """The path of the saved encoder of the directory, which is created, and fitted to `sample`, if it does not exist.

    Raises: ModelDirError: it is missing or damaged, and there are vectors made with it.
    """
    if catalog.get("encoder_sha256") is not None:
        try:
            return restore_encoder(catalog)
        except ModelDirError:
            if catalog.n_rows():
                raise
    path = catalog.path.parent / ENCODER_FILE
    created = encoder.create(name, pt_path, **(options or {}))
    if isinstance(created, encoder.Fitted) and sample.n_files >= FIT_FILES_AT_LEAST and sample.has_sound():
        keep_freed_memory()
        created.fit(sample)
    header = {
        "encoder": name,
        "dim": created.dim,
        "sample_rate_hz": spec.sample_rate_hz,
        "window_samples": spec.window_samples,
        "hop_s": spec.hop_s,
    }
    with files.replacing(path) as aside:
        checkpoint.save_script(
            created.saved_module(),
            aside,
            header | ({"runtime": created.runtime} if created.runtime else {}),
            example=torch.rand(2, 1, spec.window_samples) if created.traced else None,
            attachments=created.attachments(),
        )
    catalog.put(encoder_sha256=files.sha256_of(path), dim=str(created.dim))
    return path


def restore_encoder(catalog: Catalog) -> Path:
    """The path of the saved encoder, restored from a published generation, which has a copy of its own, if it is
    missing or damaged.

    Raises: ModelDirError: all copies are damaged.
    """
    path, saved_sha256 = catalog.path.parent / ENCODER_FILE, catalog.get("encoder_sha256")
    if path.is_file() and saved_sha256 == files.sha256_of(path):
        return path
    for published in catalog.path.parent.glob("versions/*/encoder.pt"):
        if files.sha256_of(published) == saved_sha256:
            with files.replacing(path) as aside:
                shutil.copyfile(published, aside)
            return path
    raise ModelDirError(
        f"{path} is missing or damaged, and the vectors here were made with it: restore it (sha256 {saved_sha256}),"
        f" or embed everything again with boiler index {shlex.quote(str(path.parent))} --force, and --pt_path if it was"
        " made of a checkpoint"
    )


def unbind_encoder(catalog: Catalog) -> None:
    """Delete the saved encoder, which was fitted to a folder without any sound."""
    catalog.unset("encoder_sha256", "dim")
    (catalog.path.parent / ENCODER_FILE).unlink(missing_ok=True)
