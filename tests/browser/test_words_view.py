"""One search line for names, words and pictures: what was understood, and what the results sound like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from browsing import components, new_page, open_popover, picture_bytes, run_page
from pretrained_files import write_efficientnet
from streamlit.testing.v1 import AppTest
from wording import publish_with_words

from boiler.browser import options, upload_field


@pytest.fixture
def in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The browser with 12 sounds, 0.wav to 11.wav, two of each class of `wording.CLASSES`."""
    publish_with_words(tmp_path / "index", np.eye(6, dtype=np.float32)[np.arange(12) % 6])
    monkeypatch.setenv(options.MODEL_DIR, str(tmp_path / "index"))
    monkeypatch.delenv(options.WAV_DIR, raising=False)
    monkeypatch.setenv(options.IMAGE_MODEL, str(tmp_path / "net.safetensors"))
    return new_page()


def drop(page: AppTest, name: str, content: bytes) -> AppTest:
    """Upload a file, and follow the page to its results."""
    run_page(open_popover(page, upload_field.UPLOAD_POPOVER))
    page.file_uploader[0].upload(name, content).run()
    assert not page.exception
    return page


def test_words_that_no_name_holds_find_sounds(in_words: AppTest) -> None:
    run_page(in_words, find="hound -violin barkign")
    (view,) = components(in_words)
    assert {card["n"] for card in view["cards"][:2]} == {0, 6}
    assert view["cards"][0]["match_text"].startswith("dog 1.00")
    (understood,) = [one.value.replace("\\", "") for one in in_words.caption if "Understood" in one.value]
    assert "hound, not violin; unknown: 'barkign' (known: barking" in understood
    assert "Nearest kinds of sounds: dog" in understood
    assert "may sound like this" in in_words.header[0].value
    assert not in_words.exception


def test_names_come_before_words(in_words: AppTest) -> None:
    run_page(in_words, find="wav")
    names, *_ = components(in_words)
    assert {card["n"] for card in names["cards"]} == set(range(12))


def test_what_is_neither_a_name_nor_a_word_is_said(in_words: AppTest) -> None:
    run_page(in_words, find="helicoptr")
    assert "no word is known" in in_words.info[0].value
    assert "helicopter" in in_words.info[0].value


def test_words_keep_to_the_filters(in_words: AppTest) -> None:
    run_page(in_words, find="hound", where="n > 2")
    (view,) = components(in_words)
    assert view["cards"][0]["n"] == 6
    assert min(card["n"] for card in view["cards"]) == 3


def test_a_picture_finds_what_it_shows_and_what_was_understood_is_said(in_words: AppTest, tmp_path: Path) -> None:
    write_efficientnet(tmp_path / "net.safetensors", ["violin", "hound, dog"], 1)
    page = drop(in_words, "my hound.jpg", picture_bytes(format="JPEG"))
    (view,) = components(page)
    assert (view["cards"][0]["n"], view["cards"][0]["duplicates"]) == (0, ["6.wav"])
    assert view["cards"][0]["match_text"].startswith("dog 1.00")
    assert view["cards"][0]["distance"] is None
    assert {"explain", "path"}.isdisjoint(view["cards"][0]["actions"])
    (understood,) = [one.value.replace("\\", "") for one in page.caption if "Understood" in one.value]
    assert understood.startswith("Understood: a picture: hound 1.00.")
    assert "Nearest kinds of sounds: dog" in understood
    assert page.header[0].value == "6 sounds that may sound like this"
    assert list(page.query_params) == ["picture"]
    assert page.get("image")[0].proto.imgs[0].caption == "my hound.jpg"
    run_page(page, where="n != 0", like="3")  # filters and likes count
    (view,) = components(page)
    assert {card["n"] for card in view["cards"][:2]} == {6, 9}


def test_without_a_network_the_page_says_how_to_get_one(in_words: AppTest, tmp_path: Path) -> None:
    page = drop(in_words, "photo.png", picture_bytes())
    assert "boiler encoders add efficientnet-lite0" in page.error[0].value
    assert str(tmp_path) not in page.error[0].value
    assert not list(components(page))


def test_a_network_that_may_not_be_run_is_as_none(
    in_words: AppTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.pt").write_bytes(b"")  # code, whose hash the browser is not given
    (tmp_path / "net.txt").write_text("dog\n")
    monkeypatch.setenv(options.IMAGE_MODEL, str(tmp_path / "net.pt"))
    page = drop(in_words, "photo.png", picture_bytes())
    assert "boiler encoders add efficientnet-lite0" in page.error[0].value


@pytest.mark.parametrize("name", ["letter.png", "letter"])
def test_what_is_no_picture_is_refused_in_a_sentence(in_words: AppTest, name: str) -> None:
    content = b"Dear Sir or Madam" if name.endswith("png") else picture_bytes()[:40]
    page = drop(in_words, name, content)
    assert f"This picture cannot be used: {name}" in page.error[0].value.replace("\\", "")
    assert "not a picture" in page.error[0].value
    assert not page.query_params.get("picture")


def test_an_index_without_words_speaks_of_names_alone(page: AppTest) -> None:
    run_page(page, find="hound")
    assert "In words" not in page.info[0].value
    assert page.text_input(key="find").label == "Find a sound by name"


def test_an_index_without_words_refuses_a_picture(page: AppTest) -> None:
    drop(page, "photo.png", picture_bytes())
    assert "cannot be searched in words" in page.error[0].value
