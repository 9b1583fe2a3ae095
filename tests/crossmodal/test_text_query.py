"""Queries in words: what is wanted, what is not, and what is unknown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boiler.crossmodal import text_query, vocabulary
from boiler.errors import QueryError


def test_a_minus_turns_its_word_around_and_a_hyphen_does_not() -> None:
    parsed = text_query.parse("Dog −indoor -rain tick-tock, the sound of a DOG")
    assert parsed.wanted == ("dog", "tick", "tock")
    assert parsed.unwanted == ("indoor", "rain")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no word to search with"),
        ("the sound of a", "no word to search with"),
        ("-dog", "only words to stay away from .dog."),
        ("helicoptr", "no word is known: unknown: 'helicoptr' .known: helicopter"),
        ("dog " * 200, "at most 500 characters"),
    ],
)
def test_what_cannot_be_searched_with_is_said(text: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        text_query.parse(text)


@pytest.mark.slow
@given(st.text(max_size=60))
def test_any_text_is_words_of_the_vocabulary_or_an_error(text: str) -> None:
    try:
        parsed = text_query.parse(text)
    except QueryError:
        return
    known = vocabulary.load()
    assert parsed.wanted
    assert all(word in known for word in parsed.wanted + parsed.unwanted)
    assert not any(word in known for word in parsed.unknown)
