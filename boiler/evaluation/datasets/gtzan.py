"""GTZAN genres: `{genre}/{genre}.00042.wav` (or .au), in `genres/`, `genres_original/` or at the top.

There is no official split. Its faults (repetitions, wrong labels) are listed in B. L. Sturm, *The GTZAN dataset*, 2013.
The names do not contain artists: to exclude the same artist, give a table with such a column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from boiler.evaluation.datasets import DatasetEntry, DatasetLayout

_NAME = re.compile(r"(?P<genre>[a-z]+)\.(?P<n>\d{5})\.(wav|au|mp3|flac)", re.IGNORECASE)


class GTZAN(DatasetLayout):
    """10 genres of 100 excerpts of 30 seconds."""

    title = "GTZAN"
    source = (
        "G. Tzanetakis and P. Cook, Musical Genre Classification of Audio Signals, IEEE Transactions on Speech and"
        " Audio Processing 10(5), 2002, DOI 10.1109/TSA.2002.800560"
    )
    description = "{genre}/{genre}.{five digits}.wav or .au"

    def entries(self, root: Path) -> Iterator[DatasetEntry]:
        return self.entries_by_name(root, (".wav", ".au", ".mp3", ".flac"))

    def from_id(self, id: str) -> DatasetEntry | None:
        match = _NAME.fullmatch(PurePosixPath(id).name)
        return None if match is None else DatasetEntry(id, (match["genre"].lower(),))
