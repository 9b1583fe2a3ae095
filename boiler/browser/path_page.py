"""The path page: a sequence of sounds that leads from one sound to another in even steps."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from boiler.browser import actions, widgets
from boiler.browser.formatting import count_noun, escape_markdown, item_name
from boiler.browser.indexes import OpenIndex
from boiler.browser.tray import add_to_tray, tray_numbers
from boiler.browser.url_state import MAX_STEPS, PathState, SearchState
from boiler.catalog.items import Item
from boiler.search import paths
from boiler.search.nearest import ByItem, Match

MAX_CHOICES = 8  # items offered for an endpoint at a time
PLAY_EACH_S = 10.0
ENDPOINTS = {"start": "From", "end": "To"}


def show_page(index: OpenIndex) -> None:
    """Show the page."""
    state = PathState.from_params(st.query_params)
    st.title("Path between two sounds", anchor=False)
    st.caption("Choose two sounds to hear the sounds between them, in order of similarity.")
    start, end = (None if n is None else index.nearest.item(n) for n in (state.start, state.end))
    with st.container(horizontal=True, vertical_alignment="bottom", key="endpoints"):
        _endpoint_field(index, state, "start", start)
        _endpoint_field(index, state, "end", end)
        st.button(
            "Swap",
            icon=":material/swap_horiz:",
            key="swap",
            disabled=start is None or end is None,
            on_click=actions.set_url,
            args=(state.swapped(),),
        )
    st.session_state["steps"] = state.steps
    st.slider("Sounds between them", 1, MAX_STEPS, key="steps", on_change=_read_steps)
    if start is None or end is None:
        st.info(
            "Choose the first and the last sound. In search results, the key G opens this page with both.",
            icon=":material/conversion_path:",
        )
    elif start.n == end.n:
        st.info("The first and the last sound are the same. Choose another one.", icon=":material/conversion_path:")
    else:
        _show_path(index, state, start, end)


def _read_steps() -> None:
    actions.set_url(replace(PathState.from_params(st.query_params), steps=st.session_state["steps"]))


def _show_path(index: OpenIndex, state: PathState, start: Item, end: Item) -> None:
    with st.spinner("Finding the path ...", show_time=False):
        between = find_path(index, start.n, end.n, state.steps)
    items = [start, *(index.nearest.item(match.n) for match in between), end]
    st.header(f"Path of {count_noun(len(items), 'sound')}", anchor=False)
    widgets.item_cards(
        index,
        SearchState(index=state.index),
        items,
        "list",
        key="path",
        on_message=actions.handle_on_other_page,
        title="Path",
        play_each_s=PLAY_EACH_S,
    )
    st.button(
        "Add all to the tray",
        icon=":material/bookmark_add:",
        key="add-all",
        on_click=lambda: add_to_tray(index, [item.n for item in items]),
    )


def find_path(index: OpenIndex, start: int, end: int, steps: int) -> tuple[Match, ...]:
    """The sounds between two items, in order. Cached.

    Raises: QueryError, SilentSoundError, UnknownItemError: as `paths.path_between`.
    """
    return _cached_path(index.key, index.nearest.generation, start, end, steps, index)


@st.cache_resource(max_entries=100, show_spinner=False)
def _cached_path(key: str, generation: str, start: int, end: int, steps: int, _index: OpenIndex) -> tuple[Match, ...]:
    return tuple(paths.path_between(_index.nearest, ByItem(start), ByItem(end), steps))


def _endpoint_field(index: OpenIndex, state: PathState, endpoint: str, item: Item | None) -> None:
    """One endpoint of the path: its sound, and a popover to choose another, from the tray or by name."""
    title = ENDPOINTS[endpoint] + (f" · {item_name(item)}" if item else " ...")
    with st.popover(title, icon=":material/graphic_eq:", key=f"{endpoint}-popover"):
        text = st.text_input("Find by name", key=f"{endpoint}-text", placeholder="part of the file name")
        st.button(
            "Random",
            icon=":material/casino:",
            key=f"{endpoint}-random",
            on_click=lambda: actions.set_url(state.with_endpoint(endpoint, widgets.random_item_number(index))),
        )
        from_tray = () if text else tray_numbers(index)[-MAX_CHOICES:]
        choices = list(index.existing_items(from_tray)) or index.nearest.items(text=text or None, limit=MAX_CHOICES)
        if not choices:
            st.caption("No sound has this in its name.")
        for choice in choices:
            st.button(
                item_name(choice),
                key=f"{endpoint}-{choice.n}",
                type="tertiary",
                help=escape_markdown(choice.id),
                on_click=actions.set_url,
                args=(state.with_endpoint(endpoint, choice.n),),
            )
