"""Examples decoded once and kept in a temporary file, so that later passes over them need no decoding.

A pass over TFRecord files takes some 100 microseconds for each record, most of them to parse it; from the cache, a few.
The file has no name: it disappears with the process, however that ends. It is read in blocks, not mapped, so that
memory does not grow with it; what is held for each example is its place in a hash, and its labels.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from boiler.arrays import Float32Array, Float64Array, Int64Array
from boiler.tagging.examples import ExampleSource, id_fraction
from boiler.tagging.tfrecord import LabelledExample

BLOCK = 1_024
"""Examples that are read at a time, and stay together when the order is shuffled: `read_batches` shuffles further."""


@dataclass(frozen=True)
class CachedExamples:
    """Examples in a file. Their ids are not kept; `fractions` is `id_fraction` of each.

    file: float32 [N, D]; ends: where the labels of each example end in `labels`, int64 [N]; positions: of the examples
    that count, ascending
    """

    file: BinaryIO
    dim: int
    n_classes: int
    fractions: Float64Array
    labels: Int64Array
    ends: Int64Array
    positions: Int64Array

    def between(self, low: float, high: float) -> CachedExamples:
        """Those with a fraction from `low` to below `high`."""
        chosen = self.fractions[self.positions]
        return replace(self, positions=self.positions[(chosen >= low) & (chosen < high)])

    def examples(self, rng: np.random.Generator | None = None) -> Iterator[LabelledExample]:
        """Every example; with `rng` in a random order of blocks."""
        n_blocks = -(-len(self.fractions) // BLOCK)
        for block in range(n_blocks) if rng is None else rng.permutation(n_blocks).tolist():
            first, last = np.searchsorted(self.positions, (block * BLOCK, (block + 1) * BLOCK))
            features = self._read(block)
            for at in self.positions[first:last].tolist():
                labels = self.labels[self.ends[at - 1] if at else 0 : self.ends[at]]
                yield LabelledExample("", features[at - block * BLOCK], labels)

    def _read(self, block: int) -> Float32Array:
        n = min(BLOCK, len(self.fractions) - block * BLOCK)
        data = os.pread(self.file.fileno(), 4 * n * self.dim, 4 * block * BLOCK * self.dim)
        return np.frombuffer(data, np.float32).reshape(n, self.dim)


@contextmanager
def cached(source: ExampleSource, folder: Path, seed: int) -> Iterator[CachedExamples]:
    """Context manager: all examples of a source, read once. They can be read until it exits.

    Arguments:
        folder: on a disk with room for 4 bytes for each feature of each example
        seed: of `id_fraction`

    Raises: OSError: there is no room; what reading the source raises.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        fractions, labels, ends = array("d"), array("q"), array("q")  # which grow without objects for each number
        for example in source.examples():
            file.write(np.ascontiguousarray(example.features, np.float32).data)
            fractions.append(id_fraction(example.id, seed))
            labels.extend(example.labels.tolist())
            ends.append(len(labels))
        file.flush()
        yield CachedExamples(
            file,
            source.dim,
            source.n_classes,
            np.array(fractions, np.float64),
            np.array(labels, np.int64),
            np.array(ends, np.int64),
            np.arange(len(fractions)),
        )
