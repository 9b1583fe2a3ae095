"""Every action of a card changes the URL or the session as it should."""

from __future__ import annotations

import pytest
from browsing import RUN_S
from streamlit.testing.v1 import AppTest

from boiler.browser import actions
from boiler.browser.indexes import OpenIndex


def after_message(model_dir: str, params: dict[str, str], message: dict[str, object], page: str) -> None:
    from pathlib import Path

    import streamlit as st

    from boiler.browser import actions, indexes

    index = indexes.open_index(Path(model_dir))
    st.query_params.from_dict(params)
    handle = actions.handle_on_search_page if page == "search" else actions.handle_on_other_page
    handle(index, message)


def handled(index: OpenIndex, params: dict[str, str], message: dict[str, object], page: str = "search") -> AppTest:
    args = (str(index.model_dir), params, message, page)
    run = AppTest.from_function(after_message, default_timeout=RUN_S, args=args).run()
    assert not run.exception
    return run


def params_of(page: AppTest) -> dict[str, str]:
    return {name: text[0] if isinstance(text, list) else text for name, text in dict(page.query_params).items()}


@pytest.mark.parametrize(
    ("action", "details", "expected"),
    [
        ("query", {}, {"item": "7", "history": "1"}),
        ("explain", {}, {"item": "1", "explain": "7"}),
        ("query_part", {"start_s": 1.0, "end_s": 3.5}, {"item": "1", "from": "1.00", "to": "3.50"}),
        ("query_whole", {}, {"item": "1"}),
        ("tag", {"tag": "big dog"}, {"item": "1", "tag": "big dog"}),
        ("unknown", {}, {"item": "1"}),
    ],
)
def test_an_action_on_the_search_page_leads_to_its_url(
    index: OpenIndex, action: str, details: dict[str, object], expected: dict[str, str]
) -> None:
    assert params_of(handled(index, {"item": "1"}, {"action": action, "n": 7, **details})) == expected


def test_the_same_tag_again_shows_all(index: OpenIndex) -> None:
    again = handled(index, {"item": "1", "tag": "dog"}, {"action": "tag", "n": 7, "tag": "dog"})
    assert params_of(again) == {"item": "1"}


def test_a_path_starts_from_the_query(index: OpenIndex) -> None:
    page = handled(index, {"item": "1"}, {"action": "path", "n": 7})
    assert page.session_state[actions.PENDING_PATH] == (1, 7)
    page = handled(index, {"like": "1"}, {"action": "path", "n": 7})
    assert actions.PENDING_PATH not in page.session_state


@pytest.mark.slow
def test_a_search_on_another_page_waits_for_the_search_page(index: OpenIndex) -> None:
    page = handled(index, {}, {"action": "query", "n": 7}, "map")
    assert page.session_state[actions.PENDING_SEARCH] == 7
    page = handled(index, {}, {"action": "tag", "n": 7, "tag": "dog"}, "map")
    assert page.session_state[actions.PENDING_TAG] == "dog"
    page = handled(index, {}, {"action": "tray", "n": 7}, "map")
    assert page.session_state["trays"] == {index.key: [7]}
