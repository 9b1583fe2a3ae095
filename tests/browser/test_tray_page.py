"""The tray page shows the collected sounds, and its exports agree with each other."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from browsing import RUN_S, collection, components
from streamlit.testing.v1 import AppTest

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


def test_the_exports_agree_and_a_line_break_in_a_name_adds_no_entry(
    index: OpenIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: dict[str, bytes] = {}

    def download_button(label: str, make_file: Callable[[], bytes], *, file_name: str, **_: Any) -> None:
        files[file_name] = make_file()

    monkeypatch.setattr(st, "download_button", download_button)
    hostile = "=evil\n#EXTINF:1,x\n/etc/passwd.wav"
    item = index.nearest.item
    monkeypatch.setattr(
        index.nearest, "item", lambda n: replace(item(n), id=hostile) if n == 7 else item(n), raising=True
    )
    args = (str(collection()[1]), [1, 2, 7])
    page = AppTest.from_function(tray_page_with, default_timeout=RUN_S, args=args).run()
    assert not page.exception
    lines = files["boiler-tray.m3u8"].decode().splitlines()
    assert lines[0] == "#EXTM3U"
    assert lines[1] == f"#EXTINF:{max(round(item(1).duration_s), 1)},{item(1).id}"
    assert len(lines) == 7
    assert all(line.startswith("#EXTINF:") for line in lines[1::2])
    assert [Path(line).is_file() for line in lines[2::2]] == [True] * 3
    ids = [item(1).id, item(2).id, hostile]
    rows = list(csv.DictReader(io.StringIO(files["boiler-tray.csv"].decode(), newline="")))
    assert [row["id"] for row in rows] == [*ids[:2], "'" + hostile]
    assert [row["id"] for row in json.loads(files["boiler-tray.json"])] == ids
