"""Words as landmarks on the map of a collection: each placed where the sounds are that match it best.

Every item is counted for the one class of sounds that it matches best, so that a class which matches everything a
little marks nothing. A class becomes a landmark if enough items are its own, and if those that match it most are
close together on the map. The landmark is in the middle of where they are densest. The largest come first; a smaller
one that would overlap a larger one is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from boiler.arrays import Float32Array, Int64Array
from boiler.crossmodal.word_model import query_probabilities
from boiler.search.snapshot import Snapshot
from boiler.store import build

MAX_LANDMARKS = 36
MAX_ROWS = 200_000
"""Rows whose scores are read; of a larger index, blocks at even distances."""
LEAST_PROBABILITY = 0.15
"""Of its best class, for an item to be counted."""
LEAST_COSINE = 0.3
"""The same for a model of words."""
LEAST_ITEMS, LEAST_SHARE = 3, 0.0005
"""Items of a class, and their share of all."""
NEAREST_ITEMS = 40
"""Items that match a class most, which say where it is placed."""
RADIUS = 0.06
"""On the map, whose longer side is 1: items within this distance are together."""
LEAST_TOGETHER = 0.3
"""Share of the nearest items that must be together."""
APART = 0.025
"""Least distance of two landmarks."""


@dataclass(frozen=True, slots=True)
class Landmark:
    """A class of sounds on the map. n_items: how many items match it better than any other class"""

    name: str
    x: float
    y: float
    n_items: int


def find_landmarks(snapshot: Snapshot) -> tuple[Landmark, ...]:
    """The landmarks of an index, the largest first; none if it has no map, or cannot be searched in words."""
    points = snapshot.generation.map_points
    if points is None or not len(points) or not snapshot.has_words:
        return ()
    numbers, classes, match = _best_classes(snapshot)
    at = np.searchsorted(points["n"], numbers)
    space = snapshot.spaces.words
    if space is None:
        names = [snapshot.word_model.title(n) for n in range(len(snapshot.word_model.classes))]
    else:
        names = [" ".join(space.words_of(label)) for label in space.labels]
    counted = match >= (LEAST_PROBABILITY if space is None else LEAST_COSINE)
    xy = np.stack([points["x"], points["y"]], axis=1)[at[counted]]
    return place_landmarks(xy, classes[counted], match[counted], names)


def place_landmarks(
    xy: Float32Array, classes: Int64Array, match: Float32Array, names: Sequence[str]
) -> tuple[Landmark, ...]:
    """The landmarks of items on a map, each with the number of its class and how well it matches that.

    Shape: xy [M, 2], classes [M], match [M]
    """
    found = []
    least = max(LEAST_ITEMS, LEAST_SHARE * len(xy))
    for number in np.unique(classes).tolist():
        own = np.flatnonzero(classes == number)
        if len(own) < least:
            continue
        places = xy[own[np.argsort(-match[own], kind="stable")[:NEAREST_ITEMS]]]
        near = np.linalg.norm(places[:, None] - places[None], axis=2) <= RADIUS
        together = near[near.sum(axis=1).argmax()]
        if together.sum() >= max(LEAST_ITEMS, LEAST_TOGETHER * len(places)):
            x, y = places[together].mean(axis=0).tolist()
            found.append(Landmark(names[number], round(x, 5), round(y, 5), len(own)))
    chosen: list[Landmark] = []
    for one in sorted(found, key=lambda landmark: -landmark.n_items):
        if all(np.hypot(one.x - other.x, one.y - other.y) >= APART for other in chosen):
            chosen.append(one)
    return tuple(chosen[:MAX_LANDMARKS])


def _best_classes(snapshot: Snapshot) -> tuple[Int64Array, Int64Array, Float32Array]:
    """The number of each item, ascending, its best class, that of its best window, and how well it matches that.

    Shape: [M], [M], [M]
    """
    rows: list[Int64Array] = []
    best: list[Int64Array] = []
    match: list[Float32Array] = []
    n_rows = len(snapshot.rows)
    n_blocks = -(-n_rows // build.SCORE_ROWS)
    n_read = min(n_blocks, max(1, MAX_ROWS // build.SCORE_ROWS))
    for n in range(n_read):
        block = n * n_blocks // n_read
        own = np.arange(block * build.SCORE_ROWS, min((block + 1) * build.SCORE_ROWS, n_rows))
        rows.append(own)
        if snapshot.spaces.words is not None:
            cosines = snapshot.spaces.words.label_scores(snapshot.rows_in_word_space[own])
            best.append(cosines.argmax(axis=1))
            match.append(cosines.max(axis=1))
        else:
            assert snapshot.generation.word_scores is not None
            scores = snapshot.generation.word_scores[block][:, : len(own)]
            best.append(scores.argmax(axis=0))
            match.append(query_probabilities([scores.max(axis=0)], [1.0]))
    of_rows, classes, matches = snapshot.numbers[np.concatenate(rows)], np.concatenate(best), np.concatenate(match)
    order = np.lexsort((-matches, of_rows))
    numbers, firsts = np.unique(of_rows[order], return_index=True)
    return numbers, classes[order][firsts], matches[order][firsts]
