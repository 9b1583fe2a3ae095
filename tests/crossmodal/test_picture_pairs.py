"""The table of pairs of a picture and a sound."""

from __future__ import annotations

from pathlib import Path

import pytest

from boiler.crossmodal.picture_pairs import PicturePair, read_pairs
from boiler.errors import CorpusError


def write(folder: Path, text: str) -> Path:
    (folder / "pairs.csv").write_text(text, "utf-8")
    return folder / "pairs.csv"


def test_lines_are_pairs_with_seconds_where_they_are_given(tmp_path: Path) -> None:
    table = write(
        tmp_path,
        "\ufeffsound,picture,picture_s,sound_s,more\na.wav,a.png,,,x\nb.wav,b.mp4,2.5,,\nc.mp4,c.mp4,3,,\nc.mp4,c.mp4,3,1,\n",
    )
    assert read_pairs(table) == [
        PicturePair("a.png", "a.wav"),
        PicturePair("b.mp4", "b.wav", 2.5),
        PicturePair("c.mp4", "c.mp4", 3.0, 3.0),  # the same second of the same file
        PicturePair("c.mp4", "c.mp4", 3.0, 1.0),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("picture,label\na.png,dog\n", "has no column sound, but picture, label"),
        ("picture,sound\n", "lists no pairs"),
        ("picture,sound\na.png,\n", "line 2: there must be a picture and a sound"),
        ("picture,sound\na.png,a.wav\na.png\n", "line 3: there must be a picture and a sound"),
        ("picture,sound,picture_s\na.mp4,a.wav,-1\n", "line 2: picture_s is a number of seconds from 0, not '-1'"),
        ("picture,sound,sound_s\na.mp4,a.wav,x\n", "line 2: sound_s is a number of seconds"),
        ("picture,sound,sound_s\na.mp4,a.wav,nan\n", "line 2: sound_s is a number of seconds"),
    ],
)
def test_what_is_no_table_of_pairs_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        read_pairs(write(tmp_path, text))


def test_a_missing_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot be read as a table"):
        read_pairs(tmp_path / "none.csv")
