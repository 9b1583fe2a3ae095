"""Which index is opened, and that every error is a sentence on the page."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsing import collection, components, item_number, new_page, run_page
from streamlit import config
from streamlit.testing.v1 import AppTest

from boiler.browser import options, search_bar
from boiler.browser.indexes import OpenIndex


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"item": "99999"}, "not in the collection"),
        ({"upload": "abcabcabcabc"}, "upload it again"),
        ({"upload": "not hex"}, "upload it again"),
        ({"item": "1", "from": "500", "to": "600"}, "cannot be used"),
    ],
)
def test_a_url_that_cannot_be_answered_is_explained_with_a_way_back(
    page: AppTest, params: dict[str, str], text: str
) -> None:
    run_page(page, **params)
    assert text in page.error[0].value
    page.button[-1].click().run()
    assert not page.query_params
    assert not page.error


def test_a_silent_item_is_reported_as_silent(page: AppTest, index: OpenIndex) -> None:
    run_page(page, item=str(item_number(index, "quiet/nothing.wav")))
    assert "silent" in page.error[0].value


def test_an_unexpected_error_is_a_sentence_without_details(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(search_bar, "show_search_bar", fail)
    run_page(page)
    assert "unexpected" in page.error[0].value
    assert "secret" not in str([element.value for element in page.error])


def test_without_an_index_the_page_says_how_to_make_one(empty_folder: Path) -> None:
    page = run_page(new_page())
    assert "boiler index" in page.info[0].value


def test_a_folder_that_is_no_model_directory_is_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(options.MODEL_DIR, str(tmp_path / "nothing"))
    page = run_page(new_page())
    assert "boiler index" in page.error[0].value


@pytest.mark.parametrize("name", ["index", "library"])
def test_an_index_in_the_working_directory_is_opened_and_named_in_the_url(empty_folder: Path, name: str) -> None:
    (empty_folder / "exp").symlink_to(collection()[1].parents[1])
    page = run_page(new_page())
    key = page.query_params["index"]
    assert "22 sounds" in page.caption[0].value
    key = key[0] if isinstance(key, list) else key
    again = run_page(new_page(), **{name: key, "item": "1"})
    assert len(list(components(again))) == 2


def test_the_sidebar_opens_another_index(empty_folder: Path) -> None:
    page = run_page(new_page())
    page.sidebar.text_input(key="model-dir").set_value(str(collection()[1]))
    page.sidebar.button[0].click().run()
    assert not page.exception
    assert "22 sounds" in page.caption[0].value


def test_a_folder_of_sounds_that_does_not_exist_is_reported(empty_folder: Path) -> None:
    page = run_page(new_page())
    page.sidebar.text_input(key="model-dir").set_value(str(collection()[1]))
    page.sidebar.text_input(key="wav-dir").set_value(str(empty_folder / "gone"))
    page.sidebar.button[0].click().run()
    assert "there is no folder" in page.error[0].value


def test_visitors_from_other_machines_cannot_choose_folders(empty_folder: Path) -> None:
    config.set_option("server.address", "0.0.0.0")  # noqa: S104  # the subject of the test
    page = run_page(new_page())
    assert "started without a model directory" in page.info[0].value
    assert not page.sidebar.text_input
