"""The text form of a filter is parsed completely or refused, and never executed. Its meaning: test_filters.py."""

from __future__ import annotations

import pytest

from boiler.errors import QueryError
from boiler.search.filter_parser import parse
from boiler.search.filters import field


def test_and_has_precedence_over_or_and_comparisons_can_be_chained() -> None:
    a, b, c = (field("label") == name for name in "abc")
    assert parse("label == 'a' or label == 'b' and not label == 'c'") == a | (b & ~c)
    assert parse("1 <= duration_s < 5") == (field("duration_s") >= 1) & (field("duration_s") < 5)
    assert parse("5 > duration_s") == (field("duration_s") < 5)


def test_tags_are_named_with_a_colon_except_in_quoted_text() -> None:
    assert parse("tag:dog>0.5 and tag:'Bass drum' < 0.1") == (field("tags.dog") > 0.5) & (field("tags.Bass drum") < 0.1)
    assert parse('tag:"it\'s"==1') == (field("tags.it's") == 1)
    assert parse("(tag:hip-hop > 0.5)") == (field("tags.hip-hop") > 0.5)
    assert parse("label == 'tag:dog > 1'") == (field("label") == "tag:dog > 1")
    assert parse("tags['雨'] > 0.5") == parse("tag:雨 > 0.5") == (field("tags.雨") > 0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lable == 'dog'", "did you mean label"),
        ("label = 'dog'", "cannot be parsed"),
        ("label == dog", "text is written in quotes"),
        ("label", "is not a condition"),
        ("", "cannot be parsed"),
        ("__import__('os').system('true')", "is not a condition"),
        ("label == (lambda: 1)()", "not a value"),
        ("label is None", "use =="),
        ("label in 'dog'", "followed by a list"),
        ("duration_s < None", "is not defined"),
        ("duration_s < 1e999", "finite"),
        ("n == 99999999999999999999", "digits"),
        ("rowid == 1", "unknown field"),
        ("tags. > 1", "cannot be parsed"),
        ("tag: dog > 1", "cannot be parsed"),
        ("tag:dog", "is not a condition"),
        ("metadata.a.b == 1", "not a field"),
        ("not " * 3_000 + "n == 1", "cannot be parsed"),
        ("label == 'a\0b'", "cannot be parsed"),
    ],
)
def test_an_invalid_filter_is_refused_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        parse(text)
