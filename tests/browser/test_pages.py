"""The pages of the browser, without a browser: what they show for an address, and what a click makes of it."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import KINDS, LONG, PER_KIND, SCRIPT, collection, recording, sound_bytes, write
from streamlit import config
from streamlit.testing.v1 import AppTest
from torch.utils.tensorboard import SummaryWriter

from boiler.audio import synthesis, windows
from boiler.browser import (
    cards,
    collection_page,
    evaluation_page,
    filter_form,
    indexes,
    options,
    path_page,
    results,
    search_page,
    tray_page,
    upload_field,
)
from boiler.browser.background import Stopped
from boiler.browser.explanation import MOST_WORDS
from boiler.browser.indexes import Brought, Library
from boiler.browser.url_state import STEP, Question, Wish
from boiler.errors import ModelDirError, NotASoundError, QueryError, UnknownItemError
from boiler.indexing.pipeline import IndexSettings, index
from boiler.search import statistics
from boiler.search.nearest import ByItem
from boiler.store import generation
from boiler.store.generation import Header, Item, rows_of

RUN_S = 60


@pytest.fixture
def shelf() -> Library:
    return indexes.open_library(collection()[1])


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The browser, started with the test's collection."""
    monkeypatch.setenv(options.MODEL_DIR, str(collection()[1]))
    monkeypatch.delenv(options.WAV_DIR, raising=False)
    return AppTest.from_file(str(SCRIPT), default_timeout=RUN_S)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A folder without any index, and a browser started with none."""
    monkeypatch.delenv(options.MODEL_DIR, raising=False)
    monkeypatch.delenv(options.WAV_DIR, raising=False)
    monkeypatch.chdir(tmp_path)
    before = config.get_option("server.address")
    config.set_option("server.address", "127.0.0.1")
    yield tmp_path
    config.set_option("server.address", before)


def ran(page: AppTest, **address: str) -> AppTest:
    for name, word in address.items():
        page.query_params[name] = word
    page.run()
    assert not page.exception
    return page


def opened(page: AppTest, popover: str) -> AppTest:
    """With that popover open: its fields are made only then."""
    page.session_state[popover] = True
    return page


def shown(page: AppTest) -> Iterator[dict[str, Any]]:
    """What each component on the page was given."""
    for element in page.get("bidi_component"):
        yield json.loads(element.proto.json)


def number(shelf: Library, id: str) -> int:
    return shelf.nearest.item(id).n


# --- what is asked, and what is shown --------------------------------------------------------------------------------


def test_nothing_asked_shows_what_there_is_and_some_sounds_to_begin_with(page: AppTest) -> None:
    ran(page)
    (board,) = shown(page)
    assert len(board["cards"]) == search_page.TO_BEGIN_WITH
    assert "22 sounds" in page.caption[0].value
    assert not page.error


def test_an_item_in_the_address_shows_it_large_and_its_neighbours_nearest_first(page: AppTest, shelf: Library) -> None:
    n = number(shelf, "bell/bell-0.wav")
    ran(page, item=str(n))
    query, answers = shown(page)
    assert query["shape"] == "one"
    assert [card["n"] for card in query["cards"]] == [n]
    assert query["cards"][0]["selectable"]
    assert [card["n"] for card in answers["cards"]] == [match.n for match in shelf.nearest.by_item(n, STEP)]
    distances = [float(card["distance"]) for card in answers["cards"]]
    assert distances == sorted(distances)
    assert all(card["closer"].startswith("closer than ") for card in answers["cards"])


def test_the_part_that_matched_is_marked_in_a_long_sound(page: AppTest, shelf: Library) -> None:
    ran(page, item=str(number(shelf, "vowel/vowel-3.wav")))
    _, answers = shown(page)
    card = next(card for card in answers["cards"] if card["id"] == LONG)
    begin, end = card["match"]
    assert end - begin == pytest.approx(windows.WINDOW_S, abs=0.01)
    assert begin >= 20  # the vowel comes last in it
    assert "matched" in card["matched"]
    short = next(card for card in answers["cards"] if card["id"].startswith("bell/"))
    assert short["match"] is None


def test_every_answer_has_an_address_that_asks_it_and_remembers_the_way(page: AppTest, shelf: Library) -> None:
    n = number(shelf, "bell/bell-0.wav")
    ran(page, item=str(n))
    _, answers = shown(page)
    first = answers["cards"][0]
    assert first["address"] == f"?item={first['n']}&trail={n}"


def test_more_answers_on_demand(page: AppTest, shelf: Library) -> None:
    ran(page, item=str(number(shelf, "bell/bell-0.wav")))
    page.button(key="more").click().run()
    assert page.query_params["k"] == str(2 * STEP)
    _, answers = shown(page)
    assert len(answers["cards"]) == len(shelf.nearest) - 2  # itself, and the silent one


def test_the_trail_leads_back(page: AppTest, shelf: Library) -> None:
    ran(page, item="3", trail="1.2")
    page.button(key="trail-0").click().run()
    assert page.query_params == {"item": ["1"]} or page.query_params == {"item": "1"}


def test_a_name_is_looked_for_while_typing_and_the_address_keeps_it(page: AppTest) -> None:
    ran(page)
    page.text_input(key="find").set_value("kick").run()
    assert page.query_params["find"] == "kick"
    (board,) = shown(page)
    assert [card["label"] for card in board["cards"]] == ["kick"] * PER_KIND


def test_a_name_that_is_not_there_is_answered_with_what_to_do(page: AppTest) -> None:
    ran(page, find="xylophone")
    assert "Try a shorter piece" in page.info[0].value


def test_a_label_lists_its_sounds(page: AppTest) -> None:
    ran(page)
    page.get_by_key("label").set_value("rain").run()
    (board,) = shown(page)
    assert {card["label"] for card in board["cards"]} == {"rain"}


def test_surprise_me_asks_some_item(page: AppTest, shelf: Library) -> None:
    ran(page)
    page.button(key="random").click().run()
    assert shelf.nearest.item(int(page.query_params["item"]))


def test_an_uploaded_sound_is_asked_with_and_its_address_asks_again(page: AppTest, shelf: Library) -> None:
    path = collection()[0] / "bell" / "bell-1.wav"
    ran(opened(page, upload_field.POPOVER))
    page.file_uploader[0].upload("../../mine.wav", path.read_bytes()).run()
    assert not page.exception
    query, answers = shown(page)
    assert query["cards"][0]["name"] == "mine.wav"
    assert answers["cards"][0]["id"] == "bell/bell-1.wav"
    assert float(answers["cards"][0]["distance"]) < 0.01
    again = AppTest.from_file(str(SCRIPT), default_timeout=RUN_S)
    _, same = shown(ran(again, sound=page.query_params["sound"]))
    assert [card["n"] for card in same["cards"]] == [card["n"] for card in answers["cards"]]


def test_what_is_no_item_is_embedded_once_whatever_is_wished_and_again_after_it_was_stopped(
    shelf: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Question(sound=indexes.brought().add("mine.wav", (collection()[0] / LONG).read_bytes()))
    part = Question(item=number(shelf, LONG), start_s=2.0, end_s=34.0)
    embed_blocks, calls = shelf.nearest.embed_blocks, list[str]()

    def counted(blocks: Any, name: str, from_s: float = 0.0) -> Any:
        calls.append(name)
        return embed_blocks(blocks, name, from_s)

    monkeypatch.setattr(shelf.nearest, "embed_blocks", counted)
    for question in (whole, part):
        calls.clear()
        told: list[float] = []

        def enough(share: float, told: list[float] = told) -> None:
            told.append(share)
            if len(told) == 3:
                raise Stopped

        with pytest.raises(Stopped):
            results.alone(shelf, question, enough)
        assert told == sorted(told)
        assert 0 == told[0] < told[2] < 1
        assert len(calls) == 1
        found = answered(shelf, question)
        assert len(calls) == 2
        assert answered(shelf, question.wished(Wish(fold=False)))[:3] == found[:3]
        results.alone(shelf, question)
        assert len(calls) == 2


def test_a_recording_is_asked_with(page: AppTest) -> None:
    ran(opened(page, upload_field.POPOVER))
    page.audio_input[0].upload("recording.wav", (collection()[0] / "kick" / "kick-0.wav").read_bytes()).run()
    query, _ = shown(page)
    assert query["cards"][0]["name"] == "Your recording"


# --- what goes wrong is a sentence -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ({"item": "99999"}, "not in this collection"),
        ({"sound": "abcabcabcabc"}, "bring it along again"),
        ({"sound": "not hex"}, "bring it along again"),
        ({"item": "1", "from": "500", "to": "600"}, "cannot be used"),
    ],
)
def test_what_an_address_cannot_have_is_said_with_a_way_out(page: AppTest, address: dict[str, str], said: str) -> None:
    ran(page, **address)
    assert said in page.error[0].value
    page.button[-1].click().run()
    assert not page.query_params
    assert not page.error


def test_a_silent_item_is_said_to_be_silent(page: AppTest, shelf: Library) -> None:
    ran(page, item=str(number(shelf, "quiet/nothing.wav")))
    assert "silence" in page.error[0].value


def test_an_upload_that_is_no_sound_is_refused_in_a_sentence(page: AppTest) -> None:
    ran(opened(page, upload_field.POPOVER))
    page.file_uploader[0].upload("letter.txt", b"Dear Sir or Madam").run()
    assert not page.exception
    assert "cannot be used" in page.error[0].value
    assert "sound" not in page.query_params


def test_what_nobody_foresaw_is_a_sentence_too(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    def boom(*_: object) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(search_page, "bar", boom)
    ran(page)
    assert "did not foresee" in page.error[0].value
    assert "secret" not in str([element.value for element in page.error])


def test_without_an_index_the_page_says_how_to_make_one(elsewhere: Path) -> None:
    page = ran(AppTest.from_file(str(SCRIPT), default_timeout=RUN_S))
    assert "boiler index" in page.info[0].value


def test_a_model_directory_that_is_none_is_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(options.MODEL_DIR, str(tmp_path / "nothing"))
    page = ran(AppTest.from_file(str(SCRIPT), default_timeout=RUN_S))
    assert "boiler index" in page.error[0].value


# --- which index -----------------------------------------------------------------------------------------------------


def test_an_index_below_is_found_and_named_in_the_address(elsewhere: Path) -> None:
    (elsewhere / "exp").symlink_to(collection()[1].parents[1])
    page = ran(AppTest.from_file(str(SCRIPT), default_timeout=RUN_S))
    key = page.query_params["library"]
    assert "22 sounds" in page.caption[0].value
    again = ran(AppTest.from_file(str(SCRIPT), default_timeout=RUN_S), library=str(key), item="1")
    assert len(list(shown(again))) == 2


def test_the_sidebar_opens_another(elsewhere: Path) -> None:
    page = ran(AppTest.from_file(str(SCRIPT), default_timeout=RUN_S))
    page.sidebar.text_input(key="model_dir").set_value(str(collection()[1]))
    page.sidebar.button[0].click().run()
    assert not page.exception
    assert "22 sounds" in page.caption[0].value


def test_a_folder_of_sounds_that_is_not_there_is_said(elsewhere: Path) -> None:
    page = ran(AppTest.from_file(str(SCRIPT), default_timeout=RUN_S))
    page.sidebar.text_input(key="model_dir").set_value(str(collection()[1]))
    page.sidebar.text_input(key="wav_dir").set_value(str(elsewhere / "gone"))
    page.sidebar.button[0].click().run()
    assert "there is no folder" in page.error[0].value


def test_where_others_reach_the_browser_they_choose_no_folders_of_the_machine(elsewhere: Path) -> None:
    config.set_option("server.address", "0.0.0.0")  # noqa: S104  # what is tested is that this is told apart
    page = ran(AppTest.from_file(str(SCRIPT), default_timeout=RUN_S))
    assert "started without a model directory" in page.info[0].value
    assert not page.sidebar.text_input


def test_an_index_is_opened_once_and_a_new_generation_is_taken_up(tmp_path: Path) -> None:
    publish(tmp_path, 3)
    first = indexes.open_library(tmp_path)
    assert indexes.open_library(tmp_path) is first
    assert len(first.nearest) == 3
    publish(tmp_path, 5)
    assert len(indexes.open_library(tmp_path).nearest) == 5


def publish(model_dir: Path, n_items: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(n_items, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    items = [Item(n, f"{n}.wav", duration_s=5.0) for n in range(n_items)]
    generation.publish(
        model_dir, Header(encoder="random", dim=8), vectors, rows_of(np.arange(n_items), end_s=5.0), items
    )


# --- likes and dislikes ----------------------------------------------------------------------------------------------


def answered(shelf: Library, question: Question) -> list[int]:
    return [match.n for match in results.of(shelf, question).matches]


def test_a_like_brings_answers_nearer_to_it_and_a_dislike_goes(shelf: Library) -> None:
    n, liked = number(shelf, "bell/bell-0.wav"), number(shelf, "rain/rain-0.wav")
    question = Question(item=n, k=21)
    plain, steered = answered(shelf, question), answered(shelf, question.like(liked))
    rain = [item.n for item in shelf.nearest.items(label="rain") if item.n != liked]
    assert sum(map(steered.index, rain)) < sum(map(plain.index, rain))
    assert n not in steered
    without = answered(shelf, question.dislike(plain[0]))
    assert set(without) == set(plain) - {plain[0]}


def test_steering_that_is_taken_back_leaves_the_answers_as_they_were(shelf: Library) -> None:
    question = Question(item=number(shelf, "kick/kick-0.wav"))
    assert results.of(shelf, question.like(3).like(3)) == results.of(shelf, question)


def test_likes_alone_are_a_question(shelf: Library) -> None:
    bells = tuple(item.n for item in shelf.nearest.items(label="bell"))[:2]
    found = answered(shelf, Question(more=bells))
    assert found
    assert not set(found) & set(bells)


def test_a_part_is_asked_with_alone_and_its_own_item_is_no_answer(shelf: Library) -> None:
    n = number(shelf, LONG)
    first = answered(shelf, Question(item=n, start_s=0.0, end_s=10.0, k=30))
    last = answered(shelf, Question(item=n, start_s=26.0, end_s=36.0, k=30))
    assert n not in first + last
    assert first != last


# --- judgements that are kept


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    """A copy of the test's index, which may be written to, and the browser started with it."""
    shutil.copytree(collection()[1], tmp_path / "own", symlinks=True)
    monkeypatch.setenv(options.MODEL_DIR, str(tmp_path / "own"))
    monkeypatch.setenv(options.WAV_DIR, str(collection()[0]))
    return indexes.open_library(tmp_path / "own", collection()[0])


