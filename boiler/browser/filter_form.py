"""The fields that say what the answers should be like; each is written into the address at once."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from boiler.browser.url_state import Question, Wish
from boiler.search.statistics import Holdings

POPOVER = "refine"
ANY = "any"
MOST_FOLDERS = 2_000
VARIETY = "0: only the nearest. More: an answer should be unlike those before it."


def wishes(held: Holdings, question: Question) -> None:
    """The popover with all of them, and a click to clear those that are set. The fields are made when it is opened:
    folders may be many, and answers need not wait for them."""
    wish = question.wish
    tuned = wish.filters + sum((wish.vary > 0, wish.most > 0, not wish.fold, wish.hubs, wish.heed))
    # Its name stays the same: with another it would be another popover, and closed.
    with st.popover("Refine", icon=":material/tune:", key=POPOVER, on_change="rerun") as popover:
        if popover.open:
            _fields(held, wish)
    if tuned:
        st.button(
            f"Clear · {tuned}",
            icon=":material/filter_alt_off:",
            type="tertiary",
            key="clear",
            help="Take all conditions and wishes back",
            on_click=_go,
            args=(Wish(),),
        )


def _fields(held: Holdings, wish: Wish) -> None:
    # The address is the truth, also after Back.
    st.session_state.update(
        wish_label=wish.label or ANY,
        wish_folder=wish.folder or ANY,
        wish_short=wish.short_s,
        wish_long=wish.long_s,
        wish_where=wish.where,
        wish_vary=wish.vary,
        wish_most=wish.most,
        wish_by=wish.by,
        wish_fold=wish.fold,
        wish_hubs=wish.hubs,
        wish_heed=wish.heed,
    )
    if len(held.labels) > 1:
        labels = [ANY, *(name for name, _ in held.labels)]
        st.selectbox("Label", _with(labels, wish.label), key="wish_label", on_change=_changed)
    if len(held.folders) > 1 and held.folders != held.labels:
        folders = [ANY, *sorted(name for name, _ in held.folders[:MOST_FOLDERS])]
        st.selectbox("Folder, and those below it", _with(folders, wish.folder), key="wish_folder", on_change=_changed)
    left, right = st.columns(2, wrap=False)
    left.number_input("At least, seconds", min_value=0.0, value=None, key="wish_short", on_change=_changed)
    right.number_input("At most, seconds", min_value=0.0, value=None, key="wish_long", on_change=_changed)
    st.text_input(
        "Condition",
        key="wish_where",
        on_change=_changed,
        placeholder="sample_rate_hz >= 44100 and format != 'mp3'",
        help="Fields: n, id, url, label, folder, duration_s, sample_rate_hz, channels, format, size_bytes, "
        "metadata.NAME; with == != < <= > >= in, and, or, not, glob(id, '*loop*'), under('drums').",
    )
    st.slider("Variety", 0, 100, step=5, format="%d %%", key="wish_vary", on_change=_changed, help=VARIETY)
    left, right = st.columns(2, wrap=False)
    left.number_input("At most of each (0: any)", min_value=0, max_value=100, key="wish_most", on_change=_changed)
    right.selectbox("of each", ["label", "folder"], key="wish_by", on_change=_changed)
    st.toggle("Near-duplicates as one", key="wish_fold", on_change=_changed)
    st.toggle("Fewer of those that turn up everywhere", key="wish_hubs", on_change=_changed)
    st.toggle("Heed what was liked and disliked before", key="wish_heed", on_change=_changed)


def _with(options: list[str], chosen: str | None) -> list[str]:
    """What an address names may be gone from the collection; it is shown all the same."""
    return options if chosen is None or chosen in options else [*options, chosen]


def _changed() -> None:
    """Write what the fields say into the address."""
    state = st.session_state
    before = Question.of(st.query_params).wish

    def chosen(name: str, now: str | None) -> str | None:
        value = state.get(name, now or ANY)  # a field that was not shown changes nothing
        return None if value == ANY else value

    _go(
        replace(
            before,
            label=chosen("wish_label", before.label),
            folder=chosen("wish_folder", before.folder),
            short_s=state["wish_short"] or None,
            long_s=state["wish_long"] or None,
            where=(state["wish_where"] or "").strip(),
            vary=int(state["wish_vary"]),
            most=int(state["wish_most"]),
            by=state["wish_by"],
            fold=bool(state["wish_fold"]),
            hubs=bool(state["wish_hubs"]),
            heed=bool(state["wish_heed"]),
        )
    )


def _go(wish: Wish) -> None:
    st.query_params.from_dict(Question.of(st.query_params).wished(wish).address())
