"""The search page shows the view that the URL asks for."""

from __future__ import annotations

import pytest
from browsing import components, run_page
from streamlit.testing.v1 import AppTest


def test_links_of_earlier_versions_open_the_same_view(page: AppTest) -> None:
    run_page(page, **{"in": "rain"})
    (view,) = components(page)
    assert {card["label"] for card in view["cards"]} == {"rain"}


@pytest.mark.parametrize(("params", "name"), [({"item": "abc"}, "item"), ({"item": "1", "vary": "much"}, "vary")])
def test_parameters_that_cannot_be_read_are_named(page: AppTest, params: dict[str, str], name: str) -> None:
    run_page(page, **params)
    assert f"ignored: {name}" in page.warning[0].value


def test_a_link_that_can_be_read_warns_of_nothing(page: AppTest) -> None:
    run_page(page, item="1", vary="30", utm_source="mail")
    assert not page.warning
