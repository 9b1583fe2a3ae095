"""The vocabulary CSV of YouTube-8M."""

from __future__ import annotations

from pathlib import Path

import pytest

from boiler.errors import CorpusError
from boiler.tagging.vocabulary import Vocabulary


def test_what_is_written_is_read(tmp_path: Path) -> None:
    vocabulary = Vocabulary(("dog", "rain, heavy", 'a "quote"'), (5, 0, 2))
    vocabulary.write(tmp_path / "a.csv")
    assert Vocabulary.read(tmp_path / "a.csv") == vocabulary


def test_the_columns_of_youtube_8m_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "Index,TrainVideoCount,KnowledgeGraphId,Name,WikiUrl\n1,7,/m/1,Game,w\n0,9,/m/2,Game,w\n3,2,/m/3,,w\n", "utf-8"
    )
    found = Vocabulary.read(tmp_path / "a.csv")
    assert found.names == ("Game", "Game (1)", "2", "3")
    assert found.counts == (9, 7, 0, 2)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it has the columns|has the columns"),
        ("Number,Name\n0,a\n", "has the columns Number, Name"),
        ("Index,Name\n", "has no tags"),
        ("Index,Name\n0,a\n0,b\n", "'0' is not a number"),
        ("Index,Name\n-1,a\n", "'-1' is not a number"),
        ("Index,Name\n99999999999,a\n", "is not a number below"),
        ("Index,Name,TrainVideoCount\n0,a,many\n", "'many'"),
        ("Index,Name\n0,a\n1,a (2)\n2,a\n", r"'a \(2\)' twice"),
    ],
)
def test_a_wrong_table_is_refused_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "a.csv").write_text(text, "utf-8")
    with pytest.raises(CorpusError, match=reason):
        Vocabulary.read(tmp_path / "a.csv")


def test_a_missing_table_is_an_error_of_boiler(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot be read"):
        Vocabulary.read(tmp_path / "none.csv")
