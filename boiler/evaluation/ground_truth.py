"""What an evaluation holds to be true of the items of an index: labels, folds, and groups that must not answer for each
other. From the catalog, from a table of one's own, or from the layout of a known data set.

A table (CSV) has a header and one line a sound: a column `id` (also taken: `file_name`, `filename`, `path`, `file`),
the path as in the index, or a file name that is the only one of its kind; a column `label`, or `labels` with several
parted by `;`; where there is one, `fold`. Every other column can be named as a group.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from boiler.arrays import BoolArray, Int64Array
from boiler.catalog.items import Item
from boiler.errors import CorpusError, UnknownNameError
from boiler.evaluation import datasets

ID_COLUMNS = ("id", "file_name", "filename", "path", "file")
NO_GROUP = "none"
BY_PATTERN = "re:"
PARTED_BY = ";"


@dataclass(frozen=True)
class Truth:
    """For each of N items, in the order of the index.

    `labels`: the names of each, none where nothing is known; `several`: whether they are tags, of which an item may
    have many; `folds`: its fold, empty for none; `columns`: what groups can be made of, by name; `source`: where all
    this is from; `default_group`: what is left out unless told otherwise.
    """

    source: str
    labels: tuple[tuple[str, ...], ...]
    folds: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    several: bool = False
    default_group: str = NO_GROUP

    @property
    def known(self) -> BoolArray:
        """Which items have a label. Shape: [N]"""
        return np.array([bool(names) for names in self.labels], bool)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All labels, in order: numbers in order where all are numbers."""
        every = {name for names in self.labels for name in names}
        return tuple(sorted(every, key=lambda name: (int(name), "") if name.isdecimal() else (1 << 62, name)))

    def numbers(self) -> Int64Array:
        """One label an item as its place in `names`, the first of several, -1 for none. Shape: [N]"""
        place = {name: number for number, name in enumerate(self.names)}
        return np.array([place[names[0]] if names else -1 for names in self.labels], np.int64)

    def tags(self) -> BoolArray:
        """Whether an item has each label. Shape: [N, L]"""
        place = {name: number for number, name in enumerate(self.names)}
        has = np.zeros((len(self.labels), len(place)), bool)
        for item, names in enumerate(self.labels):
            has[item, [place[name] for name in names]] = True
        return has

    def group(self, spec: str, ids: Sequence[str]) -> Int64Array:
        """Who must not answer for whom, as numbers; -1 for an item that stands alone. Shape: [N]

        `spec`: a column's name, `folder`, `none`, or `re:PATTERN`, whose first bracket (or whole match) in the id
        names the group.

        Raises: UnknownNameError: no such column. CorpusError: not a pattern, or one that no id matches.
        """
        if spec == NO_GROUP:
            return np.full(len(ids), -1)
        if spec.startswith(BY_PATTERN):
            values = _matches(spec.removeprefix(BY_PATTERN), ids)
        elif spec in self.columns:
            values = list(self.columns[spec])
        elif spec == "folder":
            values = [str(PurePosixPath(id).parent) for id in ids]
        else:
            raise UnknownNameError("group", spec, [*self.columns, "folder", NO_GROUP, f"{BY_PATTERN}PATTERN"])
        return numbered(values)

    def only(self, kept: Sequence[int]) -> Truth:
        """The same for these items alone."""

        def chosen(values: Sequence[str]) -> tuple[str, ...]:
            return tuple(values[item] for item in kept)

        return replace(
            self,
            labels=tuple(self.labels[item] for item in kept),
            folds=chosen(self.folds),
            columns={name: chosen(values) for name, values in self.columns.items()},
        )

    def keeping(self, n_labels: int) -> Truth:
        """The same with the most frequent labels alone."""
        counts = Counter(name for names in self.labels for name in names)
        kept = {name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:n_labels]}
        return replace(self, labels=tuple(tuple(name for name in names if name in kept) for names in self.labels))


def numbered(values: Sequence[str]) -> Int64Array:
    """Equal words get equal numbers from 0, in their order; the empty word -1. Shape: -> [N]

    >>> numbered(["b", "", "a", "b"]).tolist()
    [1, -1, 0, 1]
    """
    words = sorted(set(values) - {""})
    place = {word: number for number, word in enumerate(words)} | {"": -1}
    return np.array([place[value] for value in values], np.int64)


