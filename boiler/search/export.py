"""Answers as files that other programs read: a playlist, a table, JSON.

A playlist is M3U8 (UTF-8), which players and DJ programs import; each line leads to the sound where its folder is at
hand, and is the id below that folder where it is not.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from boiler.errors import QueryError
from boiler.search.query import Match

COLUMNS = (
    *("distance", "similarity", "closer_than", "id", "n", "url", "label", "start_s", "end_s"),
    *("query_start_s", "query_end_s"),
)


def m3u8(matches: Sequence[Match], path_of: Callable[[int], Path]) -> str:
    """A playlist of whole sounds, in the order of the matches, each once. `path_of` gives where the item of a number
    lies, or raises QueryError."""
    lines = ["#EXTM3U"]
    once: dict[int, Match] = {}
    for match in matches:
        once.setdefault(match.n, match)
    for match in once.values():
        try:
            where = str(path_of(match.n).absolute())
        except QueryError:
            where = match.id
        # A line break in a name would be a line of its own, and could lead anywhere.
        lines += [f"#EXTINF:-1,{_line(match.id)}", _line(where)]
    return "\n".join(lines) + "\n"


def table(matches: Sequence[Match]) -> str:
    """CSV with a header, RFC 4180."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows([getattr(match, name) for name in COLUMNS] for match in matches)
    return text.getvalue()


def listing(matches: Sequence[Match]) -> str:
    """A JSON list of all there is to say of each."""
    return json.dumps([dataclasses.asdict(match) for match in matches], indent=2, ensure_ascii=False) + "\n"


def _line(text: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in text)
