"""An uploaded or recorded sound becomes the query."""

from __future__ import annotations

import pytest
from browsing import collection, components, new_page, open_popover, run_page
from streamlit.testing.v1 import AppTest

from boiler.browser import upload_field


@pytest.mark.slow
def test_an_uploaded_sound_is_the_query_and_its_url_opens_it_again(page: AppTest) -> None:
    path = collection()[0] / "bell" / "bell-1.wav"
    run_page(open_popover(page, upload_field.UPLOAD_POPOVER))
    page.file_uploader[0].upload("../../mine.wav", path.read_bytes()).run()
    assert not page.exception
    query, results = components(page)
    assert query["cards"][0]["name"] == "mine.wav"
    assert results["cards"][0]["id"] == "bell/bell-1.wav"
    assert float(results["cards"][0]["distance"]) < 0.01
    key = page.query_params["upload"]
    for name in ("upload", "sound"):  # the current and the deprecated name
        _, same = components(run_page(new_page(), **{name: key[0] if isinstance(key, list) else key}))
        assert [card["n"] for card in same["cards"]] == [card["n"] for card in results["cards"]]


def test_a_recording_is_the_query(page: AppTest) -> None:
    run_page(open_popover(page, upload_field.UPLOAD_POPOVER))
    page.audio_input[0].upload("recording.wav", (collection()[0] / "kick" / "kick-0.wav").read_bytes()).run()
    query, _ = components(page)
    assert query["cards"][0]["name"] == "Your recording"


@pytest.mark.parametrize("params", [{}, {"item": "1"}, {"like": "1"}, {"find": "bell"}, {"browse": "/"}])
def test_the_progress_bar_of_an_upload_has_a_position_of_its_own_in_every_view(
    page: AppTest, params: dict[str, str]
) -> None:
    """Streamlit keeps the children of a block while another block takes its position in the next run: a Stop button
    would stay until the end of that run, beside the Stop button of the embedding."""
    run_page(page, **params)
    search_bar, warning, progress_bar = list(page.main.children.values())[:3]
    assert (search_bar.type, warning.type, progress_bar.type) == ("flex_container", "empty", "empty")


def test_a_file_that_is_no_sound_is_refused_in_a_sentence(page: AppTest) -> None:
    run_page(open_popover(page, upload_field.UPLOAD_POPOVER))
    page.file_uploader[0].upload("letter.txt", b"Dear Sir or Madam").run()
    assert not page.exception
    assert "cannot be used" in page.error[0].value
    assert "upload" not in page.query_params
