"""The path page shows the sounds from one item to another."""

from __future__ import annotations

from browsing import components, page_of, run_page

from boiler.browser import path_page
from boiler.browser.indexes import OpenIndex


def test_a_path_starts_and_ends_as_the_url_says(index: OpenIndex) -> None:
    page = page_of("path_page", index.model_dir)
    run_page(page)
    assert "Choose the first and the last" in page.info[0].value
    run_page(page, start="1", end="9", steps="4")
    (view,) = components(page)
    numbers = [card["n"] for card in view["cards"]]
    assert (numbers[0], numbers[-1]) == (1, 9)
    assert len(set(numbers)) == 6
    assert view["play_each_s"] == path_page.PLAY_EACH_S
    page.slider(key="steps").set_value(2).run()
    (view,) = components(page)
    assert len(view["cards"]) == 4
    page.button(key="swap").click().run()
    (view,) = components(page)
    assert [view["cards"][place]["n"] for place in (0, -1)] == [9, 1]
    page.button(key="add-all").click().run()
    assert page.session_state["trays"][index.key] == [card["n"] for card in view["cards"]]
    page.button(key="start-random").click().run()
    assert not page.exception


def test_a_path_from_a_sound_to_itself_is_refused(index: OpenIndex) -> None:
    page = page_of("path_page", index.model_dir)
    run_page(page, start="3", end="3")
    assert "are the same" in page.info[0].value
    assert list(components(page)) == []
