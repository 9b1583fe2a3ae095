"""Tags of items and of other sounds: those of the index's tag model, and those that people gave, which win.

The tags of items are stored in the index; `tags_of_vectors` runs the model, which each generation has a copy of.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from boiler import engine
from boiler.arrays import Float32Array
from boiler.catalog.items import Item
from boiler.errors import QueryError
from boiler.search.snapshot import Snapshot
from boiler.store import build
from boiler.tagging.model import TagModel


class SoundTag(NamedTuple):
    """A tag of a sound.

    probability: of the model, None if it does not know the tag or finds it less probable than 1 %; by_hand: what a
    person said, None if nobody did; has: what counts: by_hand, else whether the probability reaches the threshold
    """

    tag: str
    probability: float | None
    by_hand: bool | None
    has: bool


class TagCount(NamedTuple):
    """How many items have a tag. threshold: the probability from which on the model's tag counts"""

    tag: str
    n_items: int
    threshold: float | None


class TagModels:
    """The tag model of an index, loaded when it is first needed. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._name = ""
        self._model: TagModel | None = None

    def of(self, snapshot: Snapshot) -> TagModel | None:
        """The model of this generation; None if it has none.

        Raises: DamagedIndexError: its bytes have changed.
        """
        with self._lock:
            if self._name != snapshot.name:
                self._model = None
                if has_tag_model(snapshot):
                    snapshot.generation.verify(build.TAG_MODEL)
                    self._model = TagModel.load(snapshot.generation.path / build.TAG_MODEL)
                self._name = snapshot.name
            return self._model


def has_tag_model(snapshot: Snapshot) -> bool:
    """Whether this generation has a tag model."""
    return build.TAG_MODEL in snapshot.generation.files


def tags_of_item(item: Item, by_hand: Mapping[str, bool], model: TagModel | None) -> list[SoundTag]:
    """The tags of an item: those of the model, and those by hand; what it has first, the most probable first."""
    thresholds = _thresholds(model)
    return _sorted(
        [_sound_tag(tag, item.tags.get(tag), by_hand.get(tag), thresholds) for tag in {*item.tags, *by_hand}]
    )


class PredictedTags(NamedTuple):
    """The tags of a sound by a model. tags: the most probable ones, most probable first; n_predicted: how many of all
    tags reach their threshold"""

    tags: list[SoundTag]
    n_predicted: int


def tags_of_vectors(vectors: Float32Array, model: TagModel | None, k: int) -> PredictedTags:
    """The k most probable tags of a sound, from the vectors of its windows. Shape: vectors [W, D]

    Raises: QueryError: the index has no tag model.
    """
    if model is None:
        raise QueryError("this index has no tag model: train one with boiler train_tags, and use it with boiler tag")
    mean = engine.normalize(np.asarray(vectors, np.float32).sum(axis=0, keepdims=True))
    probabilities = model.probabilities(mean)[0]
    tags = [SoundTag(one.tag, one.probability, None, one.predicted) for one in model.top(probabilities, k)]
    return PredictedTags(tags, int((probabilities >= model.thresholds).sum()))


def tag_counts(snapshot: Snapshot, model: TagModel | None) -> list[TagCount]:
    """Every tag that an item of the index has, the most frequent first. Tags by hand are those at publication."""
    thresholds = _thresholds(model)
    counts: dict[str, int] = {}
    for tags, by_hand in snapshot.items.tags():
        for tag in {*tags, *by_hand}:
            if _sound_tag(tag, tags.get(tag), by_hand.get(tag), thresholds).has:
                counts[tag] = counts.get(tag, 0) + 1
    found = [TagCount(tag, n_items, thresholds.get(tag)) for tag, n_items in counts.items()]
    return sorted(found, key=lambda one: (-one.n_items, one.tag))


def _thresholds(model: TagModel | None) -> dict[str, float]:
    return {} if model is None else dict(zip(model.tags, model.thresholds.tolist(), strict=True))


def _sound_tag(tag: str, probability: float | None, by_hand: bool | None, thresholds: Mapping[str, float]) -> SoundTag:
    predicted = probability is not None and probability >= thresholds.get(tag, 0.5)
    return SoundTag(tag, probability, by_hand, predicted if by_hand is None else by_hand)


def _sorted(tags: list[SoundTag]) -> list[SoundTag]:
    return sorted(tags, key=lambda one: (not one.has, one.by_hand is None, -(one.probability or 0.0), one.tag))
