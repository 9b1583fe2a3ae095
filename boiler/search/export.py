"""Search results as files for other programs: a playlist, CSV and JSON.

A playlist is M3U8 (UTF-8), which players and DJ programs import. Each entry is the path of the sound, or its id where
the folder of the sounds is not at hand.
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

from boiler.errors import BoilerError
from boiler.search.query import Match

COLUMNS = (
    *("distance", "similarity", "closer_than", "id", "n", "url", "label", "start_s", "end_s"),
    *("query_start_s", "query_end_s"),
)


class PlaylistEntry(NamedTuple):
    """A sound of a playlist: an item's number and id, and its length in seconds where that is known."""

    n: int
    id: str
    duration_s: float | None = None


def m3u8(entries: Iterable[PlaylistEntry], path_of: Callable[[int], Path]) -> bytes:
    """A playlist of whole sounds in the given order, each once. `path_of` returns the path of the item with this
    number, or raises BoilerError. Paths keep the bytes they have on disk."""
    lines = ["#EXTM3U"]
    first_of: dict[int, PlaylistEntry] = {}
    for entry in entries:
        first_of.setdefault(entry.n, entry)
    for entry in first_of.values():
        try:
            path = str(path_of(entry.n).absolute())
        except BoilerError:
            path = entry.id
        # Whole seconds, and -1 for an unknown length.
        seconds = -1 if entry.duration_s is None else max(round(entry.duration_s), 1)
        lines += [f"#EXTINF:{seconds},{_one_line(entry.id)}", _one_line(path)]
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def csv_table(matches: Sequence[Match]) -> str:
    """CSV with a header of `COLUMNS`, as in RFC 4180."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([getattr(match, name) for name in COLUMNS] for match in matches)
    return text.getvalue()


def json_list(matches: Sequence[Match]) -> str:
    """A JSON list of the matches with all their fields."""
    return json.dumps([dataclasses.asdict(match) for match in matches], indent=2, ensure_ascii=False) + "\n"


def _one_line(text: str) -> str:
    """Without line breaks and control characters: a file name that holds one must not add an entry of its own."""
    return "".join("?" if unicodedata.category(character) in ("Cc", "Zl", "Zp") else character for character in text)
