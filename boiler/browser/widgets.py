"""Widgets that several pages share."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import streamlit as st

from boiler.browser import actions, cards
from boiler.browser.indexes import OpenIndex
from boiler.browser.tray import tray_numbers
from boiler.browser.url_state import MAX_RESULTS, SearchState
from boiler.catalog.items import Item

MAX_CARD_TAGS = 4
_LAYOUT_ICONS = {"grid": ":material/grid_view:", "list": ":material/view_list:"}


def layout_switch() -> cards.CardLayout:
    """The switch between grid and list, remembered for the session."""
    layout = st.segmented_control(
        "Layout",
        list(_LAYOUT_ICONS),
        format_func=_LAYOUT_ICONS.__getitem__,
        default="grid",
        required=True,
        key="layout",
        label_visibility="collapsed",
        persist_state="session",
    )
    return "list" if layout == "list" else "grid"


def list_header(text: str) -> cards.CardLayout:
    """The header of a list of cards, with the layout switch. Returns the selected layout."""
    with st.container(horizontal=True, vertical_alignment="center", key="list-header"):
        st.header(text, anchor=False, width="stretch")
        return layout_switch()


def item_cards(
    index: OpenIndex,
    state: SearchState,
    items: Iterable[Item],
    layout: cards.CardLayout,
    *,
    key: str = "items",
    on_message: Callable[[OpenIndex, Mapping[str, Any]], None] = actions.handle_on_search_page,
    title: str = "Sounds",
    play_each_s: float | None = None,
) -> None:
    """Cards of items that are not search results. For `title` and `play_each_s` see `cards.show_cards`."""
    tray = tray_numbers(index)
    cards.show_cards(
        with_tags(index, [cards.item_card(item, index.sounds_url, state, tray) for item in items]),
        layout,
        key,
        lambda message: on_message(index, message),
        title=title,
        play_each_s=play_each_s,
    )


def with_tags(index: OpenIndex, shown: Iterable[cards.Card]) -> list[cards.Card]:
    """The cards with the first tags of each item."""
    return [
        replace(card, tags=tuple(one.tag for one in index.nearest.tags(card.n) if one.has)[:MAX_CARD_TAGS])
        for card in shown
    ]


def start_button(state: SearchState) -> None:
    """A button that returns to the start page."""
    st.button(
        "Start",
        icon=":material/home:",
        type="tertiary",
        key="start",
        on_click=actions.set_url,
        args=(state.start_page(),),
    )


def show_more_button(state: SearchState) -> None:
    """A button that adds a page of results, up to `MAX_RESULTS`."""
    if state.k < MAX_RESULTS:
        st.button(
            "Show more",
            icon=":material/expand_more:",
            key="show-more",
            on_click=actions.set_url,
            args=(state.show_more(),),
        )


def random_item_number(index: OpenIndex) -> int:
    """The number of a random item that has neighbours: not a silent one, if there are others."""
    nearest = index.nearest
    audible, _ = nearest.item_vectors()
    if len(audible):
        return int(audible[random.randrange(len(audible))])
    return nearest.items(offset=random.randrange(len(nearest)), limit=1)[0].n
