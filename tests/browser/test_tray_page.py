"""The tray page shows the collected sounds, and its exports agree with each other."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from browsing import RUN_S, collection, components
from streamlit.testing.v1 import AppTest

from boiler.browser import tray_page
from boiler.browser.indexes import OpenIndex


def tray_page_with(model_dir: str, numbers: list[int]) -> None:
    from pathlib import Path

    import streamlit as st

    from boiler.browser import indexes, tray, tray_page

    index = indexes.open_index(Path(model_dir))
    if "filled" not in st.session_state:
        st.session_state["filled"] = True
        tray.add_to_tray(index, numbers)
    tray_page.show_page(index)


def test_the_tray_shows_its_sounds_and_is_emptied(index: OpenIndex) -> None:
    args = (str(collection()[1]), [1, 2])
    page = AppTest.from_function(tray_page_with, default_timeout=RUN_S, args=args).run()
    assert not page.exception
    (view,) = components(page)
    assert [card["n"] for card in view["cards"]] == [1, 2]
    assert [link.proto.url for link in page.get("link_button")] == [f"{index.sounds_url}/files.zip?n=1.2"]
    page.button(key="empty-tray").click().run()
    assert "The tray is empty" in page.info[0].value


def test_the_exports_agree(index: OpenIndex) -> None:
    items = [index.nearest.item(n) for n in (1, 2, 7)]
    lines = tray_page.playlist_m3u8(index, items).decode().splitlines()
    assert lines[0] == "#EXTM3U"
    assert lines[1] == f"#EXTINF:{max(round(items[0].duration_s), 1)},{items[0].id}"
    assert [Path(line).is_file() for line in lines[2::2]] == [True] * 3
    rows = list(csv.DictReader(io.StringIO(tray_page.items_csv(items).decode())))
    assert [row["id"] for row in rows] == [item.id for item in items]
    assert [row["n"] for row in json.loads(tray_page.items_json(items))] == [1, 2, 7]
