"""Playlists, CSV and JSON can be read by other programs, and no file name can inject an entry."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
from pathlib import Path

from boiler.catalog.items import EXPORTED, Item
from boiler.errors import SoundNotHereError
from boiler.search import export
from boiler.search.export import PlaylistEntry
from boiler.search.query import Match


def match(n: int, name: str) -> Match:
    return Match(name, n, f"u/{n}", 'a "label", with comma', 0.0, 5.0, 0.25 * n, 1.0, 0.9)


MATCHES = [match(1, "rain/a.wav"), match(2, "b\n#EXTM3U\n/etc/passwd"), match(1, "rain/a.wav")]
ENTRIES = [
    PlaylistEntry(1, "rain/a.wav"),
    PlaylistEntry(2, "b\n#EXTM3U\n/etc/passwd", 4.6),
    PlaylistEntry(1, "rain/a.wav", 3.0),
    PlaylistEntry(3, "c\u2028\x85\r.wav", 0.2),
]


def missing(n: int) -> Path:
    raise SoundNotHereError("the folder is not here")


def test_cells_that_a_spreadsheet_would_execute_are_escaped() -> None:
    ids = ["=HYPERLINK(1)", "+1", "-1+2", "@SUM(A1)", "\t=1", "plain - text.wav"]
    items = [Item(n, id, duration_s=-1.0) for n, id in enumerate(ids)]
    rows = list(csv.DictReader(io.StringIO(export.items_csv(items))))
    assert [row["id"] for row in rows] == [*("'" + id for id in ids[:5]), ids[5]]
    assert rows[0]["duration_s"] == "-1.0"
    matches = [dataclasses.replace(MATCHES[0], id="=1+1", label="@x")]
    (row,) = csv.DictReader(io.StringIO(export.csv_table(matches)))
    assert (row["id"], row["label"]) == ("'=1+1", "'@x")


def test_items_are_exported_with_the_exported_fields_and_their_metadata() -> None:
    item = Item(3, "rain/a.wav", duration_s=2.0, label="rain", metadata={"artist": "x"})
    (row,) = json.loads(export.items_json([item]))
    assert set(row) == {*EXPORTED, "metadata"}
    assert row["metadata"] == {"artist": "x"}
    (cells,) = csv.DictReader(io.StringIO(export.items_csv([item])))
    assert tuple(cells) == EXPORTED


def test_a_playlist_names_each_sound_once_and_no_name_adds_a_line(tmp_path: Path) -> None:
    lines = export.m3u8(ENTRIES, lambda n: tmp_path / f"{n}\n.wav").decode().splitlines()
    assert lines == [
        "#EXTM3U",
        "#EXTINF:-1,rain/a.wav",
        str(tmp_path / "1?.wav"),
        "#EXTINF:5,b?#EXTM3U?/etc/passwd",
        str(tmp_path / "2?.wav"),
        "#EXTINF:1,c???.wav",
        str(tmp_path / "3?.wav"),
    ]


def test_without_the_sounds_a_playlist_has_their_ids() -> None:
    assert export.m3u8(ENTRIES, missing).decode().splitlines()[2] == "rain/a.wav"
    assert export.m3u8([], missing) == b"#EXTM3U\n"


def test_a_path_that_is_not_utf8_keeps_its_bytes() -> None:
    path = Path(os.fsdecode(b"/sounds/caf\xe9.wav"))
    assert export.m3u8([PlaylistEntry(1, "cafe")], lambda n: path).splitlines()[2] == b"/sounds/caf\xe9.wav"


def test_table_and_json_have_the_fields_of_the_matches() -> None:
    rows = list(csv.DictReader(io.StringIO(export.csv_table(MATCHES))))
    assert [(row["id"], float(row["distance"]), row["label"]) for row in rows] == [
        (one.id, one.distance, one.label) for one in MATCHES
    ]
    assert [row["n"] for row in json.loads(export.json_list(MATCHES))] == [1, 2, 1]
