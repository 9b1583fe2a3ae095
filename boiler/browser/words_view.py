"""The results of a search in words, below the sounds that have the text in their name: one search line serves both; and
what was understood of words and pictures."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from boiler.browser import actions, cards, results, widgets
from boiler.browser.formatting import count_noun, escape_markdown
from boiler.browser.indexes import OpenIndex
from boiler.browser.tray import tray_numbers
from boiler.browser.url_state import SearchState
from boiler.errors import QueryError
from boiler.search.nearest import ByText, Match, Options, QueryResult
from boiler.search.words import Understood

WORDS_ON_CARD = 2
LEAST_SEEN = 0.02
"""Probability of a further class that is said to be in a picture."""


def find_in_words(index: OpenIndex, state: SearchState) -> QueryResult | str:
    """At most `state.k` sounds that match the search text, best first; or why there is no such search, which is empty
    where there is no text or the index cannot be searched in words."""
    if not state.find or not index.nearest.has_words:
        return ""
    try:
        options = Options(where=results.refinement_filter(index, state.refinement))
        return index.nearest.query(ByText(state.find), state.k, options)
    except QueryError as error:
        return str(error)


def show_words_result(
    index: OpenIndex, state: SearchState, result: QueryResult, layout: cards.CardLayout | None
) -> None:
    """What was understood, and the results, each with what it sounds like.

    layout: that of the list above; None: there is none, so the switch is shown here
    """
    header = f"{count_noun(len(result.matches), 'sound')} that may sound like this"
    if layout is None:
        layout = widgets.list_header(header)
    else:
        st.header(header, anchor=False)
    for one in result.understood:
        st.caption(understood_text(one))
    tray = tray_numbers(index)
    shown = []
    for match in result.matches:
        card = cards.item_card(index.nearest.item(match.n), index.sounds_url, state, tray)
        shown.append(with_words(card, match))
    cards.show_cards(
        shown,
        layout,
        "words",
        lambda message: actions.handle_on_search_page(index, message),
        title="Sounds that match the words",
    )
    if len(result.matches) == state.k:
        widgets.show_more_button(state)


def with_words(card: cards.Card, match: Match) -> cards.Card:
    """The card with what its sound is like, in words, instead of a distance, which compares two sounds."""
    words = ", ".join(f"{one.name} {one.score:.2f}" for one in match.words[:WORDS_ON_CARD])
    return replace(card, match_text=words, distance=None, closer_than="")


def understood_text(understood: Understood) -> str:
    """What was understood, the words or what the picture shows, and the classes of sounds that they went to, as
    Markdown."""
    classes = ", ".join(one.name for one in understood.wanted)
    away = f"; away from {', '.join(one.name for one in understood.unwanted)}" if understood.unwanted else ""
    shown = [one for n, one in enumerate(understood.seen) if not n or one.score >= LEAST_SEEN]
    seen = ", ".join(f"{one.name} {one.score:.2f}" for one in shown)
    what = f"a picture: {seen}" if seen else understood.text.describe()
    kinds = f" Nearest kinds of sounds: {classes}{away}." if classes else ""
    return escape_markdown(f"Understood: {what}.{kinds}")
