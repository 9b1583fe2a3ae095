"""What a click on a card or on the map does: search, like, explain, add to the tray, or open another page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from boiler.browser import feedback, tray
from boiler.browser.indexes import OpenIndex
from boiler.browser.url_state import PathState, SearchState

PENDING_SEARCH = "pending-search"  # session key: the item that the search page is to open with
PENDING_TAG = "pending-tag"  # session key: the tag that the search page is to list the items of
PENDING_PATH = "pending-path"  # session key: the two items that the path page is to open with


def set_url(state: SearchState | PathState) -> None:
    """Write the state of the page into the URL. For callbacks."""
    st.query_params.from_dict(state.to_params())


def handle_on_search_page(index: OpenIndex, message: Mapping[str, Any]) -> None:
    """Handle a click on a card of the search page; `cards.show_cards` describes the messages."""
    state = SearchState.from_params(st.query_params)
    n = int(message["n"])
    match message.get("action"):
        case "query":
            set_url(state.query_item(n))
        case "like":
            set_url(feedback.toggle_feedback(index, state, n, like=True))
        case "dislike":
            set_url(feedback.toggle_feedback(index, state, n, like=False))
        case "undo":
            set_url(feedback.undo_last(index, state))
        case "explain":
            set_url(state.toggle_explanation(n))
        case "path" if state.item is not None:
            st.session_state[PENDING_PATH] = (state.item, n)
        case "query_part":
            set_url(state.query_part(float(message["start_s"]), float(message["end_s"])))
        case "query_whole":
            set_url(state.query_whole())
        case "tag":
            set_url(state.toggle_tag(str(message["tag"])))
        case "tray":
            tray.toggle_in_tray(index, n)


def handle_on_other_page(index: OpenIndex, message: Mapping[str, Any]) -> None:
    """Handle a click on the map, path and tray pages, where a query opens the search page."""
    if message.get("action") == "query":
        st.session_state[PENDING_SEARCH] = int(message["n"])
    elif message.get("action") == "tag":
        st.session_state[PENDING_TAG] = str(message["tag"])
    elif message.get("action") == "tray":
        tray.toggle_in_tray(index, int(message["n"]))
