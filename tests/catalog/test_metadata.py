"""Labels come from folders or from a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from boiler.catalog import metadata
from boiler.errors import CatalogError

TABLE = 'file_name,label,bpm,key,note\r\na/1.wav,loud,120,C,\r\n./a/2.wav,,0.5,007,"x, y"\r\n'


def write(tmp_path: Path, name: str, text: str) -> Path:
    (tmp_path / name).write_bytes(text.encode())
    return tmp_path / name


def test_the_label_is_the_folder_that_holds_the_sound() -> None:
    assert metadata.from_folders("esc/dog/1.ogg") == ("dog", {})
    assert metadata.from_folders("1.ogg") == (None, {})


@pytest.mark.parametrize("form", ["csv", "tsv", "bom"])
def test_a_table_gives_labels_and_columns(tmp_path: Path, form: str) -> None:
    text = TABLE.replace('"x, y"', "x y").replace(",", "\t") if form == "tsv" else TABLE
    path = write(tmp_path, f"m.{'tsv' if form == 'tsv' else 'csv'}", ("\ufeff" if form == "bom" else "") + text)
    columns_of = metadata.from_table(path)
    assert columns_of("a/1.wav") == ("loud", {"bpm": 120, "key": "C", "note": None})
    label, others = columns_of("a/2.wav")
    assert label == "a"  # an empty label leaves the folder's
    assert others["bpm"] == 0.5
    assert others["key"] == "007"
    assert columns_of("b/3.wav") == ("b", {})


def test_a_parquet_table_gives_the_same_as_csv(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    table = pyarrow.table({"id": ["a/1.wav"], "label": ["loud"], "bpm": [120], "odd": [float("nan")]})
    parquet.write_table(table, tmp_path / "m.parquet")
    assert metadata.from_table(tmp_path / "m.parquet")("a/1.wav") == ("loud", {"bpm": 120, "odd": None})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.csv", "name,label\na,b\n", "no column called id or path or file_name"),
        ("m.csv", "id\na.wav\n./a.wav\n", "two rows for a.wav"),
        ("m.xlsx", "", "not from '.xlsx'"),
        ("m.parquet", "not parquet", "cannot be read as a table"),
        ("m.csv", 'id,a\n"x,1\n', "cannot be read as a table"),
    ],
)
def test_an_invalid_table_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        metadata.from_table(write(tmp_path, name, text))


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="cannot be read"):
        metadata.from_table(tmp_path / "missing.csv")
