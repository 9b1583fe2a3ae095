"""The page of the way between two sounds: from one to the other in even strides, heard in order.

The address holds it: ``start`` and ``end`` are numbers of items, ``steps`` how many sounds lie between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import streamlit as st

from boiler.browser import actions, cards, indexes, search_page
from boiler.browser.indexes import Library
from boiler.browser.url_state import Question
from boiler.catalog.items import Item
from boiler.search import paths
from boiler.search.nearest import ByItem, Match

STEPS, MOST_STEPS = 6, 30
OFFERED = 8
HEARD_S = 10.0  # of each sound, when all are heard in order
ENDS = {"start": "From", "end": "To"}


@dataclass(frozen=True)
class Way:
    """What the address says of it."""

    start: int | None = None
    end: int | None = None
    steps: int = STEPS
    library: str | None = None

    @classmethod
    def of(cls, address: Mapping[str, str]) -> Way:
        """The way in an address; what makes no sense is left at its default.

        >>> Way.of({"start": "3", "end": "x", "steps": "900"})
        Way(start=3, end=None, steps=30, library=None)
        """

        def number(name: str) -> int | None:
            word = address.get(name, "")
            return int(word) if word.isascii() and word.isdigit() and len(word) < 16 else None

        steps = min(max(number("steps") or STEPS, 1), MOST_STEPS)
        return cls(number("start"), number("end"), steps, address.get("library") or None)

    def by(self, end: str, n: int) -> Way:
        """The same, but beginning (``start``) or ending (``end``) at this one."""
        return replace(self, start=n) if end == "start" else replace(self, end=n)

    def address(self) -> dict[str, str]:
        """The same as words."""
        words = {"start": self.start, "end": self.end, "library": self.library}
        words["steps"] = None if self.steps == STEPS else self.steps
        return {name: str(word) for name, word in words.items() if word is not None}


def go(way: Way) -> None:
    """Make it the address. For callbacks."""
    st.query_params.from_dict(way.address())


def page(shelf: Library) -> None:
    """Everything on the page."""
    way = Way.of(st.query_params)
    st.title("From one sound to another", anchor=False)
    st.caption("Pick two, and hear what lies between: every step is the sound nearest to a point on the way.")
    ends = {name: None if n is None else shelf.nearest.item(n) for name, n in (("start", way.start), ("end", way.end))}
    with st.container(horizontal=True, vertical_alignment="bottom", key="ends"):
        for name in ENDS:
            choose(shelf, way, name, ends[name])
        st.button(
            "Swap",
            icon=":material/swap_horiz:",
            key="swap",
            disabled=way.start is None or way.end is None,
            on_click=lambda: go(replace(way, start=way.end, end=way.start)),
        )
    st.session_state["steps"] = way.steps
    st.slider(
        "Sounds between them",
        1,
        MOST_STEPS,
        key="steps",
        on_change=lambda: go(replace(Way.of(st.query_params), steps=st.session_state["steps"])),
    )
    one, other = ends["start"], ends["end"]
    if one is None or other is None:
        st.info(
            "Choose where to begin and where to end. From the answers to a sound, the key G leads here, too.",
            icon=":material/conversion_path:",
        )
        return
    if one.n == other.n:
        st.info(
            "It begins and ends with the same sound. Choose another for one of the two.",
            icon=":material/conversion_path:",
        )
        return
    with st.spinner("Finding the way ...", show_time=False):
        between = found(shelf, one.n, other.n, way.steps)
    question = Question(library=way.library)
    tray = actions.kept(shelf)
    st.header(f"{search_page.count(len(between) + 2, 'sound')} from one to the other", anchor=False)
    cards.show(
        [
            cards.of_item(one, shelf.sounds_at, question, tray),
            *(cards.of_item(shelf.nearest.item(match.n), shelf.sounds_at, question, tray) for match in between),
            cards.of_item(other, shelf.sounds_at, question, tray),
        ],
        "list",
        "way",
        lambda message: actions.act_elsewhere(shelf, message),
        title="The way",
        heard_s=HEARD_S,
    )
    st.button(
        "Keep all in the tray",
        icon=":material/bookmark_add:",
        key="keep-all",
        on_click=lambda: actions.keep_all(shelf, [one.n, *(match.n for match in between), other.n]),
    )


def found(shelf: Library, start: int, end: int, steps: int) -> tuple[Match, ...]:
    """The sounds between, in order; remembered for a while.

    Raises: QueryError, SilentSoundError, UnknownItemError: as `paths.path_between`.
    """
    return _remembered(shelf.key, shelf.nearest.generation, start, end, steps, shelf)


@st.cache_resource(max_entries=100, show_spinner=False)
def _remembered(key: str, generation: str, start: int, end: int, steps: int, _shelf: Library) -> tuple[Match, ...]:
    return tuple(paths.path_between(_shelf.nearest, ByItem(start), ByItem(end), steps))


def choose(shelf: Library, way: Way, name: str, item: Item | None) -> None:
    """One of the two ends: what it is, and a field to find another."""
    title = ENDS[name] + (f" · {search_page.plain(item)}" if item else " ...")
    with st.popover(title, icon=":material/graphic_eq:", key=f"{name}-choice"):
        text = st.text_input("Find by name", key=f"{name}-text", placeholder="a piece of its name")
        st.button(
            "Any",
            icon=":material/casino:",
            key=f"{name}-any",
            on_click=lambda: go(way.by(name, search_page.at_random(shelf.nearest))),
        )
        wanted = actions.kept(shelf)[-OFFERED:] if not text else ()
        items = list(indexes.items_of(shelf, tuple(wanted))) or shelf.nearest.items(text=text or None, limit=OFFERED)
        if not items:
            st.caption("No sound has that in its name.")
        for one in items:
            st.button(
                search_page.plain(one),
                key=f"{name}-{one.n}",
                type="tertiary",
                help=one.id,
                on_click=go,
                args=(way.by(name, one.n),),
            )
