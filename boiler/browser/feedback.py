"""Likes and dislikes: they steer the answers through the address, and are kept with the index for later.

What steers stands in the address, so a link shows the same list, whoever judged what since. What is kept
(`Nearest.add_feedback`) counts where it is asked for: by "Heed what was liked and disliked before".
"""

from __future__ import annotations

import streamlit as st

from boiler.browser import results
from boiler.browser.indexes import Library
from boiler.browser.url_state import Question
from boiler.errors import BoilerError

KEPT = "judged"  # in the session: the numbers of what it judged, by index, what was asked with, and item
STEPS = "judgements"  # in the session: what was judged, in order, to be undone


def judge(shelf: Library, question: Question, n: int, *, like: bool) -> Question:
    """Like or dislike an answer, or take that back; the question that it leads to."""
    standing = n in (question.more if like else question.less)
    turned = question.like(n) if like else question.dislike(n)
    steps: list[tuple[str, int, bool]] = st.session_state.setdefault(STEPS, [])
    steps.append((shelf.key, n, like))
    try:
        _keep(shelf, question, n, like=None if standing else like)
    except BoilerError as error:
        st.toast(f"It steers this list, but could not be kept for later: {error}", icon=":material/warning:")
    return turned


def undo(shelf: Library, question: Question) -> Question:
    """Take the last judgement back that this list is still steered by."""
    steps: list[tuple[str, int, bool]] = st.session_state.get(STEPS, [])
    while steps:
        key, n, like = steps.pop()
        if key == shelf.key and n in (question.more if like else question.less):
            question = judge(shelf, question, n, like=like)
            steps.pop()
            return question
    # A link that was opened brings steering that this session knows nothing of.
    if question.less:
        return question.dislike(question.less[-1])
    return question.like(question.more[-1]) if question.more else question


def _keep(shelf: Library, question: Question, n: int, *, like: bool | None) -> None:
    """What this session judged of this answer before is undone; `like` None: and nothing said anew."""
    asked = results.alone(shelf, question)
    if asked is None:
        return  # likes alone: there is no question that they are answers to
    kept: dict[tuple[str, str, int], int] = st.session_state.setdefault(KEPT, {})
    what = (shelf.key, f"{question.item} {question.sound} {question.start_s} {question.end_s}", n)
    if (before := kept.pop(what, None)) is not None:
        shelf.nearest.undo_feedback(before)
    if like is not None:
        kept[what] = shelf.nearest.add_feedback(asked, n, like=like)
