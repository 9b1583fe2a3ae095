"""The tray: the sounds that a visitor collects in a session, one list per index."""

from __future__ import annotations

import streamlit as st

from boiler.browser.indexes import OpenIndex

_TRAYS = "trays"  # session key: item numbers by index key


def tray_numbers(index: OpenIndex) -> list[int]:
    """The item numbers in the tray, in the order they were added; changing the list changes the tray."""
    trays: dict[str, list[int]] = st.session_state.setdefault(_TRAYS, {})
    return trays.setdefault(index.key, [])


def toggle_in_tray(index: OpenIndex, n: int) -> None:
    """Add the item, or remove it if it is there."""
    numbers = tray_numbers(index)
    if n in numbers:
        numbers.remove(n)
    else:
        numbers.append(n)


def add_to_tray(index: OpenIndex, numbers: list[int]) -> None:
    """Add the items that are not there yet."""
    tray = tray_numbers(index)
    tray.extend(n for n in numbers if n not in tray)


def total_in_trays() -> int:
    """How many items this session has collected, over all indexes."""
    return sum(map(len, st.session_state.get(_TRAYS, {}).values()))
