"""ESC-10 and ESC-50: environmental sounds, five seconds each, in five folds.

Two layouts are read: that of ESC-50, `audio/{fold}-{clip id}-{take}-{target}.wav` with `meta/esc50.csv` (which marks
ESC-10), and folders named after classes with `{fold}-{clip id}-{take}.ogg`, as ESC-10 was first published (the names
may start with a number, "001 - Dog bark"). Takes of one clip id are from one recording.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from boiler.evaluation.datasets import DatasetEntry, DatasetLayout, normalized_id, read_table

_NAME = re.compile(r"(?P<fold>[1-5])-(?P<clip>\d+)-(?P<take>[A-Z]+)(-\d+)?\.(wav|ogg|flac|mp3)", re.IGNORECASE)
_NUMBER = re.compile(r"^\d+ - ")
_TABLE = "meta/esc50.csv"


class ESC50(DatasetLayout):
    """2,000 clips of 50 classes."""

    title = "ESC-50"
    source = (
        "K. J. Piczak, ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015,"
        " DOI 10.1145/2733373.2806390"
    )
    description = f"audio/ and {_TABLE}, or a folder for each class"
    groups = ("recording",)

    def entries(self, root: Path) -> Iterator[DatasetEntry]:
        if not (root / _TABLE).exists():
            yield from self.entries_by_name(root, (".wav", ".ogg", ".flac", ".mp3"))
            return
        for row in read_table(self, root, _TABLE, ("filename", "fold", "category", "src_file", "esc10")):
            if self.includes(row):
                yield DatasetEntry(
                    normalized_id(f"audio/{row['filename']}"),
                    (row["category"],),
                    fold=row["fold"],
                    groups={"recording": row["src_file"]},
                )

    def includes(self, row: dict[str, str]) -> bool:
        """Whether a row of the table is part of the data set."""
        return True

    def from_id(self, id: str) -> DatasetEntry | None:
        path = PurePosixPath(id)
        match = _NAME.fullmatch(path.name)
        folder = path.parent.name
        if match is None or folder in ("", "audio"):
            return None
        return DatasetEntry(id, (_NUMBER.sub("", folder),), fold=match["fold"], groups={"recording": match["clip"]})


class ESC10(ESC50):
    """400 clips of 10 of the classes."""

    title = "ESC-10"

    def includes(self, row: dict[str, str]) -> bool:
        return row["esc10"].strip().lower() in ("true", "1")
