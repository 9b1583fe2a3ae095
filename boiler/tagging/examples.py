"""Labelled examples from TFRecord files or from arrays, split, shuffled and cut into batches.

Examples are read one after the other and never held all at once, so memory is flat in their number. For an epoch the
files are read in random order, several at a time, and the examples are shuffled in blocks of `SHUFFLE_BLOCK`. The order
follows from the seed and the number of the epoch alone, so a run that was stopped continues where it was.
"""

from __future__ import annotations

import glob
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import xxhash

from boiler.arrays import Float32Array, Int64Array
from boiler.errors import CorpusError
from boiler.tagging.tfrecord import (
    Damage,
    FeatureSpec,
    LabelledExample,
    NotAnExampleError,
    OnDamage,
    labelled_example,
    parse_example,
    read_records,
)

SHUFFLE_BLOCK = 16_384
"""75 MB of YouTube-8M's features."""
_OPEN_FILES = 8
_BATCHES_AHEAD = 4


class ExampleBatch(NamedTuple):
    """B examples: their features, float32 [B, D], and P labels as pairs of a row of these and a class, both int64 [P],
    in the order of rows."""

    ids: list[str]
    features: Float32Array
    rows: Int64Array
    classes: Int64Array


class ExampleSource(Protocol):
    """Labelled examples that can be read again and again."""

    @property
    def dim(self) -> int:
        """The number of features, D."""
        ...

    @property
    def n_classes(self) -> int:
        """The number of tags, C."""
        ...

    def examples(self, rng: np.random.Generator | None = None) -> Iterator[LabelledExample]:
        """Every example; with `rng` in a random order."""
        ...


@dataclass(frozen=True)
class ArrayExamples:
    """Examples in memory. features: float32 [N, D]; labels: the classes of each, int64 [n]; groups: examples of one
    group are not to be separated, by default each is its own"""

    ids: Sequence[str]
    features: Float32Array
    labels: Sequence[Int64Array]
    n_classes: int
    groups: Sequence[str] = ()

    @property
    def dim(self) -> int:
        return int(self.features.shape[1])

    def examples(self, rng: np.random.Generator | None = None) -> Iterator[LabelledExample]:
        order = np.arange(len(self.ids)) if rng is None else rng.permutation(len(self.ids))
        for at in order.tolist():
            yield LabelledExample(self.ids[at], self.features[at], self.labels[at])

    def at(self, positions: Int64Array) -> ArrayExamples:
        """Those at these positions."""
        chosen = positions.tolist()
        return ArrayExamples(
            [self.ids[at] for at in chosen],
            self.features[positions],
            [self.labels[at] for at in chosen],
            self.n_classes,
        )


@dataclass
class DamageLog:
    """Collects the records that were left out, each once although every epoch meets it again, and passes each on."""

    on_new: Callable[[Damage], object] = lambda damage: None
    _seen: set[tuple[Path, int]] = field(default_factory=set)

    def __call__(self, damage: Damage) -> None:
        if (place := (damage.path, damage.number)) not in self._seen:
            self._seen.add(place)
            self.on_new(damage)

    def __len__(self) -> int:
        return len(self._seen)


def find_files(patterns: Iterable[str]) -> list[Path]:
    """The files that match these globs, in the order of their names.

    Raises: CorpusError: a pattern matches none.
    """
    found: set[Path] = set()
    for pattern in patterns:
        matches = [Path(name) for name in glob.glob(str(Path(pattern).expanduser()), recursive=True)]  # noqa: PTH207  # a pattern may be absolute
        matches = [path for path in matches if path.is_file()]
        if not matches:
            raise CorpusError(f"no file matches {pattern}")
        found.update(matches)
    return sorted(found)


