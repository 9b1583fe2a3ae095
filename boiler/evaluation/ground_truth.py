"""Ground truth: the labels, folds and groups of the items of an index.

They are read from the catalog, from a CSV table, or from a known data set. Items of one group (the same recording, the
same speaker) are excluded from each other's answers.

A table has a header and one row per sound: a column `id` (or `file_name`, `filename`, `path`, `file`) with the path as
in the index, or with a file name that is unique; a column `label`, or `labels` with several separated by semicolons;
and, if there are folds, a column `fold`. Every other column can be used as a group.
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
LABEL_SEPARATOR = ";"


@dataclass(frozen=True)
class GroundTruth:
    """The ground truth of N items, in the order of the index.

    source: where the labels are from, for reports
    labels: the labels of each item, empty where unknown
    folds: the fold of each item, "" for none
    columns: the columns that can be groups, by name
    multilabel: whether an item may have several labels (tags)
    default_group: the group to exclude unless another is given
    """

    source: str
    labels: tuple[tuple[str, ...], ...]
    folds: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    multilabel: bool = False
    default_group: str = NO_GROUP

    @property
    def is_labelled(self) -> BoolArray:
        """Which items have a label. Shape: [N]"""
        return np.array([bool(names) for names in self.labels], bool)

    @cached_property
    def label_names(self) -> tuple[str, ...]:
        """All labels, sorted; those that are numbers come first, by value."""
        every = {name for names in self.labels for name in names}
        return tuple(sorted(every, key=lambda name: (int(name), "") if name.isdecimal() else (1 << 62, name)))

    def class_indices(self) -> Int64Array:
        """The (first) label of each item as an index into `label_names`, -1 for none. Shape: [N]"""
        place = {name: number for number, name in enumerate(self.label_names)}
        return np.array([place[names[0]] if names else -1 for names in self.labels], np.int64)

    def tag_matrix(self) -> BoolArray:
        """Which labels each item has. Shape: [N, L]"""
        place = {name: number for number, name in enumerate(self.label_names)}
        has = np.zeros((len(self.labels), len(place)), bool)
        for item, names in enumerate(self.labels):
            has[item, [place[name] for name in names]] = True
        return has

    def group_indices(self, spec: str, ids: Sequence[str]) -> Int64Array:
        """The group of each item as an index, -1 for an item without one. Shape: [N]

        spec: a column, `folder`, `none`, or `re:PATTERN`, whose first capture group (or whole match) in the id names
            the group

        Raises: UnknownNameError: no such column. CorpusError: the pattern is invalid, or matches no id.
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
        return as_indices(values)

    def select(self, kept: Sequence[int]) -> GroundTruth:
        """The ground truth of these items only."""

        def chosen(values: Sequence[str]) -> tuple[str, ...]:
            return tuple(values[item] for item in kept)

        return replace(
            self,
            labels=tuple(self.labels[item] for item in kept),
            folds=chosen(self.folds),
            columns={name: chosen(values) for name, values in self.columns.items()},
        )

    def with_top_labels(self, n_labels: int) -> GroundTruth:
        """The same with the `n_labels` most frequent labels only."""
        counts = Counter(name for names in self.labels for name in names)
        kept = {name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:n_labels]}
        return replace(self, labels=tuple(tuple(name for name in names if name in kept) for names in self.labels))


def as_indices(values: Sequence[str]) -> Int64Array:
    """Each value as its index among the sorted distinct ones; "" is -1. Shape: -> [N]

    >>> as_indices(["b", "", "a", "b"]).tolist()
    [1, -1, 0, 1]
    """
    distinct = sorted(set(values) - {""})
    index_of = {value: index for index, value in enumerate(distinct)} | {"": -1}
    return np.array([index_of[value] for value in values], np.int64)


