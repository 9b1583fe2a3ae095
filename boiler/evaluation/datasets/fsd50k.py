"""FSD50K: Freesound clips, each with several labels of the AudioSet ontology.

`FSD50K.dev_audio/` and `FSD50K.eval_audio/` with `FSD50K.ground_truth/dev.csv` (fname, labels, mids, split) and
`eval.csv`. If there are `FSD50K.metadata/*_clips_info_FSD50K.json`, uploaders are a group: the recordings of one person
share a microphone and a place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from boiler.errors import CorpusError
from boiler.evaluation.datasets import DatasetEntry, DatasetLayout, read_table


class FSD50K(DatasetLayout):
    """51,197 clips, 200 classes."""

    title = "FSD50K"
    source = (
        "E. Fonseca, X. Favory, J. Pons, F. Font and X. Serra, FSD50K: an Open Dataset of Human-Labeled Sound Events,"
        " IEEE/ACM Transactions on Audio, Speech and Language Processing 30, 2022, DOI 10.5281/zenodo.4060432"
    )
    description = "FSD50K.dev_audio, FSD50K.eval_audio and FSD50K.ground_truth"
    groups = ("uploader",)
    multilabel = True

    def entries(self, root: Path) -> Iterator[DatasetEntry]:
        for part, columns in (("dev", ("fname", "labels", "split")), ("eval", ("fname", "labels"))):
            uploaders = self._uploaders(root, part)
            for row in read_table(self, root, f"FSD50K.ground_truth/{part}.csv", columns):
                name = row["fname"]
                yield DatasetEntry(
                    f"FSD50K.{part}_audio/{name}.wav",
                    tuple(sorted(filter(None, row["labels"].split(",")))),
                    fold=row["split"] if part == "dev" else "test",
                    groups={"uploader": uploaders[name]} if name in uploaders else {},
                )

    def _uploaders(self, root: Path, part: str) -> dict[str, str]:
        path = root / "FSD50K.metadata" / f"{part}_clips_info_FSD50K.json"
        if not path.exists():
            return {}
        try:
            clips = json.loads(path.read_text(encoding="utf-8"))
            return {str(name): str(clip["uploader"]) for name, clip in clips.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorpusError(f"{path} is not the table of clips of {self.title}: {error}") from error