@dataclass(frozen=True)
class TFRecordExamples:
    """The examples of TFRecord files. Records that cannot be used are passed to `on_damage` and left out.

    Raises, when read: CorpusError: a file cannot be opened.
    """

    paths: Sequence[Path]
    specs: Sequence[FeatureSpec]
    n_classes: int
    on_damage: OnDamage

    @property
    def dim(self) -> int:
        return sum(spec.size for spec in self.specs)

    def examples(self, rng: np.random.Generator | None = None) -> Iterator[LabelledExample]:
        if rng is None:
            for path in self.paths:
                yield from self._read(path)
            return
        waiting = deque(self.paths[at] for at in rng.permutation(len(self.paths)).tolist())
        being_read = [self._read(waiting.popleft()) for _ in range(min(_OPEN_FILES, len(waiting)))]
        while being_read:
            for position in range(len(being_read) - 1, -1, -1):
                example = next(being_read[position], None)
                if example is not None:
                    yield example
                elif waiting:
                    being_read[position] = self._read(waiting.popleft())
                else:
                    del being_read[position]

    def _read(self, path: Path) -> Iterator[LabelledExample]:
        try:
            for record in read_records(path, self.on_damage):
                try:
                    yield labelled_example(parse_example(record.data), self.specs, self.n_classes)
                except NotAnExampleError as error:
                    self.on_damage(Damage(path, record.number, record.offset, str(error)))
        except OSError as error:
            raise CorpusError(f"{path} cannot be read: {error.strerror}") from error


@dataclass(frozen=True)
class HashPart:
    """The examples of `source` whose id hashes to a fraction from `low` to below `high`. So an example is always in the
    same part, in whatever order and file it comes, and so are two examples of the same id."""

    source: ExampleSource
    low: float
    high: float
    seed: int = 0

    @property
    def dim(self) -> int:
        return self.source.dim

    @property
    def n_classes(self) -> int:
        return self.source.n_classes

    def examples(self, rng: np.random.Generator | None = None) -> Iterator[LabelledExample]:
        for example in self.source.examples(rng):
            if self.low <= id_fraction(example.id, self.seed) < self.high:
                yield example


def id_fraction(id: str, seed: int = 0) -> float:
    """A number from 0 to below 1, uniform over ids.

    >>> round(id_fraction("a"), 3) == round(id_fraction("a"), 3), 0 <= id_fraction("b") < 1
    (True, True)
    """
    return xxhash.xxh3_64_intdigest(id.encode(), seed) / 2**64


def read_batches(
    source: ExampleSource, batch_size: int, *, seed: int | None = None, epoch: int = 0
) -> Iterator[ExampleBatch]:
    """The examples in batches; with `seed` shuffled, differently in each epoch. Only the last batch may be smaller."""
    rng = None if seed is None else np.random.default_rng([seed, epoch])
    block_size = batch_size if rng is None else max(SHUFFLE_BLOCK // batch_size, 1) * batch_size
    examples = source.examples(rng)
    block = np.empty((block_size, source.dim), np.float32)
    while True:
        ids, labels = list[str](), list[Int64Array]()
        for example in examples:
            block[len(ids)] = example.features
            ids.append(example.id)
            labels.append(example.labels)
            if len(ids) == block_size:
                break
        order = np.arange(len(ids)) if rng is None else rng.permutation(len(ids))
        for begin in range(0, len(ids), batch_size):
            chosen = order[begin : begin + batch_size]
            yield _batch(chosen, ids, block, labels)
        if len(ids) < block_size:
            return


def _batch(
    chosen: Int64Array, ids: Sequence[str], features: Float32Array, labels: Sequence[Int64Array]
) -> ExampleBatch:
    picked = chosen.tolist()
    of_each = [labels[at] for at in picked]
    rows = np.repeat(np.arange(len(picked)), [len(one) for one in of_each])
    classes = np.concatenate(of_each) if of_each else np.zeros(0, np.int64)
    return ExampleBatch([ids[at] for at in picked], features[chosen], rows, classes)


def read_ahead(batches: Iterator[ExampleBatch]) -> Generator[ExampleBatch]:
    """The same batches, read by a thread while the caller works on earlier ones. The thread ends with the iteration."""
    ready: queue.Queue[ExampleBatch | BaseException | None] = queue.Queue(_BATCHES_AHEAD)
    stopped = threading.Event()

    def put(item: ExampleBatch | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def read() -> None:
        try:
            for batch in batches:
                put(batch)
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:  # raised again by the caller
            put(error)

    thread = threading.Thread(target=read, name="read examples", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()
