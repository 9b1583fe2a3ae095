"""The search bar changes the URL."""

from __future__ import annotations

from browsing import PER_KIND, components, run_page
from streamlit.testing.v1 import AppTest

from boiler.browser.indexes import OpenIndex


def test_the_search_field_lists_items_by_name_and_the_url_keeps_the_text(page: AppTest) -> None:
    run_page(page)
    page.text_input(key="find").set_value("kick").run()
    assert page.query_params["find"] in ("kick", ["kick"])
    (view,) = components(page)
    assert [card["label"] for card in view["cards"]] == ["kick"] * PER_KIND


def test_random_searches_with_some_item(page: AppTest, index: OpenIndex) -> None:
    run_page(page)
    page.button(key="random").click().run()
    (n,) = page.query_params["item"] if isinstance(page.query_params["item"], list) else [page.query_params["item"]]
    assert index.nearest.item(int(n))
