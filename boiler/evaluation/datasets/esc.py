"""ESC-10 and ESC-50: environmental sounds, five seconds each, in five folds.

Two layouts are read: ESC-50's `audio/{fold}-{clip id}-{take}-{target}.wav` with `meta/esc50.csv` (ESC-10 is the part
marked there), and folders named by class with `{fold}-{clip id}-{take}.ogg` in them, as ESC-10 was first published
(its folders may begin with a number, "001 - Dog bark"). Takes of one clip id come from one recording.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from boiler.evaluation.datasets import Entry, Layout, normal, table

_NAME = re.compile(r"(?P<fold>[1-5])-(?P<clip>\d+)-(?P<take>[A-Z]+)(-\d+)?\.(wav|ogg|flac|mp3)", re.IGNORECASE)
_NUMBER = re.compile(r"^\d+ - ")
_TABLE = "meta/esc50.csv"


class ESC50(Layout):
    """50 classes of 40."""

    title = "ESC-50"
    source = (
        "K. J. Piczak, ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015,"
        " DOI 10.1145/2733373.2806390"
    )
    laid_out = f"audio/ and {_TABLE}, or a folder for each class"
    groups = ("recording",)

    def entries(self, root: Path) -> Iterator[Entry]:
        if not (root / _TABLE).exists():
            yield from self.named(root, (".wav", ".ogg", ".flac", ".mp3"))
            return
        for row in table(self, root, _TABLE, ("filename", "fold", "category", "src_file", "esc10")):
            if self.holds(row):
                yield Entry(
                    normal(f"audio/{row['filename']}"),
                    (row["category"],),
                    fold=row["fold"],
                    groups={"recording": row["src_file"]},
                )

    def holds(self, row: dict[str, str]) -> bool:
        """Whether a row of the table belongs to the data set."""
        return True

    def from_id(self, id: str) -> Entry | None:
        path = PurePosixPath(id)
        match = _NAME.fullmatch(path.name)
        folder = path.parent.name
        if match is None or folder in ("", "audio"):
            return None
        return Entry(id, (_NUMBER.sub("", folder),), fold=match["fold"], groups={"recording": match["clip"]})


class ESC10(ESC50):
    """10 of the classes, 400 clips."""

    title = "ESC-10"

    def holds(self, row: dict[str, str]) -> bool:
        return row["esc10"].strip().lower() in ("true", "1")
