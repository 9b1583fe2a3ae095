"""What leaves as a file can be read by others, and says nothing but what it should."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from boiler.errors import QueryError
from boiler.search import export
from boiler.search.query import Match


def match(n: int, name: str) -> Match:
    return Match(name, n, f"u/{n}", 'a "label", with comma', 0.0, 5.0, 0.25 * n, 1.0, 0.9)


MATCHES = [match(1, "rain/a.wav"), match(2, "b\n#EXTM3U\n/etc/passwd"), match(1, "rain/a.wav")]


def nowhere(n: int) -> Path:
    raise QueryError("the folder is not here")


def test_a_playlist_names_each_sound_once_and_no_name_makes_a_line_of_its_own(tmp_path: Path) -> None:
    lines = export.m3u8(MATCHES, lambda n: tmp_path / f"{n}.wav").splitlines()
    assert lines == [
        "#EXTM3U",
        "#EXTINF:-1,rain/a.wav",
        str(tmp_path / "1.wav"),
        "#EXTINF:-1,b?#EXTM3U?/etc/passwd",
        str(tmp_path / "2.wav"),
    ]
    assert export.m3u8(MATCHES, nowhere).splitlines()[2] == "rain/a.wav"
    assert export.m3u8([], nowhere) == "#EXTM3U\n"


def test_a_table_and_json_hold_what_the_matches_do() -> None:
    rows = list(csv.DictReader(io.StringIO(export.table(MATCHES))))
    assert [(row["id"], float(row["distance"]), row["label"]) for row in rows] == [
        (one.id, one.distance, one.label) for one in MATCHES
    ]
    assert [row["n"] for row in json.loads(export.listing(MATCHES))] == [1, 2, 1]
