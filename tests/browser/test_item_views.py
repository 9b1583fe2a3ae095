"""The views of the search page without a query."""

from __future__ import annotations

import pytest
from browsing import PER_KIND, components, new_page, run_page, tagged_collection
from streamlit.testing.v1 import AppTest

from boiler.browser import item_views, options
from boiler.search.nearest import Nearest


def test_the_start_view_counts_the_collection_and_offers_random_sounds(page: AppTest) -> None:
    run_page(page)
    (view,) = components(page)
    assert len(view["cards"]) == item_views.N_EXAMPLES
    assert "22 sounds" in page.caption[0].value
    assert not page.error


def test_a_missing_item_is_reported_with_advice(page: AppTest) -> None:
    run_page(page, find="xylophone")
    assert "Try a shorter text" in page.info[0].value


def test_a_label_lists_its_sounds(page: AppTest) -> None:
    run_page(page)
    page.get_by_key("label").set_value("rain").run()
    (view,) = components(page)
    assert {card["label"] for card in view["cards"]} == {"rain"}
    assert f"{PER_KIND} sounds with the label rain" in page.header[0].value


def test_folders_are_browsed_down_and_up(page: AppTest) -> None:
    run_page(page)
    page.button(key="folders").click().run()
    page.button(key="folder-rain").click().run()
    assert page.query_params["browse"] in ("rain", ["rain"])
    (view,) = components(page)
    assert {card["label"] for card in view["cards"]} == {"rain"}
    assert len(view["cards"]) == PER_KIND
    page.button(key="parent-0").click().run()
    assert page.button(key="folder-rain").label == f"rain · {PER_KIND}"


def test_a_folder_that_does_not_exist_is_reported(page: AppTest) -> None:
    run_page(page, browse="nowhere")
    assert "no folder of that name" in page.info[0].value


def test_names_are_shown_as_they_are(page: AppTest) -> None:
    run_page(page, find="![x](https://example.org/x.png) *b*")
    text = page.info[0].value
    assert "![" not in text
    assert "://" not in text
    assert "\\*b\\*" in text


def test_a_tag_lists_the_sounds_that_have_it_with_their_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(options.MODEL_DIR, str(tagged_collection()))
    page = run_page(new_page())
    with Nearest(tagged_collection()) as nearest:
        count = next(one for one in nearest.tag_counts() if 1 < one.n_items < item_views.N_EXAMPLES)
        having = {
            item.n: [one.tag for one in nearest.tags(item.n) if one.has]
            for item in nearest.items(limit=100)
            if any(one.tag == count.tag and one.has for one in nearest.tags(item.n))
        }
    assert len(having) == count.n_items
    assert any(f"{count.tag} · {count.n_items}" in option for option in page.get_by_key("tag").options)
    run_page(page, tag=count.tag)
    (view,) = components(page)
    assert {card["n"]: card["tags"] for card in view["cards"]} == {n: tags[:4] for n, tags in having.items()}
    assert f"{count.n_items} sounds with the tag {count.tag}" in page.header[0].value


def test_an_index_without_tags_offers_none(page: AppTest) -> None:
    run_page(page)
    with pytest.raises(KeyError):
        page.get_by_key("tag")
    assert all(not card["tags"] for view in components(page) for card in view["cards"])
