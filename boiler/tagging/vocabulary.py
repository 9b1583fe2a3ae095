"""The names of tags: a CSV with the columns `Index`, `Name` and `TrainVideoCount`, as YouTube-8M publishes it.

The position of a name is the number that stands for the tag in TFRecord files and in the outputs of a model.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from boiler import files
from boiler.errors import CorpusError

COLUMNS = ("Index", "Name", "TrainVideoCount")


@dataclass(frozen=True)
class Vocabulary:
    """Names of tags by number, and how many training examples have each (0: not known). No name comes twice."""

    names: tuple[str, ...]
    counts: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """Read a CSV. Numbers may be missing from the table: such a tag is called by its number.

        Two tags of the same name, of which YouTube-8M has some, are told apart by their number in brackets.

        Raises: CorpusError: it cannot be read, lacks a column, or has a wrong or repeated number.
        """
        try:
            with path.open(encoding="utf-8-sig", newline="") as stream:
                reader = csv.DictReader(stream)
                if not {"Index", "Name"} <= {*(reader.fieldnames or ())}:
                    raise CorpusError(
                        f"{path} has the columns {', '.join(reader.fieldnames or ()) or '(none)'}: a vocabulary has"
                        f" {', '.join(COLUMNS)}"
                    )
                rows = list(reader)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise CorpusError(f"{path} cannot be read as a vocabulary: {error}") from error
        by_number: dict[int, tuple[str, int]] = {}
        for row in rows:
            number, count = _number(row["Index"]), _number(row.get("TrainVideoCount") or "0")
            if number is None or count is None or number in by_number or number >= MAX_TAGS:
                raise CorpusError(
                    f"{path}: {row['Index']!r} is not a number below {MAX_TAGS:,} that occurs once, or its count is"
                    f" not a number: {row.get('TrainVideoCount')!r}"
                )
            by_number[number] = ((row["Name"] or "").strip(), count)
        if not by_number:
            raise CorpusError(f"{path} has no tags")
        n_tags = max(by_number) + 1
        named = [by_number.get(number, ("", 0)) for number in range(n_tags)]
        taken: set[str] = set()
        names = []
        for number, (name, _) in enumerate(named):
            unique = name or str(number)
            if unique in taken:
                unique = f"{unique} ({number})"
            if unique in taken:
                raise CorpusError(f"{path} has the name {unique!r} twice")
            taken.add(unique)
            names.append(unique)
        return cls(tuple(names), tuple(count for _, count in named))

    def write(self, path: Path) -> None:
        """Write the CSV."""
        counts: Sequence[int] = self.counts or [0] * len(self.names)
        with files.replacing(path) as aside, aside.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(COLUMNS)
            writer.writerows((number, *row) for number, row in enumerate(zip(self.names, counts, strict=True)))


MAX_TAGS = 1_000_000
"""A larger number in a vocabulary is a mistake."""


def _number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isdecimal() and len(text) < 19 else None
