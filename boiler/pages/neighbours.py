"""The answers to a question: of an item, of a sound brought along, of a part of either, and where likes move it to."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import streamlit as st

from boiler import engine, generation
from boiler.api.nearest import Match
from boiler.errors import QueryError
from boiler.generation import Generation
from boiler.pages import library
from boiler.pages.library import Library
from boiler.pages.question import Question

# J. J. Rocchio, Relevance feedback in information retrieval, 1971: what was asked keeps the most weight, and a dislike
# weighs less than a like, for it says only where the answer is not.
LIKED = 0.75
DISLIKED = 0.35
MOST_WINDOWS = 256

Vectors = npt.NDArray[np.float32]


def of(shelf: Library, question: Question) -> list[Match]:
    """The `question.k` nearest items, nearest first. Neither the item asked with nor a disliked one is among them.

    What was answered is remembered for a while: a click that changes nothing of the question embeds no sound again.

    Raises: QueryError, SoundError, ModelDirError: as `Nearest`.
    """
    asked = replace(question, trail=(), find="", library=None)
    return _remembered(shelf.key, shelf.nearest.generation, tuple(asked.address().items()), shelf, asked)


@st.cache_data(max_entries=500, show_spinner=False)
def _remembered(
    key: str, generation: str, address: tuple[tuple[str, str], ...], _shelf: Library, _question: Question
) -> list[Match]:
    return found(_shelf, _question)


def found(shelf: Library, question: Question) -> list[Match]:
    """The same, found now.

    Raises: as `of`.
    """
    nearest = shelf.nearest
    if question.more or question.less:
        return steered(shelf, question)
    if question.sound is not None:
        return nearest.by_sound(_file(shelf, question), question.k, start_s=_from(question), end_s=question.end_s)
    if question.item is None:
        raise QueryError("nothing is asked: choose a sound")
    if question.start_s is None:
        return nearest.by_item(question.item, question.k)
    near = nearest.by_sound(_file(shelf, question), question.k + 1, start_s=_from(question), end_s=question.end_s)
    return [match for match in near if match.n != question.item][: question.k]


def steered(shelf: Library, question: Question) -> list[Match]:
    """The answers to a question moved by likes and dislikes. With nothing asked but likes, these are what is asked.

    Raises: as `of`.
    """
    opened = _generation(str(shelf.model_dir), shelf.nearest.generation)
    liked, disliked = vectors_of(opened, question.more), vectors_of(opened, question.less)
    left_out = set(question.less)
    if question.item is None and question.sound is None:
        asked, left_out = liked, left_out | set(question.more)
    elif question.item is not None and question.start_s is None:
        asked, left_out = windows_of(opened, question.item), left_out | {question.item}
    else:
        part = shelf.nearest.embed(_file(shelf, question), start_s=_from(question), end_s=question.end_s)
        asked, left_out = np.stack([one.vector for one in part]), left_out | {question.item or -1}
    if not len(asked):
        raise QueryError("nothing is left to ask with: it is silent, or no longer in this collection")
    near = shelf.nearest.search_windows(moved(asked, liked, disliked), question.k + len(left_out))
    return [match for match in near if match.n not in left_out][: question.k]


def moved(asked: Vectors, liked: Vectors, disliked: Vectors) -> Vectors:
    """What to ask with instead. A window of which the move would leave nothing stays where it is.

    Shape: asked `[W, D]`, liked and disliked `[L, D]`, all of unit length; the answer `[W, D]`, unit length.
    """
    towards = LIKED * liked.mean(0) if len(liked) else 0.0
    away = DISLIKED * disliked.mean(0) if len(disliked) else 0.0
    target = asked + towards - away
    return engine.unit(np.where(np.linalg.norm(target, axis=1, keepdims=True) > 1e-6, target, asked))


def vectors_of(opened: Generation, numbers: Sequence[int]) -> Vectors:
    """A vector for each of these items that has one. Shape: `[L, D]`, L at most as many as were named."""
    marks = ", ".join("?" * len(numbers))
    with contextlib.closing(opened.connect()) as connection:
        sql = f"SELECT vec_row FROM items WHERE vec_row IS NOT NULL AND n IN ({marks})"  # noqa: S608  # question marks
        rows = [row[0] for row in connection.execute(sql, numbers)]
    return np.asarray(opened.item_vectors[rows], np.float32).reshape(-1, opened.header.dim)


def windows_of(opened: Generation, n: int) -> Vectors:
    """The windows of one item, at most `MOST_WINDOWS`, evenly spread. Shape: `[W, D]`, W 0 where it has none."""
    first, last = np.searchsorted(opened.rows["n"], [n, n + 1])
    count = min(last - first, MOST_WINDOWS)
    return np.asarray(opened.vectors[first + np.arange(count) * (last - first) // max(count, 1)], np.float32)


@st.cache_resource(max_entries=8, show_spinner=False)
def _generation(model_dir: str, name: str) -> Generation:
    return generation.open(model_dir)


def _file(shelf: Library, question: Question) -> Path:
    if question.sound is not None:
        return library.brought().path(library.brought().item(question.sound).n)
    return shelf.nearest.path(question.item or 0)


def _from(question: Question) -> float:
    return question.start_s or 0.0
