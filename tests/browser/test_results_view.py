"""The view of the search page with a query."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsing import LONG, components, item_number, page_of, publish_random, run_page
from streamlit.testing.v1 import AppTest

from boiler.audio.windows import DEFAULT_WINDOWS
from boiler.browser.indexes import OpenIndex
from boiler.browser.url_state import PAGE_SIZE


def test_an_item_in_the_url_is_shown_large_with_its_neighbours_nearest_first(page: AppTest, index: OpenIndex) -> None:
    n = item_number(index, "bell/bell-0.wav")
    run_page(page, item=str(n))
    query, results = components(page)
    assert query["layout"] == "single"
    assert [card["n"] for card in query["cards"]] == [n]
    assert query["cards"][0]["selectable"]
    assert [card["n"] for card in results["cards"]] == [match.n for match in index.nearest.by_item(n, PAGE_SIZE)]
    distances = [float(card["distance"]) for card in results["cards"]]
    assert distances == sorted(distances)
    assert all(card["closer_than"].startswith("closer than ") for card in results["cards"])


def test_results_among_too_few_sounds_claim_nothing(tmp_path: Path) -> None:
    publish_random(tmp_path, 3)
    page = run_page(page_of("search_page", tmp_path), item="0")
    _, results = components(page)
    assert [card["closer_than"] for card in results["cards"]] == ["", ""]
    assert any("too few different sounds" in caption.value for caption in page.caption)


def test_the_part_of_a_long_sound_that_matched_is_marked(page: AppTest, index: OpenIndex) -> None:
    run_page(page, item=str(item_number(index, "vowel/vowel-3.wav")))
    _, results = components(page)
    card = next(card for card in results["cards"] if card["id"] == LONG)
    start_s, end_s = card["match_s"]
    assert end_s - start_s == pytest.approx(DEFAULT_WINDOWS.window_s, abs=0.01)
    assert start_s >= 20  # the vowel comes last in it
    assert "match" in card["match_text"]
    short = next(card for card in results["cards"] if card["id"].startswith("bell/"))
    assert short["match_s"] is None


def test_every_result_has_the_url_of_its_own_search_with_the_history(page: AppTest, index: OpenIndex) -> None:
    n = item_number(index, "bell/bell-0.wav")
    run_page(page, item=str(n))
    _, results = components(page)
    first = results["cards"][0]
    assert first["search_url"] == f"?item={first['n']}&history={n}"


def test_show_more_shows_more(page: AppTest, index: OpenIndex) -> None:
    run_page(page, item=str(item_number(index, "bell/bell-0.wav")))
    page.button(key="show-more").click().run()
    assert page.query_params["k"] in (str(2 * PAGE_SIZE), [str(2 * PAGE_SIZE)])
    _, results = components(page)
    assert len(results["cards"]) == len(index.nearest) - 2  # without the query and the silent one


def test_the_history_leads_back(page: AppTest) -> None:
    run_page(page, item="3", history="1.2")
    page.button(key="history-0").click().run()
    assert page.query_params in ({"item": ["1"]}, {"item": "1"})
