"""UrbanSound8K: slices of field recordings in ten folds, `audio/fold{n}/*.wav` and `metadata/UrbanSound8K.csv`.

Slices of one Freesound recording (`fsID`) sound alike for other reasons than their class: they are a group. The ten
folds keep them together, and are not to be reshuffled (so its authors).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from boiler.evaluation.datasets import Entry, Layout, normal, table


class UrbanSound8K(Layout):
    """10 classes, 8,732 slices of up to 4 seconds."""

    title = "UrbanSound8K"
    source = (
        "J. Salamon, C. Jacoby and J. P. Bello, A Dataset and Taxonomy for Urban Sound Research, ACM Multimedia 2014,"
        " DOI 10.1145/2647868.2655045"
    )
    laid_out = "audio/fold1 to fold10 and metadata/UrbanSound8K.csv"
    groups = ("recording",)

    def entries(self, root: Path) -> Iterator[Entry]:
        columns = ("slice_file_name", "fsID", "fold", "class")
        for row in table(self, root, "metadata/UrbanSound8K.csv", columns):
            yield Entry(
                normal(f"audio/fold{row['fold']}/{row['slice_file_name']}"),
                (row["class"],),
                fold=row["fold"],
                groups={"recording": row["fsID"]},
            )
