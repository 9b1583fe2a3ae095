"""The answers to a question: seeds and wishes as `Nearest.query` takes them, and what it answered remembered.

What has to be embedded first (a sound brought along, a part of one of the collection) is embedded once, whatever is
wished of the answers to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import streamlit as st

from boiler.audio import stream
from boiler.browser import indexes
from boiler.browser.indexes import Library
from boiler.browser.url_state import Question, Wish
from boiler.catalog.items import Item
from boiler.progress import ProgressCallback, ignore_progress
from boiler.search import filter_parser, filters, seeds
from boiler.search.filters import Filter
from boiler.search.nearest import ByItem, ByWindows, GroupLimit, Nearest, Options, QueryResult

# J. J. Rocchio, Relevance feedback in information retrieval, 1971: what was asked keeps the most weight, and a dislike
# weighs less than a like, for it says only where the answer is not. Several share the weight of one.
LIKED = 0.75
DISLIKED = 0.35
DEDUP_DISTANCE = 0.1


def of(shelf: Library, question: Question) -> QueryResult:
    """The answer, `question.k` items at most, nearest first. What was asked with, liked or disliked is not in it.

    What was answered is remembered for a while.

    Raises: QueryError, SoundError, ModelDirError: as `Nearest.query`.
    """
    asked = replace(question, trail=(), find="", library=None, why=None)
    if asked.wish.heed:  # it changes with every judgement, also with those of others
        return shelf.nearest.query(seeds_of(shelf, asked), asked.k, options(asked))
    return _remembered(shelf.key, shelf.nearest.generation, tuple(asked.address().items()), shelf, asked)


@st.cache_resource(max_entries=500, show_spinner=False)  # an answer is frozen: sessions may share it
def _remembered(
    key: str, generation: str, address: tuple[tuple[str, str], ...], _shelf: Library, _question: Question
) -> QueryResult:
    return _shelf.nearest.query(seeds_of(_shelf, _question), _question.k, options(_question))


def seeds_of(shelf: Library, question: Question) -> list[ByItem | ByWindows]:
    """What is asked with, and how much each counts.

    Raises: as `alone`.
    """
    asked: list[ByItem | ByWindows] = []
    if (asked_with := alone(shelf, question)) is not None:
        asked.append(asked_with)
    if not asked:  # likes alone are the question
        return [ByItem(n) for n in question.more] + _weighted(question.less, -DISLIKED)
    return asked + _weighted(question.more, LIKED) + _weighted(question.less, -DISLIKED)


def embeds(question: Question) -> bool:
    """Whether `alone` has to embed a sound, which may take its time, unless it did so before."""
    return question.sound is not None or (question.item is not None and question.start_s is not None)


def alone(
    shelf: Library, question: Question, on_progress: ProgressCallback = ignore_progress
) -> ByItem | ByWindows | None:
    """The sound asked with, without what was liked and disliked; None where likes alone are the question.
    `on_progress` is called with the share that is embedded.

    Raises: QueryError: a sound that is no longer kept; SoundError, ModelDirError; what `on_progress` raises.
    """
    if not embeds(question):
        return None if question.item is None else ByItem(question.item)
    if question.sound is not None:
        item = indexes.brought().item(question.sound)
        path = indexes.brought().path(item.n)
    else:
        item = shelf.nearest.item(question.item or 0)
        path = shelf.nearest.path(item.n)
    part = question.start_s or 0.0, question.end_s
    return _embedded(
        shelf.key, shelf.nearest.generation, question.sound, item.n, part, shelf.nearest, item, path, on_progress
    )


@st.cache_resource(max_entries=100, show_spinner=False)
def _embedded(
    key: str,
    generation: str,
    sound: str | None,
    n: int,
    part: tuple[float, float | None],
    _nearest: Nearest,
    _item: Item,
    _path: Path,
    _on_progress: ProgressCallback,
) -> ByWindows:
    start_s, end_s = part
    of_s = (_item.duration_s if end_s is None else end_s) - start_s
    blocks = _heard(stream.stream(_path, start_s=start_s, end_s=end_s), of_s, _on_progress)
    windows = seeds.evenly_spaced(_nearest.embed_blocks(blocks, _item.id, start_s))
    return ByWindows([one.vector for one in windows], [one.window for one in windows], _path)


def _heard(blocks: Iterable[stream.Samples], of_s: float, on_progress: ProgressCallback) -> Iterator[stream.Samples]:
    done = 0
    for block in blocks:
        on_progress(done / stream.SAMPLE_RATE_HZ / max(of_s, 0.1))
        yield block
        done += len(block)


def _weighted(numbers: tuple[int, ...], weight: float) -> list[ByItem | ByWindows]:
    return [ByItem(n, weight=weight / len(numbers)) for n in numbers]


def options(question: Question) -> Options:
    """What the answers should be like.

    Raises: QueryError: a condition that cannot be read.
    """
    wish = question.wish
    return Options(
        where=where(wish),
        without=frozenset(() if question.item is None else (question.item,)),  # a part of it does not say whose it is
        dedup_distance=DEDUP_DISTANCE if wish.fold else None,
        per_group=GroupLimit(wish.by, wish.most) if wish.most else None,
        diversity=wish.vary / 100,
        csls=wish.hubs,
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
        conditions.append(filter_parser.parse(wish.where))
    return filters.And(tuple(conditions)) if conditions else None
