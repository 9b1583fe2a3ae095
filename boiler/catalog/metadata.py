"""Labels and further columns of items, from folder names or from a table.

A table (CSV, TSV, Parquet) has one row per sound and a key column called `id`, `path` or `file_name` (as in the
audiofolder layout): the path below the folder of sounds, an absolute path, or the name of a file (`Table.match`).
Commas, semicolons and tabs, UTF-8, UTF-16 and Windows-1252 are recognised. A column `label` becomes the label; all
other columns become the metadata of the item, which filters may use.

>>> folder_label("dog/1.ogg"), folder_label("1.ogg")
('dog', None)
"""

from __future__ import annotations

import codecs
import csv
import io
import math
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from boiler.errors import CatalogError

KEYS = ("id", "path", "file_name")
AUDIOFOLDER_TABLE = "metadata.csv"
HEAD_BYTES = 2**16
"""Enough for the first line of a table."""

Columns = Callable[[str], tuple[str | None, Mapping[str, object]]]
"""From an id to its label and its further columns."""


def folder_label(id: str) -> str | None:
    """The name of the folder that contains the sound; None for a sound at the top."""
    return PurePosixPath(id).parent.name or None


def from_folders(id: str) -> tuple[str | None, Mapping[str, object]]:
    return folder_label(id), {}


@dataclass(frozen=True)
class TableMatch:
    """Which rows of a table belong to a sound of the collection. `unmatched`: the key of the first that does not."""

    path: Path
    n_matched: int
    n_rows: int
    unmatched: str | None

    def __str__(self) -> str:
        first = f"; the first without a sound: {self.unmatched}" if self.unmatched is not None else ""
        return f"{self.path}: {self.n_matched} of {self.n_rows} rows belong to a sound{first}"


class Table:
    """The rows of a table of metadata.

    Raises: CatalogError: no such table, no rows, no key column, a key twice, or a row with too few or too many cells.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: dict[str, tuple[str | None, dict[str, object]]] = {}
        for row in _read(path):
            key = next((name for name in KEYS if name in row), None)
            if key is None:
                raise CatalogError(f"{path} has no column called {' or '.join(KEYS)}; its columns: {', '.join(row)}")
            id = unicodedata.normalize("NFC", str(row.pop(key)).replace("\\", "/").removeprefix("./"))
            if id in self._rows:
                raise CatalogError(f"{path} has two rows for {id}")
            label = row.pop("label", None)
            self._rows[id] = (None if label is None else str(label), row)
        if not self._rows:
            raise CatalogError(f"{path} has no rows")

    def match(self, ids: Collection[str]) -> tuple[Columns, TableMatch]:
        """The columns of each of these ids, and how many rows belong to one.

        A row belongs to the id that is its key; else to the one whose path the key ends with, as an absolute path does;
        else to the only one with the same path, or the same name, or the same name without its suffix. The label of
        an id without a row is the name of its folder.
        """
        known = frozenset(ids)
        key_of = {key: key for key in self._rows if key in known}
        for key in self._rows:
            parts = key.split("/")
            tails = ("/".join(parts[at:]) for at in range(1, len(parts)))
            if key not in known and (id := next((tail for tail in tails if tail in known), None)) is not None:
                key_of.setdefault(id, key)
        for form in (_without_suffix, _name, _stem):
            left = [key for key in self._rows if key not in set(key_of.values())]
            free = _only(form, (id for id in ids if id not in key_of))
            for name, key in _only(form, left).items():
                if name in free:
                    key_of[free[name]] = key
        used = set(key_of.values())

        def columns_of(id: str) -> tuple[str | None, Mapping[str, object]]:
            label, columns = self._rows[key_of[id]] if id in key_of else (None, {})
            return (folder_label(id) if label is None else label), columns

        unmatched = next((key for key in self._rows if key not in used), None)
        return columns_of, TableMatch(self.path, len(used), len(self._rows), unmatched)


def audiofolder_table(folder: Path) -> Path | None:
    """The table of a folder in the audiofolder layout: its `metadata.csv`, if that has a column `file_name`."""
    path = folder / AUDIOFOLDER_TABLE
    try:
        with path.open("rb") as stream:
            first = _decoded(stream.read(HEAD_BYTES)).split("\n", 1)[0]
    except OSError:
        return None
    named = {name.strip().strip('"') for name in first.replace(";", ",").replace("\t", ",").split(",")}
    return path if "file_name" in named else None


def _without_suffix(path: str) -> str:
    return path.removesuffix(PurePosixPath(path).suffix)


def _name(path: str) -> str:
    return PurePosixPath(path).name


def _stem(path: str) -> str:
    return PurePosixPath(path).stem


def _only(form: Callable[[str], str], paths: Iterable[str]) -> dict[str, str]:
    """The paths by their form, without those that share it with another."""
    by_form: dict[str, list[str]] = {}
    for path in paths:
        by_form.setdefault(form(path), []).append(path)
    return {name: same[0] for name, same in by_form.items() if len(same) == 1}


def _read(path: Path) -> Iterable[dict[str, object]]:
    try:
        match path.suffix.lower():
            case ".parquet":
                import pyarrow.parquet

                rows: list[dict[str, object]] = pyarrow.parquet.read_table(path).to_pylist()
                return [{name.strip(): json_value(value) for name, value in row.items()} for row in rows]
            case ".csv" | ".tsv" | ".txt":
                return _read_text(path)
            case suffix:
                raise CatalogError(f"{path}: metadata is read from .csv, .tsv or .parquet, not from '{suffix}'")
    except (OSError, ValueError, csv.Error) as error:
        raise CatalogError(f"{path} cannot be read as a table: {error}") from error


def _read_text(path: Path) -> list[dict[str, object]]:
    text = _decoded(path.read_bytes())
    head, _, rest = text.partition("\n")
    if head.startswith("sep="):  # Excel's own line
        delimiter, text = head[4:5], rest
    else:
        # The delimiter that sets a key column apart; a table without one is refused by the caller.
        cells = {mark: [cell.strip().strip('"') for cell in head.split(mark)] for mark in (",", ";", "\t")}
        delimiter = next((mark for mark, names in cells.items() if len(names) > 1 and set(KEYS) & {*names}), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names = [name.strip() for name in next(reader, [])]
    rows = []
    for cells_of_row in reader:
        if not any(cell.strip() for cell in cells_of_row):
            continue
        if len(cells_of_row) != len(names):
            raise CatalogError(
                f"{path}, line {reader.line_num}: {len(cells_of_row)} cells, but the head has {len(names)}"
            )
        rows.append(
            {
                name: cell if name in (*KEYS, "label") and cell != "" else parse_cell(cell)
                for name, cell in zip(names, cells_of_row, strict=True)
            }
        )
    return rows


def _decoded(data: bytes) -> str:
    """The text of a table: UTF-8 or UTF-16 with a byte order mark, UTF-8, or what Excel writes without saying so."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252")


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
