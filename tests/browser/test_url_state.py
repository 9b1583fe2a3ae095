"""The question in the address."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from boiler.browser.url_state import MOST, STEP, TRAIL, Question, Wish

numbers = st.integers(0, 10**9)
addresses = st.dictionaries(
    st.sampled_from(
        ["item", "sound", "from", "to", "more", "less", "find", "label", "folder", "k", "trail", "library"]
    ),
    st.text(max_size=30) | st.from_regex(r"[0-9.,\-+e]{0,20}", fullmatch=True),
)


@given(addresses)
def test_any_address_gives_a_question_and_what_it_means_is_written_back_the_same(address: dict[str, str]) -> None:
    once = Question.of(address).address()
    assert Question.of(once).address() == once


@given(st.lists(numbers, min_size=1, max_size=40))
def test_the_trail_holds_no_item_twice_nor_the_one_asked_for(way: list[int]) -> None:
    question = Question()
    for n in way:
        question = question.ask(n)
    assert question.item == way[-1]
    assert len(set(question.trail)) == len(question.trail) <= TRAIL
    assert question.item not in question.trail


def test_going_back_to_a_place_forgets_the_way_from_there() -> None:
    question = Question().ask(1).ask(2).ask(3)
    assert question.trail == (1, 2)
    assert question.ask(1) == Question().ask(1)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=30))
def test_nothing_is_liked_and_disliked_at_once(steps: list[tuple[bool, int]]) -> None:
    question = Question(item=9)
    for liked, n in steps:
        question = question.like(n) if liked else question.dislike(n)
    assert not set(question.more) & set(question.less)


def test_like_and_dislike_are_taken_back_by_doing_them_again() -> None:
    question = Question(item=9, more=(1,), less=(2,))
    assert question.like(5).like(5) == question
    assert question.dislike(5).dislike(5) == question


def test_steering_ends_with_the_sound_it_was_about_and_filters_stay() -> None:
    asked = Question(item=1, more=(2,), less=(3,), wish=Wish(label="rain"), k=48).ask(7)
    assert (asked.more, asked.less, asked.wish.label, asked.k) == ((), (), "rain", STEP)


def test_a_part_needs_a_sound_and_a_length() -> None:
    assert Question.of({"from": "1", "to": "2"}).start_s is None
    assert Question.of({"item": "1", "from": "2", "to": "1"}).start_s is None
    assert Question.of({"item": "1", "from": "nan", "to": "1"}).start_s is None
    assert Question.of({"item": "1", "from": "0.5", "to": "2"}).end_s == 2.0


def test_more_answers_end_somewhere() -> None:
    question = Question(item=1)
    for _ in range(100):
        question = question.further()
    assert question.k == MOST
    assert Question.of({"item": "1", "k": "99999"}).k == MOST
