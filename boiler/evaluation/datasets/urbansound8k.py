"""UrbanSound8K: slices of field recordings in ten folds, `audio/fold{n}/*.wav` and `metadata/UrbanSound8K.csv`.

Slices of one Freesound recording (`fsID`) are similar for other reasons than their class: they are a group. The ten
folds keep them together; the authors ask not to reshuffle them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from boiler.evaluation.datasets import DatasetEntry, DatasetLayout, normalized_id, read_table


class UrbanSound8K(DatasetLayout):
    """10 classes, 8,732 slices of up to 4 seconds."""

    title = "UrbanSound8K"
    source = (
        "J. Salamon, C. Jacoby and J. P. Bello, A Dataset and Taxonomy for Urban Sound Research, ACM Multimedia 2014,"
        " DOI 10.1145/2647868.2655045"
    )
    description = "audio/fold1 to fold10 and metadata/UrbanSound8K.csv"
    groups = ("recording",)

    def entries(self, root: Path) -> Iterator[DatasetEntry]:
        columns = ("slice_file_name", "fsID", "fold", "class")
        for row in read_table(self, root, "metadata/UrbanSound8K.csv", columns):
            yield DatasetEntry(
                normalized_id(f"audio/fold{row['fold']}/{row['slice_file_name']}"),
                (row["class"],),
                fold=row["fold"],
                groups={"recording": row["fsID"]},
            )
