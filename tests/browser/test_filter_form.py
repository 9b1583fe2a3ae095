"""The fields of the "Refine" form are written into the URL, and conditions that cannot be parsed are explained."""

from __future__ import annotations

import pytest
from browsing import components, item_number, new_page, open_popover, run_page, tagged_collection
from streamlit.testing.v1 import AppTest

from boiler.browser import filter_form, options
from boiler.browser.indexes import OpenIndex
from boiler.browser.url_state import PAGE_SIZE


def test_fields_write_the_url_and_clear_resets_them(page: AppTest, index: OpenIndex) -> None:
    run_page(open_popover(page, filter_form.REFINE_POPOVER), item=str(item_number(index, "bell/bell-0.wav")))
    page.selectbox(key="refine_label").set_value("rain").run()
    page.slider(key="refine_diversity").set_value(30).run()
    page.toggle(key="refine_dedup").set_value(False).run()
    assert not page.exception
    expected = {"label": "rain", "diversity": "30", "dedup": "0"}
    assert all(page.query_params[name] in (text, [text]) for name, text in expected.items())
    _, results = components(page)
    assert {card["label"] for card in results["cards"]} == {"rain"}
    assert "no more items pass the filter" in page.caption[0].value
    page.button(key="clear").click().run()
    assert set(page.query_params) == {"item"}


def test_a_label_that_the_collection_no_longer_has_is_still_shown(page: AppTest) -> None:
    run_page(open_popover(page, filter_form.REFINE_POPOVER), item="1", label="gone")
    assert page.selectbox(key="refine_label").value == "gone"


def test_a_condition_that_cannot_be_parsed_is_explained(page: AppTest) -> None:
    run_page(page, item="1", where="colour is red")
    assert "cannot be answered" in page.error[0].value


def test_results_are_restricted_to_a_tag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(options.MODEL_DIR, str(tagged_collection()))
    page = run_page(open_popover(new_page(), filter_form.REFINE_POPOVER), item="1", dedup="0")
    tag, _, n_items = page.selectbox(key="refine_tag").options[-1].rpartition(" · ")  # the rarest
    page.selectbox(key="refine_tag").set_value(tag).run()
    assert not page.exception
    assert page.query_params["tag"] in (tag, [tag])
    _, results = components(page)
    assert len(results["cards"]) in (int(n_items) - 1, int(n_items))  # the query may have it, too
    assert int(n_items) < PAGE_SIZE
