"""Labels and further columns of items, from folder names or from a table.

A table (CSV, TSV, Parquet) has one row per sound and a key column called `id`, `path` or `file_name` (as in the
audiofolder layout): the path below the folder of sounds. A column `label` becomes the label; all other
columns become the metadata of the item, which filters may use.

>>> folder_label("dog/1.ogg"), folder_label("1.ogg")
('dog', None)
"""

from __future__ import annotations

import csv
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath

from boiler.errors import CatalogError

KEYS = ("id", "path", "file_name")

Columns = Callable[[str], tuple[str | None, Mapping[str, object]]]
"""From an id to its label and its further columns."""


def folder_label(id: str) -> str | None:
    """The name of the folder that contains the sound; None for a sound at the top."""
    return PurePosixPath(id).parent.name or None


def from_folders(id: str) -> tuple[str | None, Mapping[str, object]]:
    return folder_label(id), {}


def from_table(path: Path) -> Columns:
    """Columns from the table at `path`. The label of a sound that is not in it is the name of its folder.

    Raises: CatalogError: no such table, no key column, or a key twice.
    """
    rows: dict[str, tuple[str | None, dict[str, object]]] = {}
    for row in _read(path):
        key = next((name for name in KEYS if name in row), None)
        if key is None:
            raise CatalogError(f"{path} has no column called {' or '.join(KEYS)}; its columns: {', '.join(row)}")
        id = unicodedata.normalize("NFC", str(row.pop(key)).replace("\\", "/").removeprefix("./"))
        if id in rows:
            raise CatalogError(f"{path} has two rows for {id}")
        label = row.pop("label", None)
        rows[id] = (None if label is None else str(label), row)

    def columns_of(id: str) -> tuple[str | None, Mapping[str, object]]:
        label, columns = rows.get(id, (None, {}))
        return (folder_label(id) if label is None else label), columns

    return columns_of


def _read(path: Path) -> Iterable[dict[str, object]]:
    try:
        match path.suffix.lower():
            case ".parquet":
                import pyarrow.parquet

                rows: list[dict[str, object]] = pyarrow.parquet.read_table(path).to_pylist()
                return [{name: json_value(value) for name, value in row.items()} for row in rows]
            case ".csv" | ".tsv" as suffix:
                with path.open(encoding="utf-8-sig", newline="") as stream:
                    table = csv.DictReader(stream, delimiter="\t" if suffix == ".tsv" else ",", strict=True)
                    return [
                        {
                            name: value if name in (*KEYS, "label") and value != "" else parse_cell(value or "")
                            for name, value in row.items()
                            if name is not None
                        }
                        for row in table
                    ]
            case suffix:
                raise CatalogError(f"{path}: metadata is read from .csv, .tsv or .parquet, not from '{suffix}'")
    except (OSError, ValueError, csv.Error) as error:
        raise CatalogError(f"{path} cannot be read as a table: {error}") from error


def json_value(value: object) -> object:
    """The value, if JSON can represent it; None for NaN and infinity, else its text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def parse_cell(text: str) -> object:
    """A cell of a text table: a number if it is one, None if it is empty.

    >>> parse_cell("12"), parse_cell("0.5"), parse_cell("dog"), parse_cell(""), parse_cell("007")
    (12, 0.5, 'dog', None, '007')
    """
    if not text:
        return None
    if text.lstrip("-").startswith("0") and text.lstrip("-")[1:2].isdigit():
        return text  # 007 is a name
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    return int(text) if text.lstrip("-").isdecimal() else number
