"""Likes and dislikes: kept in the URL, where they move the results, and stored with the index.

Only the URL moves the results, so that a link shows the same list to everyone. What is stored
(`Nearest.add_feedback`) counts when "Use stored likes and dislikes" is on.
"""

from __future__ import annotations

import streamlit as st

from boiler.browser import results
from boiler.browser.indexes import OpenIndex
from boiler.browser.url_state import SearchState
from boiler.errors import BoilerError
from boiler.search.nearest import ByPicture

_STORED = "stored-feedback"  # session key: ids of what this session stored, by index, query and item
_CLICKS = "feedback-clicks"  # session key: (index key, item, like) in the order of the clicks, for undo


def toggle_feedback(index: OpenIndex, state: SearchState, n: int, *, like: bool) -> SearchState:
    """Like or dislike a result, or undo that. Returns the new state."""
    is_set = n in (state.liked if like else state.disliked)
    new_state = state.toggle_like(n) if like else state.toggle_dislike(n)
    clicks: list[tuple[str, int, bool]] = st.session_state.setdefault(_CLICKS, [])
    clicks.append((index.key, n, like))
    try:
        _store(index, state, n, like=None if is_set else like)
    except BoilerError:
        st.toast("This moves the results, but it could not be stored for later.", icon=":material/warning:")
    return new_state


def undo_last(index: OpenIndex, state: SearchState) -> SearchState:
    """Undo the last like or dislike that still moves these results. Returns the new state."""
    clicks: list[tuple[str, int, bool]] = st.session_state.get(_CLICKS, [])
    while clicks:
        key, n, like = clicks.pop()
        if key == index.key and n in (state.liked if like else state.disliked):
            state = toggle_feedback(index, state, n, like=like)
            clicks.pop()  # the undo itself
            return state
    # The likes came with a link, not with clicks of this session.
    if state.disliked:
        return state.toggle_dislike(state.disliked[-1])
    return state.toggle_like(state.liked[-1]) if state.liked else state


def _store(index: OpenIndex, state: SearchState, n: int, *, like: bool | None) -> None:
    """Replace what this session stored for this query and result; `like` None: remove it."""
    query = results.query_seed(index, state)
    if query is None or isinstance(query, ByPicture):
        return  # likes alone, or a picture: feedback is stored for the sound that is the query, and there is none
    stored: dict[tuple[str, str, int], int] = st.session_state.setdefault(_STORED, {})
    key = (index.key, f"{state.item} {state.upload} {state.start_s} {state.end_s}", n)
    if (earlier := stored.pop(key, None)) is not None:
        index.nearest.undo_feedback(earlier)
    if like is not None:
        stored[key] = index.nearest.add_feedback(query, n, like=like)
