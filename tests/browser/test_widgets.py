"""Widgets that pages share."""

from __future__ import annotations

import pytest
from browsing import RUN_S, components
from streamlit.testing.v1 import AppTest

from boiler.browser import widgets
from boiler.browser.indexes import OpenIndex
from boiler.browser.url_state import MAX_RESULTS, PAGE_SIZE


def page_with_widgets(model_dir: str, k: int) -> None:
    from pathlib import Path

    from boiler.browser import indexes, widgets
    from boiler.browser.url_state import SearchState

    index = indexes.open_index(Path(model_dir))
    state = SearchState(item=1, k=k, index="abc")
    widgets.start_button(state)
    layout = widgets.list_header("Two sounds")
    widgets.item_cards(index, state, [index.nearest.item(n) for n in (1, 2)], layout, play_each_s=3.0)
    widgets.show_more_button(state)


def run(index: OpenIndex, k: int) -> AppTest:
    page = AppTest.from_function(page_with_widgets, default_timeout=RUN_S, args=(str(index.model_dir), k)).run()
    assert not page.exception
    return page


def test_buttons_change_the_url(index: OpenIndex) -> None:
    page = run(index, PAGE_SIZE)
    page.button(key="show-more").click().run()
    assert page.query_params["k"] in (str(2 * PAGE_SIZE), [str(2 * PAGE_SIZE)])
    page.button(key="start").click().run()
    assert set(page.query_params) == {"index"}


def test_nothing_is_shown_beyond_the_maximum(index: OpenIndex) -> None:
    assert [button.label for button in run(index, MAX_RESULTS).button] == ["Start"]


def test_cards_follow_the_layout_switch(index: OpenIndex) -> None:
    page = run(index, PAGE_SIZE)
    (view,) = components(page)
    assert (view["layout"], view["play_each_s"], len(view["cards"])) == ("grid", 3.0, 2)
    page.get_by_key("layout").set_value("list").run()
    (view,) = components(page)
    assert view["layout"] == "list"


def test_a_random_item_has_neighbours(index: OpenIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = index.nearest.item("quiet/nothing.wav").n
    drawn = set()
    for place in range(len(index.nearest)):
        monkeypatch.setattr(widgets.random, "randrange", lambda end, place=place: min(place, end - 1))
        drawn.add(widgets.random_item_number(index))
    assert len(drawn) == len(index.nearest) - 1
    assert silent not in drawn
