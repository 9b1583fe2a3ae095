"""What a click does, on a card or on the map: it asks, judges, explains, keeps in the tray, or leads elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from boiler.browser import feedback
from boiler.browser.indexes import Library
from boiler.browser.url_state import Question

WANTED = "wanted"  # in the session: the number of an item that another page asks for
TRAVEL = "travel"  # in the session: the numbers of two items between which the way is wanted


def go(question: Question) -> None:
    """Ask this instead: it becomes the address. For callbacks."""
    st.query_params.from_dict(question.address())


def act(shelf: Library, message: Mapping[str, Any]) -> None:
    """Do what a card was asked to."""
    question = Question.of(st.query_params)
    n = int(message["n"])
    match message.get("what"):
        case "ask":
            go(question.ask(n))
        case "like":
            go(feedback.judge(shelf, question, n, like=True))
        case "dislike":
            go(feedback.judge(shelf, question, n, like=False))
        case "undo":
            go(feedback.undo(shelf, question))
        case "why":
            go(question.explain(n))
        case "path" if question.item is not None:
            st.session_state[TRAVEL] = (question.item, n)
        case "part":
            go(question.part(float(message["start"]), float(message["end"])))
        case "whole":
            go(question.whole())
        case "keep":
            tray = kept(shelf)
            if n in tray:
                tray.remove(n)
            else:
                tray.append(n)


def act_elsewhere(shelf: Library, message: Mapping[str, Any]) -> None:
    """The same on a page that shows no answers: asking leads to the one that does."""
    if message.get("what") == "ask":
        st.session_state[WANTED] = int(message["n"])
    else:
        act(shelf, message)


def keep_all(shelf: Library, numbers: list[int]) -> None:
    """Put these into the tray, too."""
    tray = kept(shelf)
    tray.extend(n for n in numbers if n not in tray)


def kept(shelf: Library) -> list[int]:
    """The numbers of the items in this session's tray."""
    trays: dict[str, list[int]] = st.session_state.setdefault("trays", {})
    return trays.setdefault(shelf.key, [])
