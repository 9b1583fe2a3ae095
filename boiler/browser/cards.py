"""Sounds as cards: the data that the component in ``static/`` draws and plays, and the messages it sends back.

The component lays cards out as a ``grid`` or a ``list``, or shows a ``single`` large one. The visitor's browser fetches
audio, waveforms and spectrograms from the routes of `indexes` when a card scrolls into view; no audio passes through
the script.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import urlencode

import streamlit as st

from boiler.browser.component import load_component
from boiler.browser.formatting import format_seconds
from boiler.browser.url_state import SearchState
from boiler.catalog.items import Item
from boiler.engine.distance import IDENTICAL_DISTANCE
from boiler.search.nearest import Match

CardLayout = Literal["grid", "list", "single"]
MAX_WHOLE_WAVEFORM_S = 60.0  # of a longer sound the waveform shows the match and a margin
WAVEFORM_MARGIN_S = 8.0
SAME_POSITION_S = 0.05


@dataclass(frozen=True)
class Card:
    """The data of one card. ``waveform_s``: what the waveform covers; ``match_s``: the part that matched (None: all of
    it); ``selected_s``: the part that is the query; ``duplicates``: ids of near-duplicates merged into the card;
    ``tags``: those that the sound has, which filter by a click; ``actions``: the buttons. Positions are in seconds,
    URLs relative to the root of the browser."""

    key: str
    n: int
    id: str
    name: str
    folder: str
    label: str | None
    duration_s: float
    waveform_s: tuple[float, float]
    match_s: tuple[float, float] | None
    start_s: float
    match_text: str
    distance: str | None
    closer_than: str
    audio_url: str
    waveform_url: str
    spectrogram_url: str
    search_url: str
    actions: tuple[str, ...]
    liked: bool = False
    disliked: bool = False
    in_tray: bool = False
    explained: bool = False
    spectrogram_open: bool = False
    selectable: bool = False
    selected_s: tuple[float, float] | None = None
    duplicates: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


def result_card(match: Match, item: Item, sounds_url: str, state: SearchState, tray: Iterable[int]) -> Card:
    """The card of a search result; its sound is served below `sounds_url` (`indexes.OpenIndex.sounds_url`)."""
    part = partial_match(match.start_s, match.end_s, item.duration_s)
    # Likes without a query sound: nothing to compare the result with, and no start of a path.
    more = ("explain", "path") if state.item is not None else ("explain",) if state.upload is not None else ()
    return _card(
        item,
        sounds_url,
        state,
        tray,
        match_s=part,
        match_text="" if part is None else f"match {format_seconds(part[0])} to {format_seconds(part[1])}",
        distance=f"{match.distance:.2f}",
        closer_than=_closeness(match),
        actions=("query", "like", "dislike", *more, "spectrogram", "tray"),
        duplicates=match.folded,
    )


def item_card(item: Item, sounds_url: str, state: SearchState, tray: Iterable[int]) -> Card:
    """The card of an item that is not a search result."""
    return _card(item, sounds_url, state, tray, actions=("query", "spectrogram", "tray"))


def query_card(item: Item, sounds_url: str, state: SearchState, tray: Iterable[int]) -> Card:
    """The large card of the query, with its spectrogram and a waveform on which a part can be selected."""
    selected = None if state.start_s is None or state.end_s is None else (state.start_s, state.end_s)
    return _card(
        item,
        sounds_url,
        state,
        tray,
        actions=("tray",) if state.upload is None else (),
        selected_s=selected,
        spectrogram_open=True,
        selectable=True,
    )


def _card(
    item: Item,
    sounds_url: str,
    state: SearchState,
    tray: Iterable[int],
    *,
    match_s: tuple[float, float] | None = None,
    match_text: str = "",
    distance: str | None = None,
    closer_than: str = "",
    actions: tuple[str, ...],
    selected_s: tuple[float, float] | None = None,
    spectrogram_open: bool = False,
    selectable: bool = False,
    duplicates: tuple[str, ...] = (),
) -> Card:
    covered = waveform_range(item.duration_s, match_s or selected_s)
    part = {} if covered == (0.0, item.duration_s) else {"start_s": f"{covered[0]:.3f}", "end_s": f"{covered[1]:.3f}"}
    width, height = (1_200, 150) if spectrogram_open else (400, 72)
    return Card(
        key=f"{sounds_url}/{item.n}" + (f"@{match_s[0]:.2f}" if match_s else ""),
        n=item.n,
        id=item.id,
        name=PurePosixPath(item.id).name,
        folder="" if item.folder == item.label else item.folder,
        label=item.label,
        duration_s=item.duration_s,
        waveform_s=covered,
        match_s=match_s,
        start_s=selected_s[0] if selected_s else 0.0,
        match_text=match_text,
        distance=distance,
        closer_than=closer_than,
        audio_url=f"{sounds_url}/{item.n}/audio",
        waveform_url=f"{sounds_url}/{item.n}/waveform?" + urlencode({"points": 1_200 if selectable else 320, **part}),
        spectrogram_url=f"{sounds_url}/{item.n}/spectrogram.png?"
        + urlencode({"width": width, "height": height, **part}),
        search_url="?" + urlencode(state.query_item(item.n).to_params(), safe=" /"),
        actions=actions,
        liked=item.n in state.liked,
        disliked=item.n in state.disliked,
        in_tray=item.n in tray,
        explained=item.n == state.explain,
        spectrogram_open=spectrogram_open,
        selectable=selectable,
        selected_s=selected_s,
        duplicates=duplicates,
    )


def show_cards(
    cards: Iterable[Card],
    layout: CardLayout,
    key: str,
    on_message: Callable[[Mapping[str, Any]], None],
    *,
    title: str = "Sounds",
    play_each_s: float | None = None,
) -> None:
    """Put the cards on the page.

    Arguments:
        on_message: called with ``{"action": "query", "n": 7}``; ``action`` is one of the card's actions, ``undo``,
            ``query_part`` (with ``start_s`` and ``end_s``), ``query_whole`` or ``tag`` (with ``tag``)
        title: for screen readers
        play_each_s: adds a button that plays all cards in order, at most this many seconds of each
    """
    _component(
        key=key,
        data={"layout": layout, "title": title, "play_each_s": play_each_s, "cards": [asdict(card) for card in cards]},
        on_message_change=lambda: dispatch_message(key, on_message),
    )


def dispatch_message(key: str, on_message: Callable[[Mapping[str, Any]], None]) -> None:
    """Call `on_message` with the message of the component with this key. Malformed messages are dropped: a page can
    send anything."""
    message = st.session_state[key].message
    if isinstance(message, Mapping) and isinstance(message.get("n"), int | float):
        on_message({**message, "n": int(message["n"])})


def waveform_range(duration_s: float, part_s: tuple[float, float] | None) -> tuple[float, float]:
    """Start and end of a waveform: the whole of a short sound; of a long one the part with a margin on both sides.

    >>> waveform_range(5.0, (0.0, 5.0)), waveform_range(600.0, (100.0, 108.0)), waveform_range(600.0, None)
    ((0.0, 5.0), (92.0, 116.0), (0.0, 600.0))
    """
    if duration_s <= MAX_WHOLE_WAVEFORM_S or part_s is None:
        return 0.0, duration_s
    return max(0.0, part_s[0] - WAVEFORM_MARGIN_S), min(duration_s, part_s[1] + WAVEFORM_MARGIN_S)


def partial_match(start_s: float, end_s: float, duration_s: float) -> tuple[float, float] | None:
    """The part that matched, or None where that is the whole sound.

    >>> partial_match(0.0, 5.0, 5.0), partial_match(4.1, 12.3, 36.0)
    (None, (4.1, 12.3))
    """
    if start_s <= SAME_POSITION_S and end_s >= duration_s - SAME_POSITION_S:
        return None
    return round(start_s, 3), round(min(end_s, duration_s), 3)


def _closeness(match: Match) -> str:
    """How close a result is, compared with random pairs; empty where there are too few to compare with."""
    if match.distance < IDENTICAL_DISTANCE:
        return "identical"
    return "" if match.closer_than is None else closer_than_text(match.closer_than)


def closer_than_text(share: float) -> str:
    """The share of random pairs of this collection that are farther apart than a result is from the query, rounded down
    so that the statement is never too strong.

    >>> closer_than_text(0.998), closer_than_text(0.5), closer_than_text(1.0), closer_than_text(0.9995)
    ('closer than 99.8 %', 'closer than 50 %', 'closer than 99.99 %', 'closer than 99.95 %')
    """
    percent = 100.0 * share + 1e-9
    digits = 0 if percent < 99.0 else 1 if percent < 99.9 else 2
    rounded = math.floor(percent * 10**digits) / 10**digits
    return f"closer than {min(rounded, 99.99):.{digits}f} %"


_component = load_component("cards", "waveform.js")
