"""Free Spoken Digit Dataset: `{digit}_{speaker}_{n}.wav`, in `recordings/` or wherever they lie.

Its authors test with the recordings numbered 0 to 4 of each speaker and digit, and train with the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from boiler.evaluation.datasets import Entry, Layout

_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_/]+)_(?P<n>\d+)\.(wav|flac)", re.IGNORECASE)
_TESTED_BELOW = 5


class FSDD(Layout):
    """Spoken digits."""

    title = "the Free Spoken Digit Dataset"
    source = "Z. Jackson, Free Spoken Digit Dataset, DOI 10.5281/zenodo.1342401"
    laid_out = "{digit}_{speaker}_{n}.wav"
    groups = ("speaker",)

    def entries(self, root: Path) -> Iterator[Entry]:
        return self.named(root, (".wav", ".flac"))

    def from_id(self, id: str) -> Entry | None:
        match = _NAME.fullmatch(PurePosixPath(id).name)
        if match is None:
            return None
        fold = "test" if int(match["n"]) < _TESTED_BELOW else "train"
        return Entry(id, (match["digit"],), fold=fold, groups={"speaker": match["speaker"]})
