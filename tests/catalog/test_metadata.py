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
    columns_of, _ = metadata.Table(path).match(["a/1.wav", "a/2.wav", "b/3.wav"])
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
    assert metadata.Table(tmp_path / "m.parquet").match(["a/1.wav"])[0]("a/1.wav") == (
        "loud",
        {"bpm": 120, "odd": None},
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.csv", "name,label\na,b\n", "no column called id or path or file_name"),
        ("m.csv", "id\na.wav\n./a.wav\n", "two rows for a.wav"),
        ("m.csv", "id,label\na.wav,b,c\n", "line 2: 3 cells, but the head has 2"),
        ("m.csv", "id,label\na.wav,b\nc.wav\n", "line 3: 1 cells"),
        ("m.csv", "id,label\n\n", "has no rows"),
        ("m.xlsx", "", "not from '.xlsx'"),
        ("m.parquet", "not parquet", "cannot be read as a table"),
        ("m.csv", 'id,a\n"x,1\n', "cannot be read as a table"),
    ],
)
def test_an_invalid_table_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        metadata.Table(write(tmp_path, name, text))


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="cannot be read"):
        metadata.Table(tmp_path / "missing.csv")


IDS = ["a/1.wav", "a/2.wav", "b/2.wav", "b/3.flac"]


@pytest.mark.parametrize(
    ("key", "id"),
    [
        ("a/1.wav", "a/1.wav"),
        (r"C:\sounds\a\1.wav", "a/1.wav"),
        ("/data/sounds/b/2.wav", "b/2.wav"),
        ("1.wav", "a/1.wav"),
        ("a/1", "a/1.wav"),
        ("b/2", "b/2.wav"),
        ("3", "b/3.flac"),
        ("/elsewhere/3.wav", "b/3.flac"),
        ("2.wav", None),  # two sounds have this name
        ("4.wav", None),
    ],
)
def test_a_row_finds_its_sound(tmp_path: Path, key: str, id: str | None) -> None:
    columns_of, matched = metadata.Table(write(tmp_path, "m.csv", f"path,label\n{key},found\n")).match(IDS)
    assert [one for one in IDS if columns_of(one)[0] == "found"] == ([] if id is None else [id])
    assert (matched.n_matched, matched.n_rows) == (int(id is not None), 1)
    assert (matched.unmatched is None) == (id is not None)


def test_an_exact_row_is_before_one_with_the_same_name(tmp_path: Path) -> None:
    path = write(tmp_path, "m.csv", "path,label\n/x/a/1.wav,far\na/1.wav,near\n")
    columns_of, matched = metadata.Table(path).match(IDS)
    assert columns_of("a/1.wav")[0] == "near"
    assert str(matched).endswith("1 of 2 rows belong to a sound; the first without a sound: /x/a/1.wav")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_what_a_spreadsheet_writes_is_read(tmp_path: Path, encoding: str, delimiter: str) -> None:
    text = "\r\n".join(delimiter.join(cells) for cells in (("note", " id ", "label"), ("x", "a/1.wav", "Käuzchen")))
    for head in ("", f"sep={delimiter}\r\n"):
        (tmp_path / "m.csv").write_bytes((head + text).encode(encoding))
        assert metadata.Table(tmp_path / "m.csv").match(IDS)[0]("a/1.wav") == ("Käuzchen", {"note": "x"})
