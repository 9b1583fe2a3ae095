"""Search in words: how well each row of an index matches them, from the scores that were stored with it.

The match of a row is ``1 + ln(p) / 16``, where p is the probability that the words' nearest classes give it: 1 for
p = 1, 0.71 for p = 0.01, 0 from 1e-7 down. On this scale, matches of several words and similarities of sounds can be
averaged. Words with a minus count ``1 - match``, at `MINUS_WEIGHT`.

With a model of `boiler.train_words`, the match of a row is its cosine to the words in their common space; with one of
`boiler.train_pictures`, that of a picture is its cosine to the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from boiler.arrays import Float32Array
from boiler.crossmodal import text_query, word_model
from boiler.crossmodal.picture_query import SEEN_SHOWN, SeenClass, sound_classes
from boiler.crossmodal.text_query import TextQuery
from boiler.crossmodal.word_model import LOG_STEP, ClassScore
from boiler.errors import QueryError
from boiler.search.snapshot import Snapshot

MINUS_WEIGHT = 0.5
"""Of the words with a minus, beside 1 of the others."""
WORDS_SHOWN = 5
_LOG_RANGE = 255 * LOG_STEP


@dataclass(frozen=True)
class Understood:
    """How a query in words was understood: its words, and the classes of sounds that they went to, with weights; with a
    common space, the labels of its training that are nearest, with cosines.

    seen: of a picture, the most probable classes of what it shows, from which the words and the classes follow; with a
        model of pictures there are neither
    """

    text: TextQuery
    wanted: tuple[ClassScore, ...]
    unwanted: tuple[ClassScore, ...] = ()
    seen: tuple[ClassScore, ...] = ()


@dataclass(frozen=True)
class WeightedWords:
    """A seed in words, or a picture, understood.

    in_picture_space: of a picture, its vector there, if the index is searched with a model of pictures; [DIM]
    """

    understood: Understood
    weight: float
    in_picture_space: Float32Array | None = None


def understand(snapshot: Snapshot, text: str) -> Understood:
    """Raises: QueryError: the index cannot be searched in words, or `text_query.parse` refuses the text."""
    space = snapshot.spaces.words
    parsed = text_query.parse(text, any_word=space is not None and bool(space.sentence_sha256))
    if space is not None:
        wanted, away = (
            tuple(space.nearest_labels(space.of_words(words)[None])) if words else ()
            for words in (parsed.wanted, parsed.unwanted)
        )
        return Understood(parsed, wanted, away)
    model = snapshot.word_model
    unwanted = model.nearest_classes(parsed.unwanted) if parsed.unwanted else []
    return Understood(parsed, tuple(model.nearest_classes(parsed.wanted)), tuple(unwanted))


def understand_picture(snapshot: Snapshot, seen: Sequence[SeenClass]) -> Understood:
    """What sounds go with the classes that are seen in a picture, most probable first.

    Raises: QueryError: the index cannot be searched in words, or no name of a class is known.
    """
    shown = shown_classes(seen)
    words = tuple(next((one.words[0] for one in seen if one.words), ()))
    if not words:
        names = ", ".join(one.name for one in shown)
        raise QueryError(f"nothing in this picture has a name that is known: {names}")
    parsed = TextQuery(words)
    if (space := snapshot.spaces.words) is not None:
        return Understood(parsed, tuple(space.nearest_labels(space.of_words(words)[None])), seen=shown)
    return Understood(parsed, tuple(sound_classes(snapshot.word_model, seen)), seen=shown)


def shown_classes(seen: Sequence[SeenClass]) -> tuple[ClassScore, ...]:
    """The first `SEEN_SHOWN` of them, to be read."""
    return tuple(ClassScore(one.title, round(one.probability, 4)) for one in seen[:SEEN_SHOWN])


def row_similarity(
    snapshot: Snapshot, words: Sequence[WeightedWords], sounds: Float32Array | None = None, sounds_weight: float = 1.0
) -> Float32Array:
    """The weighted mean of all matches, and of the similarity to a vector. Shape: sounds [D], to [N]"""
    total = np.zeros(len(snapshot.rows), np.float32)
    weights = 0.0
    for one in words:
        for match, weight in _matches(snapshot, one):
            total += abs(weight) * (match if weight > 0 else 1 - match)
            weights += abs(weight)
    if sounds is not None:
        total += sounds_weight * (snapshot.vectors @ sounds)
        weights += sounds_weight
    return total / np.float32(weights)


def _matches(snapshot: Snapshot, one: WeightedWords) -> Iterator[tuple[Float32Array, float]]:
    """How well each row matches the parts of a seed, and the weight of each part. Shape: [N]"""
    if one.in_picture_space is not None:
        yield snapshot.rows_in_picture_space @ one.in_picture_space, one.weight
        return
    understood = one.understood
    yield _match(snapshot, understood.text.wanted, understood.wanted), one.weight
    if understood.unwanted:
        yield _match(snapshot, understood.text.unwanted, understood.unwanted), -MINUS_WEIGHT * one.weight


def _match(snapshot: Snapshot, of_text: Sequence[str], classes: Sequence[ClassScore]) -> Float32Array:
    if snapshot.spaces.words is not None:
        return np.asarray(snapshot.rows_in_word_space @ snapshot.spaces.words.of_words(of_text), np.float32)
    numbers = snapshot.word_model.numbers_of(classes)
    probabilities = word_model.query_probabilities(
        [snapshot.class_scores(number) for number in numbers], [one.score for one in classes]
    )
    return np.maximum(1 + np.log(probabilities) / np.float32(_LOG_RANGE), 0)
