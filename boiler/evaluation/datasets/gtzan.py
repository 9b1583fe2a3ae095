"""GTZAN genres: `{genre}/{genre}.00042.wav` (or .au), in `genres/`, `genres_original/` or at the top.

There is no official split. Its faults (repeats, wrong labels) are listed in B. L. Sturm, *The GTZAN dataset*, 2013.
The names tell nothing of artists, so a group to leave out has to come from a table of one's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from boiler.evaluation.datasets import Entry, Layout

_NAME = re.compile(r"(?P<genre>[a-z]+)\.(?P<n>\d{5})\.(wav|au|mp3|flac)", re.IGNORECASE)


class GTZAN(Layout):
    """10 genres of 100 excerpts of 30 seconds."""

    title = "GTZAN"
    source = (
        "G. Tzanetakis and P. Cook, Musical Genre Classification of Audio Signals, IEEE Transactions on Speech and"
        " Audio Processing 10(5), 2002, DOI 10.1109/TSA.2002.800560"
    )
    laid_out = "{genre}/{genre}.{five digits}.wav or .au"

    def entries(self, root: Path) -> Iterator[Entry]:
        return self.named(root, (".wav", ".au", ".mp3", ".flac"))

    def from_id(self, id: str) -> Entry | None:
        match = _NAME.fullmatch(PurePosixPath(id).name)
        return None if match is None else Entry(id, (match["genre"].lower(),))
