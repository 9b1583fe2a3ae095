"""Filters from one line of text, for commands and search boxes.

>>> parse("duration_s < 5 and label in ('dog', 'cat') and not under('loops/drums')").to_json()
... # doctest: +NORMALIZE_WHITESPACE
{'and': [{'duration_s': {'<': 5}}, {'label': {'in': ['dog', 'cat']}}, {'not': {'under': 'loops/drums'}}]}

Names are fields: those of `boiler.search.filters.FIELDS`, `metadata.NAME` and `metadata['any name']`, and of tags
`tag:NAME`, `tag:'any name'` or as of metadata, `tags.NAME`. The operators are
`==`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `not in`, `and`, `or` and `not`, the functions `glob(FIELD, PATTERN)` and
`under(FOLDER)`, the values numbers, quoted text, `None`, `True` and `False`. The text is parsed with Python's grammar
and never evaluated.
"""

from __future__ import annotations

import ast
import re

from boiler.arrays import AST_LOCK
from boiler.errors import QueryError
from boiler.search.filters import (
    FIELDS,
    METADATA,
    TAGS,
    Among,
    And,
    Compare,
    Filter,
    Glob,
    Not,
    Or,
    Under,
    Value,
    shortened,
)


def parse(text: str) -> Filter:
    """The filter that the text describes.

    Raises: QueryError: it cannot be parsed; the message quotes the part.
    """
    plain = _TAG.sub(_with_tag, text.strip())
    try:
        with AST_LOCK:
            tree = ast.parse(plain, mode="eval")  # parsed, never evaluated
        return _read(tree.body, plain)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise QueryError(
            f"the filter {shortened(text)} cannot be parsed: write for example label == 'dog' and duration_s < 5, with"
            f" == for equality. Fields: {', '.join(FIELDS)}, metadata.NAME, tag:NAME"
        ) from error


_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_TAG = re.compile(rf"{_QUOTED}|\btag:(?P<name>{_QUOTED}|[^\s<>=!()\[\],'\"]+)")
"""Quoted text, which is left alone, or a tag."""


def _with_tag(found: re.Match[str]) -> str:
    name = found["name"]
    if name is None:
        return found[0]
    return f"tags[{name if name[0] in _QUOTES else repr(name)}]"


_QUOTES = ("'", '"')


def _read(node: ast.expr, text: str) -> Filter:
    match node:
        case ast.BoolOp(op, values):
            parts = tuple(_read(value, text) for value in values)
            return And(parts) if isinstance(op, ast.And) else Or(parts)
        case ast.UnaryOp(ast.Not(), operand):
            return Not(_read(operand, text))
        case ast.Call(ast.Name("under"), [folder], []):
            return Under(str(_value(folder, text)))
        case ast.Call(ast.Name("glob"), [name, pattern], []):
            return Glob(_name(name, text), str(_value(pattern, text)))
        case ast.Compare(left, operators, rights):
            parts = ()
            for operator, right in zip(operators, rights, strict=True):  # 1 < duration_s < 5 is two comparisons
                parts += (_comparison(left, operator, right, text),)
                left = right
            return parts[0] if len(parts) == 1 else And(parts)
    raise QueryError(f"{_quoted(node, text)} is not a condition: write for example label == 'dog' and duration_s < 5")


_SIGNS = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


def _comparison(left: ast.expr, operator: ast.cmpop, right: ast.expr, text: str) -> Filter:
    if isinstance(operator, ast.In | ast.NotIn):
        if not isinstance(right, ast.List | ast.Tuple):
            raise QueryError(f"'in' is followed by a list such as ('dog', 'cat'), not by {_quoted(right, text)}")
        among = Among(_name(left, text), tuple(_value(one, text) for one in right.elts))
        return among if isinstance(operator, ast.In) else Not(among)
    sign = _SIGNS.get(type(operator))
    if sign is None:
        raise QueryError("use == and != instead of 'is' and 'is not'")
    if isinstance(left, ast.Name | ast.Attribute | ast.Subscript):
        return Compare(_name(left, text), sign, _value(right, text))
    return Compare(_name(right, text), _MIRRORED[sign], _value(left, text))


def _name(node: ast.expr, text: str) -> str:
    match node:
        case ast.Name(name):
            return name
        case ast.Attribute(ast.Name("metadata"), name):
            return METADATA + name
        case ast.Attribute(ast.Name("tags"), name):
            return TAGS + name
        case ast.Subscript(ast.Name("tags"), ast.Constant(str() as name)):
            return TAGS + name
        case ast.Subscript(ast.Name("metadata"), ast.Constant(str(name))):
            return METADATA + name
    raise QueryError(f"{_quoted(node, text)} is not a field. Known: {', '.join(FIELDS)}, metadata.NAME")


def _value(node: ast.expr, text: str) -> Value:
    match node:
        case ast.Constant(str() | int() | float() | bool() | None as value):
            return value
        case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as value)):
            return -value
    raise QueryError(f"{_quoted(node, text)} is not a value: text is written in quotes")


def _quoted(node: ast.expr, text: str) -> str:
    """The part of the text that a node was parsed from, quoted for an error message."""
    return repr((ast.get_source_segment(text, node) or text)[:100])
