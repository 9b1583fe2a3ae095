"""Filters in Python, JSON and text select the same items in SQLite as a plain evaluation in Python."""

from __future__ import annotations

import doctest
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boiler.catalog import items
from boiler.catalog.items import Item, PlacedItem
from boiler.errors import QueryError
from boiler.search import filter_parser, filters
from boiler.search.filter_parser import parse
from boiler.search.filters import And, Compare, Filter, Not, Or, field, from_json, under

ITEMS = [
    Item(
        0,
        "loops/drums/a.wav",
        label="dog",
        duration_s=1.5,
        format="wav",
        metadata={"bpm": 120, "who": "A"},
        tags={"dog": 0.9, "a b": 0.2},
    ),
    Item(
        1,
        "loops/drums2/b.wav",
        label="cat",
        duration_s=5.0,
        format="wav",
        metadata={"bpm": 90.5},
        tags={"cat": 0.7, "dog": 0.6},
        tags_by_hand={"dog": False},
    ),
    Item(
        2,
        "loops/c.flac",
        label="dog",
        duration_s=9.0,
        format="flac",
        metadata={'odd "name"': "x", "bpm": None},
        tags_by_hand={"dog": True},
    ),
    Item(3, "d.mp3", label=None, duration_s=0.5, format="mp3", silent=True),
    Item(4, "loops/drums/deep/e[1].wav", label="O'Brien; DROP TABLE items", duration_s=5.0, format="wav"),
]


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path = tmp_path_factory.mktemp("filters") / "meta.sqlite"
    items.write_database(path, (PlacedItem(item, item.n, 1, item.n) for item in ITEMS), [], {})
    opened = items.connect(path)
    yield opened
    opened.close()


def passing(connection: sqlite3.Connection, where: Filter) -> list[int]:
    text, values = where.sql()
    return [row["n"] for row in connection.execute(f"SELECT n FROM items WHERE {text} ORDER BY n", values)]  # noqa: S608


CASES: list[tuple[Filter, str, Any, list[int]]] = [
    (field("label") == "dog", "label == 'dog'", {"label": "dog"}, [0, 2]),
    (field("label") != "dog", "label != 'dog'", {"label": {"!=": "dog"}}, [1, 4]),
    (field("label") == None, "label == None", {"label": None}, [3]),  # noqa: E711
    (field("label") != None, "label != None", {"label": {"!=": None}}, [0, 1, 2, 4]),  # noqa: E711
    (field("duration_s") < 5, "duration_s < 5", {"duration_s": {"<": 5}}, [0, 3]),
    (
        (field("duration_s") > 1) & (field("duration_s") <= 5),
        "1 < duration_s <= 5",
        {"duration_s": {">": 1, "<=": 5}},
        [0, 1, 4],
    ),
    (field("label").among("dog", "cat"), "label in ('dog', 'cat')", {"label": ["dog", "cat"]}, [0, 1, 2]),
    (field("tags.dog") > 0.5, "tag:dog>0.5", {"tags.dog": {">": 0.5}}, [0, 2]),
    (field("tags.dog") < 0.5, "tag:dog < 0.5", {"tags.dog": {"<": 0.5}}, [1]),
    (field("tags.cat") < 0.5, "0.5 > tags.cat", {"tags.cat": {"<": 0.5}}, [0]),
    (field("tags.a b") >= 0.2, "tag:'a b' >= 0.2", {"tags.a b": {">=": 0.2}}, [0]),
    (field("tags.dog") == None, "not tag:dog != None", {"tags.dog": None}, [3, 4]),  # noqa: E711
    (field("label").among(), "label in ()", {"label": []}, []),
    (~field("label").among("dog"), "label not in ['dog']", {"not": {"label": ["dog"]}}, [1, 3, 4]),
    (under("loops/drums"), "under('loops/drums/')", {"under": "loops/drums/"}, [0, 4]),
    (under(""), "under('')", {"under": ""}, [0, 1, 2, 3, 4]),
    (field("id").glob("*/drums*/*.wav"), "glob(id, '*/drums*/*.wav')", {"id": {"glob": "*/drums*/*.wav"}}, [0, 1, 4]),
    (field("metadata.bpm") >= 100, "metadata.bpm >= 100", {"metadata.bpm": {">=": 100}}, [0]),
    (field("metadata.bpm") == None, "metadata.bpm == None", {"metadata.bpm": None}, [2, 3, 4]),  # noqa: E711
    (
        field('metadata.odd "name"') == "x",
        "metadata['odd \"name\"'] == 'x'",
        {'metadata.odd "name"': "x"},
        [2],
    ),
    (
        (field("label") == "cat") | ~(field("format") == "wav"),
        "label == 'cat' or not format == 'wav'",
        {"or": [{"label": "cat"}, {"not": {"format": "wav"}}]},
        [1, 2, 3],
    ),
    (
        field("label") == "O'Brien; DROP TABLE items",
        'label == "O\'Brien; DROP TABLE items"',
        {"label": "O'Brien; DROP TABLE items"},
        [4],
    ),
    (field("silent") == True, "silent == True", {"silent": True}, [3]),  # noqa: E712
    (field("n") > -1, "n > -1", {"n": {">": -1}}, [0, 1, 2, 3, 4]),
    (field("n") > -(10**18), "n > -1000000000000000000", {"n": {">": -(10**18)}}, [0, 1, 2, 3, 4]),
    (And(()), "n >= 0", {"and": []}, [0, 1, 2, 3, 4]),
    (Or(()), "n < 0", {"or": []}, []),
]


