"""The labelled part of an index, as arrays that can be ranked: what an evaluation is about.

Items without a label are left out altogether: whether they would be right answers is not known. Items without rows
(silent ones) are not searched, so they are not here either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from boiler.arrays import BoolArray, Float32Array, Int64Array
from boiler.catalog.items import Item, item_of
from boiler.errors import CorpusError
from boiler.evaluation.ground_truth import Truth
from boiler.evaluation.ranking import Collection
from boiler.store import generation
from boiler.store.generation import Generation


@dataclass(frozen=True)
class Labelled:
    """N items with their labels and vectors.

    `first_rows` [N]: the first row of each in the index. `n_items`: how many items of the index can be found at all.
    `wav_dir`: the folder that was indexed, None when it is not here.
    """

    opened: Generation
    items: Sequence[Item]
    truth: Truth
    collection: Collection
    first_rows: Int64Array
    n_items: int
    wav_dir: Path | None

    @property
    def ids(self) -> list[str]:
        return [item.id for item in self.items]

    @property
    def labels(self) -> Int64Array | BoolArray:
        """As `ranking.score` takes them. Shape: [N], or [N, L] for several labels an item"""
        return self.truth.tags() if self.truth.several else self.truth.numbers()

    def paths(self) -> list[Path] | None:
        """Where the sounds lie; None when any of them is not there."""
        if self.wav_dir is None:
            return None
        found = [item.path(self.wav_dir) for item in self.items]
        return found if all(path.is_file() for path in found) else None


def open(model_dir: Path, wav_dir: Path | None, find: Callable[[Sequence[Item], Path | None], Truth]) -> Labelled:
    """Open the current generation and label its items. `find` is given the items and the folder they were indexed from
    (None when it is not here); `wav_dir`: where that folder lies now.

    Raises: ModelDirError: no index there, or a damaged one; what `find` raises; CorpusError: nothing to find.
    """
    opened = generation.open(model_dir)
    with opened.items() as database:
        rows, meta = database.records(), database.meta()
    if not rows:
        raise CorpusError(f"{model_dir} holds no sound that can be found: index a folder that has some")
    items = [item_of(row) for row in rows]
    place = wav_dir or (Path(meta["wav_dir"]) if meta.get("wav_dir") else None)
    if wav_dir is None and place is not None and not place.is_dir():
        place = None
    truth = find(items, place)
    kept = np.flatnonzero(truth.known)
    first = np.array([row["first_row"] for row in rows], np.int64)[kept]
    counts = np.array([row["n_rows"] for row in rows], np.int64)[kept]
    vectors = np.ascontiguousarray(opened.item_vectors[kept])
    windows = np.ascontiguousarray(opened.vectors[_ranges(first, counts)])
    return Labelled(
        opened=opened,
        items=[items[number] for number in kept],
        truth=truth.only(kept.tolist()),
        collection=collected(vectors, windows, counts),
        first_rows=first,
        n_items=len(items),
        wav_dir=place,
    )


def collected(vectors: Float32Array, windows: Float32Array, counts: Int64Array) -> Collection:
    """Items and their windows, `counts` of each. Where each has one, that is all there is to rank."""
    if (counts == 1).all():
        return Collection(vectors)
    return Collection(vectors, None, windows, np.concatenate([[0], np.cumsum(counts)[:-1]]))


def grouped(collection: Collection, groups: Int64Array) -> Collection:
    """The same, with who must not answer for whom."""
    return replace(collection, groups=groups)


def _ranges(first: Int64Array, counts: Int64Array) -> Int64Array:
    """The numbers `first` to `first + counts` of each, one after the other."""
    ends = np.cumsum(counts)
    return np.asarray(np.arange(int(ends[-1])) + np.repeat(first - ends + counts, counts), np.int64)


def floor(labelled: Labelled, paths: Sequence[Path], step: Callable[[int], None]) -> Collection:
    """The same items by their MFCC statistics.

    Raises: SoundError: a sound cannot be read, or is silent that was not when it was indexed.
    """
    from boiler.evaluation import baseline  # brings torch, which the rest does without

    spec = baseline.windows_like(labelled.opened.header.window_spec)
    windows, counts = baseline.vectors_of(paths, spec, step=step)
    means = np.add.reduceat(windows, np.concatenate([[0], np.cumsum(counts)[:-1]]), axis=0)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return collected(means, windows, counts)