def _matches(pattern: str, ids: Sequence[str]) -> list[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise CorpusError(f"--group {BY_PATTERN}{pattern} is not a pattern: {error}") from error
    found = [compiled.search(id) for id in ids]
    if ids and not any(found):
        raise CorpusError(f"--group {BY_PATTERN}{pattern} matches no sound; the first is called {ids[0]}")
    return [(one[1] if compiled.groups else one[0]) or "" if one else "" for one in found]


def from_catalog(items: Sequence[Item], label_column: str | None = None) -> Truth:
    """The labels of the index itself (a folder's name, or what its metadata says).

    `label_column`: take that column of the metadata instead.

    Raises: UnknownNameError: no such column. CorpusError: nothing has a label.
    """
    names = sorted({name for item in items for name in item.metadata})
    columns = {name: tuple(str(item.metadata.get(name) or "") for item in items) for name in names}
    if label_column is not None and label_column not in columns:
        raise UnknownNameError("column of the metadata", label_column, columns)
    words = [item.label or "" for item in items] if label_column is None else list(columns[label_column])
    if not any(words):
        raise CorpusError(
            "nothing in this index has a label: name a table with --labels CSV (columns id, label), or a known data set"
            f" with --corpus ({', '.join(datasets.TABLE)})"
        )
    labels = tuple((word,) if word else () for word in words)
    return Truth("the catalog", labels, columns.get("fold", ("",) * len(items)), columns)


def from_csv(path: Path, ids: Sequence[str], label_column: str | None = None) -> Truth:
    """Labels from a table.

    Raises: CorpusError: not readable, without the columns, or about other sounds.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            header = list(reader.fieldnames or [])
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{path} cannot be read as a table: {error}") from error
    id_column = next((name for name in ID_COLUMNS if name in header), None)
    column = label_column or next((name for name in ("label", "labels") if name in header), None)
    if id_column is None or column is None or column not in header:
        wanted = label_column or "label (or labels, or another, named with --label_column)"
        raise CorpusError(
            f"{path} has the columns {', '.join(header) or '(none)'}: it needs one called id (or"
            f" {', '.join(ID_COLUMNS[1:])}) and one called {wanted}"
        )
    of_id = {datasets.normal(row[id_column] or ""): row for row in rows}
    base_names = Counter(PurePosixPath(id).name for id in of_id)
    of_name = {PurePosixPath(id).name: row for id, row in of_id.items() if base_names[PurePosixPath(id).name] == 1}
    found = [of_id.get(id) or of_name.get(PurePosixPath(id).name) for id in ids]
    if not any(found):
        raise CorpusError(f"{path} names none of the sounds of this index; the first is called {ids[0] if ids else ''}")

    def cell(row: Mapping[str, str | None] | None, name: str) -> str:
        return (row.get(name) or "").strip() if row is not None else ""

    several = column == "labels"
    labels = tuple(
        tuple(
            sorted({word.strip() for word in cell(row, column).split(PARTED_BY if several else "\n") if word.strip()})
        )
        for row in found
    )
    columns = {name: tuple(cell(row, name) for row in found) for name in header if name not in (id_column, column)}
    return Truth(path.name, labels, columns.get("fold", ("",) * len(ids)), columns, several)


def from_corpus(name: str, ids: Sequence[str], corpus_dir: Path | None, wav_dir: Path | None) -> Truth:
    """Labels, folds and groups of a known data set. `wav_dir`: what the ids are relative to; `corpus_dir`: the root of
    the data set where that is another folder.

    Raises: CorpusError, UnknownNameError: see `corpus.look_up`.
    """
    layout = datasets.find(name)
    root, below = corpus_dir or wav_dir, ""
    if corpus_dir is not None and wav_dir is not None and wav_dir.resolve().is_relative_to(corpus_dir.resolve()):
        below = wav_dir.resolve().relative_to(corpus_dir.resolve()).as_posix()
    found = datasets.look_up(name, ids, root, below="" if below == "." else below)
    nothing = datasets.Entry("", ())
    entries = [entry or nothing for entry in found]
    columns = {group: tuple(entry.groups.get(group, "") for entry in entries) for group in layout.groups}
    columns = {group: values for group, values in columns.items() if any(values)}
    return Truth(
        layout.title,
        tuple(entry.labels for entry in entries),
        tuple(entry.fold for entry in entries),
        columns,
        layout.several,
        next(iter(columns), NO_GROUP),
    )