@pytest.mark.parametrize(("typed", "text", "document", "expected"), CASES)
def test_the_three_forms_of_a_filter_select_the_same_items(
    connection: sqlite3.Connection, typed: Filter, text: str, document: Any, expected: list[int]
) -> None:
    assert passing(connection, typed) == expected
    assert passing(connection, parse(text)) == expected
    assert passing(connection, from_json(document)) == expected
    assert from_json(typed.to_json()) == typed


def evaluate(where: Filter, item: Item) -> bool | None:
    """Evaluate the filter in Python with SQL semantics: None if a value is missing."""
    match where:
        case And(parts):
            found = [evaluate(part, item) for part in parts]
            return False if False in found else None if None in found else True
        case Or(parts):
            found = [evaluate(part, item) for part in parts]
            return True if True in found else None if None in found else False
        case Not(part):
            return not evaluate(part, item)
        case Compare(name, operator, value):
            mine = getattr(item, name)
            if mine is None:
                return None
            return bool(eval("mine " + operator + " value", {"mine": mine, "value": value}))  # noqa: S307
    raise AssertionError(where)


comparisons = st.one_of(
    st.builds(Compare, st.just("label"), st.sampled_from(["==", "!=", "<"]), st.sampled_from(["cat", "dog"])),
    st.builds(Compare, st.just("duration_s"), st.sampled_from(list(filters.OPERATORS)), st.sampled_from([0.5, 5, 9.0])),
)
trees = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: And(tuple(parts))),
        st.lists(inner, max_size=3).map(lambda parts: Or(tuple(parts))),
        inner.map(Not),
    ),
    max_leaves=8,
)


@given(trees)
def test_nested_filters_agree_with_python(connection: sqlite3.Connection, where: Filter) -> None:
    assert passing(connection, where) == [item.n for item in ITEMS if evaluate(where, item)]
    assert from_json(where.to_json()) == where


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        "label == 'dog'",
        None,
        {"lable": 1},
        {"label": {"~": 1}},
        {"label": {"in": "dog"}},
        {"label": {"not in": ["dog"]}},
        {"metadata.": 1},
        {"tags.": {">": 0.5}},
        {"n": {"<": 2**63}},
        {"label": [None]},
        {"label": [[1]]},
        {"and": {"label": 1}},
        {"not": []},
        {"under": 3},
        {"label": {"glob": 3}},
        {"duration_s": {"<": float("nan")}},
        {"label; DROP TABLE items": 1},
        {"n": list(range(20_000))},
    ],
)
def test_invalid_json_filters_are_refused(document: Any) -> None:
    with pytest.raises(QueryError):
        from_json(document)


def test_deep_nesting_is_refused() -> None:
    document: Any = {"label": "dog"}
    for _ in range(5_000):
        document = {"not": document}
    with pytest.raises(QueryError, match="nested"):
        from_json(document)


def test_python_and_or_not_raise_on_filters() -> None:
    with pytest.raises(QueryError, match="combine filters with"):
        bool(field("label") == "dog")


def test_every_field_is_a_column(connection: sqlite3.Connection) -> None:
    columns = {row["name"] for row in connection.execute("PRAGMA table_info(items)")}
    assert set(filters.FIELDS) <= columns


def test_filters_by_folder_use_the_sql_index(connection: sqlite3.Connection) -> None:
    text, values = under("loops").sql()
    plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT n FROM items WHERE {text}", values).fetchall()  # noqa: S608
    assert all("SCAN" not in row["detail"] for row in plan)


def test_the_examples_run() -> None:
    assert doctest.testmod(filters).failed == 0
    assert doctest.testmod(filter_parser).failed == 0
