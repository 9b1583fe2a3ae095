"""The labelled items of an index, as arrays that can be ranked.

Items without a label are left out, because it is unknown whether they would be correct answers. Items without rows
(silent sounds) are left out, because a search cannot find them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from boiler.arrays import BoolArray, Float32Array, Int64Array
from boiler.catalog.items import Item, item_of
from boiler.errors import CorpusError
from boiler.evaluation.ground_truth import GroundTruth
from boiler.evaluation.ranking import Collection
from boiler.store import generation
from boiler.store.generation import Generation


@dataclass(frozen=True)
class LabelledIndex:
    """N items with their labels and vectors.

    generation: the index
    truth: labels, folds and groups of the N items
    collection: their vectors
    first_rows: [N], the first row of each item in the index
    n_items: how many items of the index have rows, labelled or not
    wav_dir: the folder that was indexed, None if it is not on this machine
    """

    generation: Generation
    items: Sequence[Item]
    truth: GroundTruth
    collection: Collection
    first_rows: Int64Array
    n_items: int
    wav_dir: Path | None

    @property
    def ids(self) -> list[str]:
        return [item.id for item in self.items]

    @property
    def labels(self) -> Int64Array | BoolArray:
        """Labels for `ranking.score_queries`. Shape: class indices [N], or a tag matrix [N, L] if multi-label"""
        return self.truth.tag_matrix() if self.truth.multilabel else self.truth.class_indices()

    def paths(self) -> list[Path] | None:
        """Paths of the sounds; None if any of them is missing."""
        if self.wav_dir is None:
            return None
        found = [item.path(self.wav_dir) for item in self.items]
        return found if all(path.is_file() for path in found) else None


def open_labelled(
    model_dir: Path, wav_dir: Path | None, label: Callable[[Sequence[Item], Path | None], GroundTruth]
) -> LabelledIndex:
    """Open the current generation and label its items.

    Arguments:
        wav_dir: the folder that was indexed, if it has moved.
        label: called with the items and the folder they were indexed from (None if that is not on this machine);
            returns their labels.

    Raises: ModelDirError: no index there, or a damaged one. CorpusError: no item has rows. Whatever `label` raises.
    """
    opened = generation.open(model_dir)
    with opened.items() as database:
        rows, meta = database.records(), database.meta()
    if not rows:
        raise CorpusError(f"{model_dir} has no searchable sound: index a folder of sounds that are not silent")
    items = [item_of(row) for row in rows]
    folder = wav_dir or (Path(meta["wav_dir"]) if meta.get("wav_dir") else None)
    if wav_dir is None and folder is not None and not folder.is_dir():
        folder = None
    truth = label(items, folder)
    kept = np.flatnonzero(truth.is_labelled)
    first = np.array([row["first_row"] for row in rows], np.int64)[kept]
    counts = np.array([row["n_rows"] for row in rows], np.int64)[kept]
    vectors = np.ascontiguousarray(opened.item_vectors[kept])
    windows = np.ascontiguousarray(opened.vectors[_ranges(first, counts)])
    return LabelledIndex(
        generation=opened,
        items=[items[number] for number in kept],
        truth=truth.select(kept.tolist()),
        collection=item_collection(vectors, windows, counts),
        first_rows=first,
        n_items=len(items),
        wav_dir=folder,
    )


def item_collection(vectors: Float32Array, windows: Float32Array, counts: Int64Array) -> Collection:
    """A collection of items and their windows, `counts` of each. If every item has one window, only the vectors are
    ranked.

    Shape: vectors [N, D], windows [W, D], counts [N]
    """
    if (counts == 1).all():
        return Collection(vectors)
    return Collection(vectors, None, windows, np.concatenate([[0], np.cumsum(counts)[:-1]]))


def with_groups(collection: Collection, groups: Int64Array) -> Collection:
    """The same collection; items of one group are excluded from each other's answers. Shape: groups [N]"""
    return replace(collection, groups=groups)


def _ranges(first: Int64Array, counts: Int64Array) -> Int64Array:
    """The ranges `first[i]` to `first[i] + counts[i]`, concatenated."""
    ends = np.cumsum(counts)
    return np.asarray(np.arange(int(ends[-1])) + np.repeat(first - ends + counts, counts), np.int64)


def baseline_collection(labelled: LabelledIndex, paths: Sequence[Path], advance: Callable[[int], None]) -> Collection:
    """The same items, embedded by MFCC statistics.

    Raises: SoundError: a sound cannot be read, or has become silent since it was indexed.
    """
    from boiler.evaluation import baseline  # imports torch, which the rest does not need

    spec = baseline.baseline_windows(labelled.generation.header.window_spec)
    windows, counts = baseline.embed_sounds(paths, spec, advance=advance)
    means = np.add.reduceat(windows, np.concatenate([[0], np.cumsum(counts)[:-1]]), axis=0)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return item_collection(means, windows, counts)
