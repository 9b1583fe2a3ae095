"""The label page asks, stores every answer, learns from it, and undoes it."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import collection, components, page_of, run_page
from streamlit.testing.v1 import AppTest

from boiler.browser import indexes
from boiler.browser.indexes import OpenIndex
from boiler.browser.label_page import labels_csv


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[OpenIndex]:
    """An index of its own, because labels are stored in it."""
    shutil.copytree(collection()[1], tmp_path / "model", symlinks=True)
    yield indexes.open_index(tmp_path / "model")
    indexes._open_indexes.clear()


def with_tags(index: OpenIndex, *tags: str) -> AppTest:
    page = run_page(page_of("label_page", index.model_dir))
    for tag in tags:
        page.text_input(key="new-tag").set_value(tag)
        page.button[0].click().run()
        assert not page.exception
    return page


def asked(page: AppTest) -> int:
    (view,) = components(page)
    (card,) = view["cards"]
    return int(card["n"])


def test_the_page_first_asks_for_tags(copy: OpenIndex) -> None:
    page = run_page(page_of("label_page", copy.model_dir))
    assert "Add the tags" in page.info[0].value
    page = with_tags(copy, "bell", "rain")
    assert [page.button(key=f"answer-{number}").label for number in (1, 2)] == ["bell", "rain"]


def test_an_answer_is_stored_and_another_sound_is_asked_about(copy: OpenIndex) -> None:
    page = with_tags(copy, "bell", "rain")
    first = asked(page)
    page.button(key="answer-1").click().run()
    assert not page.exception
    assert copy.nearest.hand_labels.of(copy.nearest.item(first).id) == {"bell": True, "rain": False}
    second = asked(page)
    assert second != first
    page.button(key="answer-0").click().run()
    assert copy.nearest.hand_labels.of(copy.nearest.item(second).id) == {"bell": False, "rain": False}
    assert any("2 sounds of" in caption.value for caption in page.caption)
    page.button(key="undo-label").click().run()
    page.button(key="undo-label").click().run()
    assert copy.nearest.hand_labels.all() == {}
    assert page.button(key="undo-label").disabled
    assert asked(page) == first


def test_a_skipped_sound_is_not_asked_about_again(copy: OpenIndex) -> None:
    page = with_tags(copy, "bell")
    seen = [asked(page)]
    for _ in range(3):
        page.button(key="skip").click().run()
        seen.append(asked(page))
    assert len({*seen}) == 4
    assert copy.nearest.hand_labels.all() == {}


def test_answers_teach_the_model(copy: OpenIndex) -> None:
    page = with_tags(copy, "bell", "rain")
    for _ in range(10):
        item = copy.nearest.item(asked(page))
        page.button(key={"bell": "answer-1", "rain": "answer-2"}.get(item.label or "", "answer-0")).click().run()
        assert not page.exception
    state = page.session_state[f"labelling-{copy.key}"]
    probabilities = state.model.probabilities()
    for number, tag in enumerate(("bell", "rain")):
        position = [at for at, n in enumerate(state.numbers) if copy.nearest.item(n).label == tag]
        others = [at for at, n in enumerate(state.numbers) if copy.nearest.item(n).label not in (tag, "long")]
        column = probabilities[:, state.model.tags.index(tag)]
        assert column[position].mean() > column[others].mean() + 0.2, number


def test_labels_are_exported_as_a_table(copy: OpenIndex) -> None:
    items = copy.nearest.items()
    copy.nearest.add_tag(items[0].n, "dog")
    copy.nearest.add_tag(items[0].n, "loud")
    copy.nearest.add_tag(items[1].n, "dog", False)
    rows = list(csv.DictReader(io.StringIO(labels_csv(copy), newline="")))
    assert rows == [{"id": items[0].id, "labels": "dog;loud"}, {"id": items[1].id, "labels": ""}]


def test_tags_that_were_given_before_are_offered(copy: OpenIndex) -> None:
    copy.nearest.add_tag(copy.nearest.items()[0].n, "dog")
    page = run_page(page_of("label_page", copy.model_dir))
    assert page.button(key="answer-1").label == "dog"
