"""The answers to a question: seeds and wishes as `Nearest.ask` takes them, and what it answered remembered."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from boiler import filter_text, filters
from boiler.api.nearest import Answer, ByItem, BySound, Options, PerGroup
from boiler.filters import Filter
from boiler.pages import library
from boiler.pages.library import Library
from boiler.pages.question import Question, Wish

# J. J. Rocchio, Relevance feedback in information retrieval, 1971: what was asked keeps the most weight, and a dislike
# weighs less than a like, for it says only where the answer is not. Several share the weight of one.
LIKED = 0.75
DISLIKED = 0.35
FOLDED_NEARER_THAN = 0.1


def of(shelf: Library, question: Question) -> Answer:
    """The answer, `question.k` items at most, nearest first. What was asked with, liked or disliked is not in it.

    What was answered is remembered for a while: a click that changes nothing of the question embeds no sound again.

    Raises: QueryError, SoundError, ModelDirError: as `Nearest.ask`.
    """
    asked = replace(question, trail=(), find="", library=None, why=None)
    if asked.wish.heed:  # it changes with every judgement, also with those of others
        return shelf.nearest.ask(seeds(asked), asked.k, options(asked))
    return _remembered(shelf.key, shelf.nearest.generation, tuple(asked.address().items()), shelf, asked)


@st.cache_resource(max_entries=500, show_spinner=False)  # an answer is frozen: sessions may share it
def _remembered(
    key: str, generation: str, address: tuple[tuple[str, str], ...], _shelf: Library, _question: Question
) -> Answer:
    return _shelf.nearest.ask(seeds(_question), _question.k, options(_question))


def seeds(question: Question) -> list[ByItem | BySound]:
    """What is asked with, and how much each counts.

    Raises: QueryError: a sound that is no longer kept.
    """
    asked: list[ByItem | BySound] = []
    if (asked_with := alone(question)) is not None:
        asked.append(asked_with)
    if not asked:  # likes alone are the question
        return [ByItem(n) for n in question.more] + _weighted(question.less, -DISLIKED)
    return asked + _weighted(question.more, LIKED) + _weighted(question.less, -DISLIKED)


def alone(question: Question) -> ByItem | BySound | None:
    """The sound asked with, without what was liked and disliked; None where likes alone are the question.

    Raises: QueryError: a sound that is no longer kept.
    """
    start_s, end_s = question.start_s or 0.0, question.end_s
    if question.sound is not None:
        brought = library.brought()
        return BySound(brought.path(brought.item(question.sound).n), start_s, end_s)
    return None if question.item is None else ByItem(question.item, start_s, end_s)


def _weighted(numbers: tuple[int, ...], weight: float) -> list[ByItem | BySound]:
    return [ByItem(n, weight=weight / len(numbers)) for n in numbers]


def options(question: Question) -> Options:
    """What the answers should be like.

    Raises: QueryError: a condition that cannot be read.
    """
    wish = question.wish
    return Options(
        where=where(wish),
        fold_nearer_than=FOLDED_NEARER_THAN if wish.fold else None,
        per_group=PerGroup(wish.by, wish.most) if wish.most else None,
        diversity=wish.vary / 100,
        set_back_hubs=wish.hubs,
        feedback=wish.heed,
    )


def where(wish: Wish) -> Filter | None:
    """All the conditions of a wish as one.

    Raises: QueryError: a condition that cannot be read.
    """
    conditions: list[Filter] = []
    if wish.label:
        conditions.append(filters.field("label") == wish.label)
    if wish.folder:
        conditions.append(filters.under(wish.folder))
    if wish.short_s:
        conditions.append(filters.field("duration_s") >= wish.short_s)
    if wish.long_s:
        conditions.append(filters.field("duration_s") <= wish.long_s)
    if wish.where:
        conditions.append(filter_text.parse(wish.where))
    return filters.And(tuple(conditions)) if conditions else None
