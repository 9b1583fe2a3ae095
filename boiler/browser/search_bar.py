"""The search bar: find a sound by name or in words, pick one at random, browse the folders, or upload a sound or
picture."""

from __future__ import annotations

import streamlit as st

from boiler.browser import actions, upload_field, widgets
from boiler.browser.indexes import OpenIndex
from boiler.browser.url_state import SearchState


def show_search_bar(index: OpenIndex, state: SearchState) -> None:
    """Show the bar."""
    st.session_state["find"] = state.find  # the URL has the current text, also after the Back button
    total, in_words = len(index.nearest), index.nearest.has_words
    with st.container(horizontal=True, vertical_alignment="bottom", key="search-bar"):
        st.text_input(
            "Find a sound by name or in words" if in_words else "Find a sound by name",
            key="find",
            type="search",
            live=True,
            icon=":material/search:",
            placeholder=f"Find one of {total:,} sounds by name{', or describe one in words' if in_words else ''}",
            label_visibility="collapsed",
            on_change=_find,
        )
        st.button(
            "Random",
            key="random",
            icon=":material/casino:",
            help="Search with a random sound",
            disabled=not total,
            on_click=lambda: actions.set_url(_current_state().query_item(widgets.random_item_number(index))),
        )
        if len(index.statistics().folders) > 1:
            st.button(
                "Folders",
                key="folders",
                icon=":material/folder:",
                help="Browse the folders of the collection",
                on_click=lambda: actions.set_url(_current_state().browse_folder("")),
            )
        upload_field.show_upload_field(index.nearest.header.sample_rate_hz, takes_pictures=in_words)


def _find() -> None:
    actions.set_url(_current_state().find_name(st.session_state["find"] or ""))


def _current_state() -> SearchState:
    return SearchState.from_params(st.query_params)
