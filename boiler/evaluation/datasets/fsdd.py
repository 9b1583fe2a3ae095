"""Free Spoken Digit Dataset: `{digit}_{speaker}_{n}.wav`, in `recordings/` or any other folder.

The authors' test set is the recordings 0 to 4 of each speaker and digit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from boiler.evaluation.datasets import DatasetEntry, DatasetLayout

_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_/]+)_(?P<n>\d+)\.(wav|flac)", re.IGNORECASE)
_N_TEST = 5


class FSDD(DatasetLayout):
    """Digits from 0 to 9, spoken by six people."""

    title = "the Free Spoken Digit Dataset"
    source = "Z. Jackson, Free Spoken Digit Dataset, DOI 10.5281/zenodo.1342401"
    description = "{digit}_{speaker}_{n}.wav"
    groups = ("speaker",)

    def entries(self, root: Path) -> Iterator[DatasetEntry]:
        return self.entries_by_name(root, (".wav", ".flac"))

    def from_id(self, id: str) -> DatasetEntry | None:
        match = _NAME.fullmatch(PurePosixPath(id).name)
        if match is None:
            return None
        fold = "test" if int(match["n"]) < _N_TEST else "train"
        return DatasetEntry(id, (match["digit"],), fold=fold, groups={"speaker": match["speaker"]})
