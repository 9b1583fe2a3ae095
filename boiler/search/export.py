"""Search results as files for other programs: a playlist, CSV and JSON.

A playlist is M3U8 (UTF-8), which players and DJ programs import. Each entry is the path of the sound, or its id if the
folder of the sounds is not available.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from boiler.catalog.items import EXPORTED, Item
from boiler.errors import BoilerError
from boiler.search.query import Match

COLUMNS = (
    *("distance", "similarity", "closer_than", "id", "n", "url", "label", "start_s", "end_s"),
    *("query_start_s", "query_end_s"),
)
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class PlaylistEntry(NamedTuple):
    """A sound of a playlist: an item's number and id, and its length in seconds where that is known."""

    n: int
    id: str
    duration_s: float | None = None


def m3u8(entries: Iterable[PlaylistEntry], path_of: Callable[[int], Path | str]) -> bytes:
    """A playlist of whole sounds in the given order, each once. `path_of` returns the path or
    the address of the item with this number, or raises BoilerError. Paths keep the bytes they have on disk."""
    lines = ["#EXTM3U"]
    first_of: dict[int, PlaylistEntry] = {}
    for entry in entries:
        first_of.setdefault(entry.n, entry)
    for entry in first_of.values():
        try:
            found = path_of(entry.n)
            path = str(found.absolute()) if isinstance(found, Path) else found
        except BoilerError:
            path = entry.id
        # Whole seconds, and -1 for an unknown length.
        seconds = -1 if entry.duration_s is None else max(round(entry.duration_s), 1)
        lines += [f"#EXTINF:{seconds},{_one_line(entry.id)}", _one_line(path)]
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def csv_table(matches: Iterable[Match]) -> str:
    """CSV with a header of `COLUMNS`, as in RFC 4180."""
    return _csv(COLUMNS, matches)


def items_csv(items: Iterable[Item]) -> str:
    """CSV of items with a header of `EXPORTED`, as in RFC 4180."""
    return _csv(EXPORTED, items)


def _csv(columns: Sequence[str], rows: Iterable[object]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_escape_formula(getattr(row, name)) for name in columns] for row in rows)
    return text.getvalue()


def _escape_formula(cell: object) -> object:
    """The cell, with an apostrophe in front of a text that a spreadsheet would run as a formula (OWASP, CSV injection):
    file names and labels come from outside.

    >>> _escape_formula("=1+1"), _escape_formula("drums/kick.wav"), _escape_formula(-0.5)
    ("'=1+1", 'drums/kick.wav', -0.5)
    """
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell


def json_list(matches: Sequence[Match]) -> str:
    """A JSON list of the matches with all their fields."""
    return _json([dataclasses.asdict(match) for match in matches])


def items_json(items: Iterable[Item]) -> str:
    """A JSON list of items with the fields of `EXPORTED` and their metadata."""
    return _json(
        [{name: getattr(item, name) for name in EXPORTED} | {"metadata": dict(item.metadata)} for item in items]
    )


def _json(rows: list[dict[str, object]]) -> str:
    return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"


def _one_line(text: str) -> str:
    """The text without line breaks and control characters: a file name with a line break must not add an entry."""
    return "".join("?" if unicodedata.category(character) in ("Cc", "Zl", "Zp") else character for character in text)
