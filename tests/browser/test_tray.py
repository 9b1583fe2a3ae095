"""The tray holds every sound once, in the order they were added."""

from __future__ import annotations

from browsing import RUN_S
from streamlit.testing.v1 import AppTest

from boiler.browser.indexes import OpenIndex


def changed_trays(model_dir: str) -> None:
    from pathlib import Path

    import streamlit as st

    from boiler.browser import indexes, tray

    index = indexes.open_index(Path(model_dir))
    tray.add_to_tray(index, [3, 1, 2])
    tray.add_to_tray(index, [2, 5])
    tray.toggle_in_tray(index, 1)
    tray.toggle_in_tray(index, 7)
    st.text(f"{tray.tray_numbers(index)} {tray.total_in_trays()}")


def test_a_tray_holds_every_sound_once_in_order(index: OpenIndex) -> None:
    page = AppTest.from_function(changed_trays, default_timeout=RUN_S, args=(str(index.model_dir),)).run()
    assert page.text[0].value == "[3, 2, 5, 7] 4"