def judged(model_dir: str, wav_dir: str, item: int, done: list[list[object]]) -> None:
    from pathlib import Path

    import streamlit as st

    from boiler.browser import actions, indexes, search_page
    from boiler.browser.url_state import Question

    shelf = indexes.open_library(Path(model_dir), Path(wav_dir))
    if "done" not in st.session_state:
        st.session_state["done"] = True
        actions.go(Question(item=item))
        for what, n in done:
            actions.act(shelf, {"what": what, "n": n})
    search_page.page(shelf)


def judging(own: Library, item: int, *done: tuple[str, int]) -> AppTest:
    args = (str(own.model_dir), str(collection()[0]), item, [list(one) for one in done])
    page = AppTest.from_function(judged, default_timeout=RUN_S, args=args).run()
    assert not page.exception
    assert not page.error
    return page


def verdicts(own: Library, item: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    found = own.nearest.feedback_for(ByItem(item))
    return found.likes, found.dislikes


def test_a_like_is_kept_with_the_index_and_steers_through_the_address(own: Library) -> None:
    liked, disliked = own.nearest.item(12).id, own.nearest.item(7).id
    page = judging(own, 3, ("like", 12), ("dislike", 7))
    assert page.query_params["more"] in ("12", ["12"])
    assert verdicts(own, 3) == ((liked,), (disliked,))


def test_a_like_taken_back_is_undone_in_both(own: Library) -> None:
    page = judging(own, 3, ("like", 12), ("like", 12))
    assert "more" not in page.query_params
    assert verdicts(own, 3) == ((), ())


def test_a_mind_that_changes_is_kept_as_the_last_word(own: Library) -> None:
    judging(own, 3, ("like", 12), ("dislike", 12))
    assert verdicts(own, 3) == ((), (own.nearest.item(12).id,))


def test_undo_takes_back_the_last(own: Library) -> None:
    page = judging(own, 3, ("like", 12), ("dislike", 7))
    page.button(key="undo").click().run()
    assert "less" not in page.query_params
    assert verdicts(own, 3) == ((own.nearest.item(12).id,), ())
    page.button(key="undo").click().run()
    assert set(page.query_params) == {"item"}
    assert verdicts(own, 3) == ((), ())


def test_what_was_kept_moves_a_list_only_where_it_is_asked_to(own: Library) -> None:
    question = Question(item=3, k=20)
    plain = answered(own, question)
    own.nearest.add_feedback(ByItem(3), plain[0], like=False)
    assert answered(own, question) == plain
    assert plain[0] not in answered(own, question.wished(Wish(heed=True)))
    page = AppTest.from_file(str(SCRIPT), default_timeout=RUN_S)
    ran(page, item="3")
    page.button(key="heed").click().run()
    assert page.query_params["heed"] in ("1", ["1"])


# --- folders, ways, reasons, the map


def test_the_folders_are_walked_down_and_up(page: AppTest) -> None:
    ran(page)
    page.button(key="folders").click().run()
    page.button(key="folder-rain").click().run()
    assert page.query_params["in"] in ("rain", ["rain"])
    (board,) = shown(page)
    assert {card["label"] for card in board["cards"]} == {"rain"}
    assert len(board["cards"]) == PER_KIND
    page.button(key="way-0").click().run()
    assert page.button(key="folder-rain").label == f"rain · {PER_KIND}"


def test_a_folder_that_is_not_there_is_said(page: AppTest) -> None:
    ran(page, **{"in": "nowhere"})
    assert "no sound in a folder" in page.info[0].value


def way(model_dir: str) -> None:
    from pathlib import Path

    from boiler.browser import indexes, path_page

    path_page.page(indexes.open_library(Path(model_dir)))


def test_a_way_begins_and_ends_where_it_is_told(shelf: Library) -> None:
    page = AppTest.from_function(way, default_timeout=RUN_S, args=(str(shelf.model_dir),))
    ran(page)
    assert "Choose where to begin" in page.info[0].value
    ran(page, start="1", end="9", steps="4")
    (board,) = shown(page)
    numbers = [card["n"] for card in board["cards"]]
    assert (numbers[0], numbers[-1]) == (1, 9)
    assert len(set(numbers)) == 6
    assert board["heard"] == path_page.HEARD_S
    page.slider(key="steps").set_value(2).run()
    (board,) = shown(page)
    assert len(board["cards"]) == 4
    page.button(key="swap").click().run()
    (board,) = shown(page)
    assert [board["cards"][at]["n"] for at in (0, -1)] == [9, 1]
    page.button(key="start-any").click().run()
    assert not page.exception


def test_a_way_from_a_sound_to_itself_is_refused(shelf: Library) -> None:
    page = AppTest.from_function(way, default_timeout=RUN_S, args=(str(shelf.model_dir),))
    ran(page, start="3", end="3")
    assert "the same sound" in page.info[0].value
    assert list(shown(page)) == []


def test_an_answer_is_explained_and_closed_again(page: AppTest, shelf: Library) -> None:
    n = number(shelf, "bell/bell-0.wav")
    ran(page, item=str(n), why=str(number(shelf, LONG)))
    (why,) = (one for one in shown(page) if "marks" in one)
    assert why["query"]["name"] == "bell-0.wav"
    assert why["answer"]["name"] == "three.wav"
    assert why["marks"]
    begin, end = why["answer"]["shown"]
    assert all(begin <= options < stop <= end for start, stop in why["marks"][0]["answer"])
    assert all(-1 <= similarity <= 1.001 for _, _, similarity in why["query"]["course"])
    page.button(key="unwhy").click().run()
    assert "why" not in page.query_params


def test_an_answer_of_a_bag_is_explained_by_its_words(
    page: AppTest, checkpoint_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(2):
        write(tmp_path / "sounds" / f"{n}.wav", synthesis.make("bell", np.random.default_rng(n)))
    settings = IndexSettings(tmp_path / "sounds", "BagTopVQVAE", model_dir=tmp_path / "m", pt_path=checkpoint_path)
    index(settings)
    monkeypatch.setenv(options.MODEL_DIR, str(tmp_path / "m"))
    nearest = indexes.open_library(tmp_path / "m").nearest
    ran(page, item=str(nearest.item("0.wav").n), why=str(nearest.item("1.wav").n))
    (why,) = (one for one in shown(page) if "marks" in one)
    assert why["kind"] == "words"
    words = [mark["name"] for mark in why["marks"]]
    assert words
    assert len(set(words)) == len(words) <= MOST_WORDS
    assert all(word.startswith("Word ") for word in words)
    shares = [int(mark["share"].removesuffix(" %")) for mark in why["marks"]]
    assert shares == sorted(shares, reverse=True)
    assert 0 < sum(shares) <= 100 + len(shares) / 2  # each is rounded
    for side in ("query", "answer"):
        begin, end = why[side]["shown"]
        parts = [part for mark in why["marks"] for part in mark[side]]
        assert parts
        assert all(begin <= first < last <= end + 1e-3 for first, last in parts)


def test_what_cannot_be_explained_is_said_and_the_answers_stay(page: AppTest, shelf: Library) -> None:
    ran(page, item="1", why=str(number(shelf, "quiet/nothing.wav")))
    assert "cannot be explained" in page.warning[0].value
    assert len(list(shown(page))) == 2


def map_of(model_dir: str) -> None:
    from pathlib import Path

    from boiler.browser import indexes, map_page

    map_page.page(indexes.open_library(Path(model_dir)))


def test_the_map_has_a_legend_and_says_what_it_is(shelf: Library) -> None:
    page = AppTest.from_function(map_of, default_timeout=RUN_S, args=(str(shelf.model_dir),))
    ran(page)
    assert "not the measure" in page.caption[0].value
    (drawn,) = shown(page)
    assert {one["name"] for one in drawn["legend"]} == {*KINDS, "long"}
    assert drawn["total"] == 21


# --- what the answers should be like


@pytest.mark.parametrize(
    ("wish", "passes"),
    [
        (Wish(label="rain"), lambda item: item.label == "rain"),
        (Wish(folder="kick"), lambda item: item.folder == "kick"),
        (Wish(short_s=2.0, long_s=5.0), lambda item: 2.0 <= item.duration_s <= 5.0),
        (Wish(where="channels == 1 and glob(id, '*-1.wav')"), lambda item: item.id.endswith("-1.wav")),
    ],
)
def test_answers_pass_the_conditions_wished_for(shelf: Library, wish: Wish, passes: Callable[[Item], bool]) -> None:
    n = number(shelf, "bell/bell-0.wav")
    found = answered(shelf, Question(item=n, k=30, wish=wish))
    items = [item for item in shelf.nearest.items() if passes(item) and not item.silent and item.n != n]
    assert sorted(found) == sorted(item.n for item in items)


def test_at_most_so_many_of_a_label(shelf: Library) -> None:
    found = answered(shelf, Question(item=1, k=30, wish=Wish(most=2)))
    labels = [shelf.nearest.item(n).label for n in found]
    assert max(map(labels.count, labels)) == 2


def test_wishes_are_fields_that_write_the_address(page: AppTest, shelf: Library) -> None:
    ran(opened(page, filter_form.POPOVER), item=str(number(shelf, "bell/bell-0.wav")))
    page.selectbox(key="wish_label").set_value("rain").run()
    page.slider(key="wish_vary").set_value(30).run()
    page.toggle(key="wish_fold").set_value(False).run()
    assert not page.exception
    assert {name: page.query_params[name] for name in ("label", "vary", "fold")} == {
        "label": "rain",
        "vary": "30",
        "fold": "0",
    }
    _, answers = shown(page)
    assert {card["label"] for card in answers["cards"]} == {"rain"}
    assert "no more items pass the filter" in page.caption[0].value
    page.button(key="clear").click().run()
    assert set(page.query_params) == {"item"}


def test_a_condition_that_cannot_be_read_is_said(page: AppTest, shelf: Library) -> None:
    ran(page, item="1", where="colour is red")
    assert "cannot be answered" in page.error[0].value


# --- sounds brought along --------------------------------------------------------------------------------------------


def test_a_sound_brought_twice_is_kept_once_and_the_oldest_makes_room() -> None:
    one, two = sound_bytes(440.0), sound_bytes(660.0)
    brought = Brought(most_bytes=len(one) + len(two) - 1)
    key = brought.add("one.wav", one)
    assert brought.add("again.wav", one) == key
    assert brought.path(int(key, 16)).read_bytes() == one
    brought.add("two.wav", two)
    with pytest.raises(QueryError, match="bring it along again"):
        brought.item(key)
    with pytest.raises(UnknownItemError):
        brought.path(int(key, 16))


def test_what_is_no_sound_is_not_kept() -> None:
    with pytest.raises(NotASoundError):
        Brought().add("x.wav", b"nothing")


# --- the tray --------------------------------------------------------------------------------------------------------


def in_tray(model_dir: str, numbers: list[int]) -> None:
    import streamlit as st

    from boiler.browser import actions, indexes, tray_page

    shelf = indexes.open_library(model_dir)  # type: ignore[arg-type]  # a plain word, as the script is told
    if "filled" not in st.session_state:
        st.session_state["filled"] = True
        actions.kept(shelf).extend(numbers)
    tray_page.page(shelf)


def test_the_tray_shows_what_was_kept_and_is_emptied(shelf: Library) -> None:
    page = AppTest.from_function(in_tray, default_timeout=RUN_S, args=(str(collection()[1]), [1, 2]))
    page.run()
    assert not page.exception
    (board,) = shown(page)
    assert [card["n"] for card in board["cards"]] == [1, 2]
    assert [link.proto.url for link in page.get("link_button")] == [f"{shelf.sounds_at}/parcel.zip?n=1.2"]
    page.button(key="empty").click().run()
    assert "Nothing chosen yet" in page.info[0].value


def test_the_ways_out_of_the_tray_agree(shelf: Library) -> None:
    items = [shelf.nearest.item(n) for n in (1, 2, 7)]
    lines = tray_page.m3u8(shelf, items).decode().splitlines()
    assert lines[0] == "#EXTM3U"
    assert [Path(line).is_file() for line in lines[2::2]] == [True] * 3
    rows = list(csv.DictReader(io.StringIO(tray_page.table(items).decode())))
    assert [row["id"] for row in rows] == [item.id for item in items]
    assert [row["n"] for row in json.loads(tray_page.listing(items))] == [1, 2, 7]


# --- the page that looks after ---------------------------------------------------------------------------------------


def look_after(model_dir: str) -> None:
    from boiler.browser import collection_page, indexes

    collection_page.page(indexes.open_library(model_dir))  # type: ignore[arg-type]  # a plain word, as the script is told


def test_the_collection_is_counted(shelf: Library) -> None:
    held = statistics.of(shelf.model_dir)
    assert (held.n_items, held.n_silent) == (22, 1)
    assert dict(held.labels) == dict.fromkeys(KINDS, PER_KIND) | {"long": 1, "quiet": 1}
    assert [failure.id for failure in held.failures] == ["broken/text.wav"]
    page = AppTest.from_function(look_after, default_timeout=RUN_S, args=(str(shelf.model_dir),)).run()
    assert not page.exception
    assert {metric.label: metric.value for metric in page.metric}["Not readable"] == "1"


def test_the_same_bytes_twice_are_found(tmp_path: Path) -> None:
    vectors = np.eye(3, dtype=np.float32)
    items = [Item(n, f"{n}.wav", duration_s=1.0, sha256="ab" if n < 2 else "cd") for n in range(3)]
    generation.publish(tmp_path, Header(encoder="random", dim=3), vectors, rows_of(np.arange(3), end_s=1.0), items)
    assert statistics.of(tmp_path).duplicates == (("0.wav", "1.wav"),)


def test_sounds_that_are_nearly_the_same_are_shown_among_many_when_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = np.float32([[1, 0, 0], [0, 1, 0], [1, 0.05, 0], [1, 0, 0]])
    lengths_s = (5.0, 5.0, 5.1, 9.0)  # the last is another length
    items = [Item(n, f"{n}.wav", duration_s=lengths_s[n]) for n in range(4)]
    generation.publish(tmp_path, Header(encoder="random", dim=3), vectors, rows_of(np.arange(4), end_s=5.0), items)

    def groups(page: AppTest) -> list[list[str]]:
        tables = [table.value for table in page.dataframe if "Nearly the same" in table.value]
        return [[*row] for table in tables for row in table[["One", "Nearly the same"]].to_numpy().tolist()]

    page = AppTest.from_function(look_after, default_timeout=RUN_S, args=(str(tmp_path),)).run()
    assert groups(page) == [["0.wav", "2.wav"]]
    monkeypatch.setattr(collection_page, "NEAR_UP_TO_ITEMS", 3)
    page = AppTest.from_function(look_after, default_timeout=RUN_S, args=(str(tmp_path),)).run()
    assert groups(page) == []
    page.button(key="near").click().run()
    assert groups(page) == [["0.wav", "2.wav"]]


def test_measuring_how_long_a_brought_sound_is_ends_when_it_is_told_to() -> None:
    def stop(share: float) -> None:
        raise Stopped

    brought = indexes.Brought()
    sound = recording(4)
    with pytest.raises(Stopped):
        brought.add("meeting.webm", sound, stop)
    shares: list[float] = []
    item = brought.item(brought.add("meeting.webm", sound, shares.append))
    assert item.duration_s == pytest.approx(4, abs=0.05)
    assert len(shares) >= 3
    brought.add("stated.wav", sound_bytes(440.0), stop)  # which has nothing to measure


# --- the page of measures


def measure(model_dir: str) -> None:
    from boiler.browser import evaluation_page, indexes

    evaluation_page.page(indexes.open_library(model_dir))  # type: ignore[arg-type]  # a plain word, as the script is told


def test_what_was_measured_is_shown_and_said_to_be_of_an_older_index_when_it_is(tmp_path: Path) -> None:
    publish(tmp_path, 3)
    page = AppTest.from_function(measure, default_timeout=RUN_S, args=(str(tmp_path),)).run()
    assert "boiler evaluate" in page.info[0].value
    folder = tmp_path / "evaluation" / generation.current_name(tmp_path)
    folder.mkdir(parents=True)
    (folder / "evaluation.md").write_text("# Results\n\n## Table\n\nP@1 .7\n")
    page.run()
    assert not page.warning
    assert "P@1 .7" in page.markdown[-1].value
    publish(tmp_path, 4)
    page.run()
    assert "boiler evaluate" in page.warning[0].value
    assert not page.exception


def test_the_curves_of_the_training_are_those_written(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(5):
            writer.add_scalar("train/total", 1.0 / (step + 1), step)
    steps, values = evaluation_page.curves(str(tmp_path), 0.0)["train/total"]
    assert steps == list(range(5))
    assert values[0] == 1.0


def test_a_training_that_went_on_takes_the_place_of_what_was_written_after_that_step(tmp_path: Path) -> None:
    for first, value in ((0, 1.0), (3, 2.0)):
        with SummaryWriter(str(tmp_path), purge_step=first, filename_suffix=f".{first}") as writer:
            for step in range(first, 5 + 2 * first, 1 + first):
                writer.add_scalar("train/total", value, step)
    assert evaluation_page.curves(str(tmp_path), 1.0)["train/total"] == ([0, 1, 2, 3, 7], [1.0, 1.0, 1.0, 2.0, 2.0])


def test_reading_the_curves_says_how_far_it_is_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(evaluation_page.CURVES + 40):
            writer.add_scalar("train/total", float(step), step)
    shares: list[float] = []
    steps, values = evaluation_page.curves(str(tmp_path), 2.0, shares.append)["train/total"]
    assert shares == sorted(shares)
    assert 0.5 < shares[-1] <= 1.0
    assert len(steps) == evaluation_page.CURVES
    assert (steps[0], steps[-1], values[-1]) == (0, evaluation_page.CURVES + 39, evaluation_page.CURVES + 39.0)

    def stop(share: float) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        evaluation_page.curves(str(tmp_path), 3.0, stop)


# --- cards -----------------------------------------------------------------------------------------------------------


def test_a_card_never_carries_a_path_of_this_machine(shelf: Library) -> None:
    question = Question(item=1)
    for match in shelf.nearest.by_item(1, 20):
        card = cards.of_match(match, shelf.nearest.item(match.n), shelf.sounds_at, question, ())
        assert str(collection()[0].parent) not in json.dumps(card.__dict__)


def test_a_folder_given_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelDirError, match="there is no folder"):
        indexes.open_library(collection()[1], tmp_path / "gone")
