"""Filters on items: a typed expression, its JSON form, and the SQL it compiles to.

>>> where = (field("duration_s") < 5) & field("label").among("dog", "cat") & ~under("loops/drums")
>>> where.to_json()  # doctest: +NORMALIZE_WHITESPACE
{'and': [{'duration_s': {'<': 5}}, {'label': {'in': ['dog', 'cat']}}, {'not': {'under': 'loops/drums'}}]}
>>> from_json({"label": "dog", "duration_s": {">=": 1}}).sql()
('(label = ?) AND (duration_s >= ?)', ['dog', 1])

Fields are the columns of an item (`FIELDS`), as `metadata.NAME` any column of the collection's own metadata table, and
as `tags.NAME` the probability of a tag: 1 or 0 where a person said so, else that of the model, which is 0 where it is
too small to be stored. An item that nobody and no model tagged has no value.
Values are bound as SQL parameters, never put into the SQL. An item without a value for a field passes no comparison
with it, neither `==` nor `!=`; `field("label") == None` selects the items without one.

`boiler.search.filter_parser` parses the same from one line of text.
"""

from __future__ import annotations

import difflib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from boiler.catalog.items import FILTERABLE
from boiler.errors import QueryError

FIELDS = FILTERABLE
METADATA = "metadata."
TAGS = "tags."
OPERATORS = {"==": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
MAX_VALUES = 10_000  # in one list; SQLite takes 32,766 parameters
MAX_DEPTH = 50

Value = str | int | float | bool | None
Sql = tuple[str, list[Value]]


class Filter(ABC):
    """A condition on an item. Combine with `&`, `|` and `~`."""

    @abstractmethod
    def sql(self) -> Sql:
        """The condition of a `WHERE` clause, and its parameters in order."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The JSON form, which `from_json` reads."""

    def __and__(self, other: Filter) -> Filter:
        return And((*_parts(self, And), *_parts(other, And)))

    def __or__(self, other: Filter) -> Filter:
        return Or((*_parts(self, Or), *_parts(other, Or)))

    def __invert__(self) -> Filter:
        return Not(self)

    def __bool__(self) -> bool:
        raise QueryError("a filter is neither true nor false: combine filters with & | ~, not with and, or, not")


@dataclass(frozen=True)
class Compare(Filter):
    """A field compared with a value. None works with `==` (no value) and `!=` (any value) only."""

    field: str
    operator: str
    value: Value

    def __post_init__(self) -> None:
        _check_field(self.field)
        if self.operator not in OPERATORS:
            raise QueryError(f"unknown comparison {self.operator!r}. Known: {' '.join(OPERATORS)}, in, glob")
        _check_value(self.value)
        if self.value is None and self.operator not in ("==", "!="):
            raise QueryError(f"{self.field} {self.operator} None is not defined: None works with == and != only")

    def sql(self) -> Sql:
        text, path = column(self.field)
        if self.value is None:
            return f"{text} IS {'NOT ' if self.operator == '!=' else ''}NULL", path
        return f"{text} {OPERATORS[self.operator]} ?", [*path, self.value]

    def to_json(self) -> dict[str, Any]:
        return {self.field: {self.operator: self.value}}


@dataclass(frozen=True)
class Among(Filter):
    """A field that has one of several values."""

    field: str
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        _check_field(self.field)
        for value in self.values:
            _check_value(value)
        if None in self.values or len(self.values) > MAX_VALUES:
            raise QueryError(f"a list of values for {self.field} has at most {MAX_VALUES:,} values, none of them None")

    def sql(self) -> Sql:
        text, path = column(self.field)
        return f"{text} IN ({', '.join('?' * len(self.values))})", [*path, *self.values]

    def to_json(self) -> dict[str, Any]:
        return {self.field: {"in": list(self.values)}}


@dataclass(frozen=True)
class Glob(Filter):
    """A field that matches a pattern: `*` is any text, `?` any character, `[a-z]` one of these; case matters."""

    field: str
    pattern: str

    def __post_init__(self) -> None:
        _check_field(self.field)
        if not isinstance(self.pattern, str) or len(self.pattern) > 1_000:
            raise QueryError("a pattern is a text of at most 1,000 characters")

    def sql(self) -> Sql:
        text, path = column(self.field)
        return f"{text} GLOB ?", [*path, self.pattern]

    def to_json(self) -> dict[str, Any]:
        return {self.field: {"glob": self.pattern}}


@dataclass(frozen=True)
class Under(Filter):
    """Items in a folder, or in any below it."""

    folder: str

    def sql(self) -> Sql:
        folder = self.folder.strip("/")
        if not folder:
            return "1", []
        # From "a/" to "a0", because 0 is the character after /. A range can use the SQL index on folders.
        return "(folder = ? OR (folder >= ? AND folder < ?))", [folder, f"{folder}/", f"{folder}0"]

    def to_json(self) -> dict[str, Any]:
        return {"under": self.folder}


@dataclass(frozen=True)
class Not(Filter):
    """Items that do not pass the other filter, including those without a value."""

    of: Filter

    def sql(self) -> Sql:
        text, values = self.of.sql()
        return f"NOT coalesce({text}, 0)", values

    def to_json(self) -> dict[str, Any]:
        return {"not": self.of.to_json()}


@dataclass(frozen=True)
class And(Filter):
    """Items that pass all of them."""

    of: tuple[Filter, ...]

    def sql(self) -> Sql:
        return _joined(self.of, " AND ", "1")

    def to_json(self) -> dict[str, Any]:
        return {"and": [one.to_json() for one in self.of]}


@dataclass(frozen=True)
class Or(Filter):
    """Items that pass any of them."""

    of: tuple[Filter, ...]

    def sql(self) -> Sql:
        return _joined(self.of, " OR ", "0")

    def to_json(self) -> dict[str, Any]:
        return {"or": [one.to_json() for one in self.of]}


class Field:
    """A field to compare with values; created by `field`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, value: Value) -> Filter:  # type: ignore[override]  # returns a filter, as in SQLAlchemy
        return Compare(self.name, "==", value)

    def __ne__(self, value: Value) -> Filter:  # type: ignore[override]
        return Compare(self.name, "!=", value)

    def __lt__(self, value: Value) -> Filter:
        return Compare(self.name, "<", value)

    def __le__(self, value: Value) -> Filter:
        return Compare(self.name, "<=", value)

    def __gt__(self, value: Value) -> Filter:
        return Compare(self.name, ">", value)

    def __ge__(self, value: Value) -> Filter:
        return Compare(self.name, ">=", value)

    __hash__ = None  # type: ignore[assignment]  # == does not compare

    def among(self, *values: Value) -> Filter:
        """The field has one of these values."""
        return Among(self.name, values)

    def glob(self, pattern: str) -> Filter:
        """The field matches a pattern: `*` is any text, `?` any character."""
        return Glob(self.name, pattern)


def field(name: str) -> Field:
    """A column of an item, `metadata.NAME` or `tags.NAME`.

    Raises: QueryError: unknown field.
    """
    _check_field(name)
    return Field(name)


def under(folder: str) -> Filter:
    """Items in this folder, or in any below it."""
    return Under(folder)


def from_json(document: Any, _depth: int = 0) -> Filter:
    """A filter from its JSON form: `{"label": "dog"}`, `{"label": ["dog", "cat"]}`, `{"duration_s": {">": 1, "<": 5}}`,
    `{"under": FOLDER}`, `{"and": [...]}`, `{"or": [...]}`, `{"not": ...}`; several keys must all hold.

    Raises: QueryError: anything else.
    """
    if _depth > MAX_DEPTH:
        raise QueryError(f"the filter is nested more than {MAX_DEPTH} deep")
    if not isinstance(document, Mapping) or not document:
        raise QueryError(f"a filter is an object such as {{'label': 'dog'}}, not {shortened(document)}")
    parts: list[Filter] = []
    for key, value in document.items():
        if key in ("and", "or"):
            if not isinstance(value, list):
                raise QueryError(f"'{key}' takes a list of filters, not {shortened(value)}")
            inner = tuple(from_json(one, _depth + 1) for one in value)
            parts.append(And(inner) if key == "and" else Or(inner))
        elif key == "not":
            parts.append(Not(from_json(value, _depth + 1)))
        elif key == "under":
            if not isinstance(value, str):
                raise QueryError(f"'under' takes the name of a folder, not {shortened(value)}")
            parts.append(Under(value))
        elif isinstance(value, Mapping):
            parts += [_comparison(str(key), str(operator), against) for operator, against in value.items()]
        elif isinstance(value, list):
            parts.append(Among(str(key), tuple(value)))
        else:
            parts.append(Compare(str(key), "==", value))
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _comparison(name: str, operator: str, against: Any) -> Filter:
    if operator == "in":
        if not isinstance(against, list):
            raise QueryError(f"'in' takes a list of values, not {shortened(against)}")
        return Among(name, tuple(against))
    if operator == "glob":
        return Glob(name, against)
    return Compare(name, operator, against)


def _parts(one: Filter, kind: type[And] | type[Or]) -> tuple[Filter, ...]:
    return one.of if isinstance(one, kind) else (one,)


def _joined(parts: tuple[Filter, ...], word: str, empty: str) -> Sql:
    if not parts:
        return empty, []
    texts, values = zip(*(one.sql() for one in parts), strict=True)
    return word.join(f"({text})" for text in texts), [value for some in values for value in some]


_TAG_SQL = (
    "COALESCE((SELECT value FROM json_each(tags_by_hand) WHERE key = ?),"
    " (SELECT value FROM json_each(tags) WHERE key = ?), CASE WHEN tags <> '{}' THEN 0 END)"
)


def column(name: str) -> Sql:
    """A field as an SQL expression, and its parameters.

    Raises: QueryError: unknown field.
    """
    _check_field(name)
    if name.startswith(METADATA):
        return "(SELECT value FROM json_each(metadata) WHERE key = ?)", [name.removeprefix(METADATA)]
    if name.startswith(TAGS):
        tag = name.removeprefix(TAGS)
        return _TAG_SQL, [tag, tag]
    return name, []  # one of FIELDS, see _check_field


def _check_field(name: object) -> None:
    if name in FIELDS:
        return
    if isinstance(name, str) and any(name.startswith(prefix) and name != prefix for prefix in (METADATA, TAGS)):
        return
    near = difflib.get_close_matches(str(name), FIELDS, n=1)
    hint = f"; did you mean {near[0]}?" if near else "."
    raise QueryError(f"unknown field {shortened(name)}{hint} Known: {', '.join(FIELDS)}, metadata.NAME, tags.NAME")


def _check_value(value: object) -> None:
    if not isinstance(value, str | int | float | bool | None):
        raise QueryError(f"a field is compared with text, a number, true, false or null, not with {shortened(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise QueryError("a field is compared with a finite number")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise QueryError("a field is compared with a number of at most 18 digits")


def shortened(value: object) -> str:
    """The value as text for an error message, at most 100 characters."""
    return repr(value)[:100]