def _matches(pattern: str, ids: Sequence[str]) -> list[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise CorpusError(f"--group {BY_PATTERN}{pattern} is not a regular expression: {error}") from error
    found = [compiled.search(id) for id in ids]
    if ids and not any(found):
        raise CorpusError(f"--group {BY_PATTERN}{pattern} matches no id; the first id is {ids[0]}")
    return [(one[1] if compiled.groups else one[0]) or "" if one else "" for one in found]


def from_catalog(items: Sequence[Item], label_column: str | None = None) -> GroundTruth:
    """The labels of the index itself: the names of folders, or the metadata.

    label_column: a column of the metadata to use as label instead

    Raises: UnknownNameError: no such column. CorpusError: no item has a label.
    """
    names = sorted({name for item in items for name in item.metadata})
    columns = {name: tuple(str(item.metadata.get(name) or "") for item in items) for name in names}
    if label_column is not None and label_column not in columns:
        raise UnknownNameError("column of the metadata", label_column, columns)
    words = [item.label or "" for item in items] if label_column is None else list(columns[label_column])
    if not any(words):
        raise CorpusError(
            "no item of this index has a label: give a table with --labels CSV (columns id, label), or a known data set"
            f" with --dataset ({', '.join(datasets.LAYOUTS)})"
        )
    labels = tuple((word,) if word else () for word in words)
    return GroundTruth("the catalog", labels, columns.get("fold", ("",) * len(items)), columns)


def from_csv(path: Path, ids: Sequence[str], label_column: str | None = None) -> GroundTruth:
    """Labels, folds and groups from a table (its format: see the module).

    Raises: CorpusError: the file cannot be read, lacks a column, or lists none of these ids.
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
    of_id = {datasets.normalized_id(row[id_column] or ""): row for row in rows}
    base_names = Counter(PurePosixPath(id).name for id in of_id)
    of_name = {PurePosixPath(id).name: row for id, row in of_id.items() if base_names[PurePosixPath(id).name] == 1}
    found = [of_id.get(id) or of_name.get(PurePosixPath(id).name) for id in ids]
    if not any(found):
        raise CorpusError(f"{path} lists none of the sounds of this index; the first is {ids[0] if ids else ''}")

    def cell(row: Mapping[str, str | None] | None, name: str) -> str:
        return (row.get(name) or "").strip() if row is not None else ""

    multilabel = column == "labels"
    labels = tuple(
        tuple(
            sorted(
                {
                    word.strip()
                    for word in cell(row, column).split(LABEL_SEPARATOR if multilabel else "\n")
                    if word.strip()
                }
            )
        )
        for row in found
    )
    columns = {name: tuple(cell(row, name) for row in found) for name in header if name not in (id_column, column)}
    return GroundTruth(path.name, labels, columns.get("fold", ("",) * len(ids)), columns, multilabel)


def from_dataset(name: str, ids: Sequence[str], dataset_dir: Path | None, wav_dir: Path | None) -> GroundTruth:
    """Labels, folds and groups of a known data set.

    dataset_dir: the root of the data set, if that is not `wav_dir`, which the ids are relative to

    Raises: CorpusError, UnknownNameError: as `datasets.match_entries`.
    """
    layout = datasets.get_layout(name)
    root, below = dataset_dir or wav_dir, ""
    if dataset_dir is not None and wav_dir is not None and wav_dir.resolve().is_relative_to(dataset_dir.resolve()):
        below = wav_dir.resolve().relative_to(dataset_dir.resolve()).as_posix()
    found = datasets.match_entries(name, ids, root, below="" if below == "." else below)
    unknown = datasets.DatasetEntry("", ())
    entries = [entry or unknown for entry in found]
    columns = {group: tuple(entry.groups.get(group, "") for entry in entries) for group in layout.groups}
    columns = {group: values for group, values in columns.items() if any(values)}
    return GroundTruth(
        layout.title,
        tuple(entry.labels for entry in entries),
        tuple(entry.fold for entry in entries),
        columns,
        layout.multilabel,
        next(iter(columns), NO_GROUP),
    )
