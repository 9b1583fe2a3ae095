"""Speech Commands: `{word}/{speaker}_nohash_{n}.wav`, split by `validation_list.txt` and `testing_list.txt`.

`_background_noise_` is not a word and is left out. Without the two lists (only the names are known) there are no folds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from boiler.evaluation.datasets import DatasetEntry, DatasetLayout

_NAME = re.compile(r"(?P<speaker>[0-9a-z]+)_nohash_(?P<n>\d+)\.(wav|flac)", re.IGNORECASE)
_LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}


class SpeechCommands(DatasetLayout):
    """One-second utterances of 35 words by 2,618 speakers (version 0.02)."""

    title = "Speech Commands"
    source = "P. Warden, Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition, 2018, arXiv:1804.03209"
    description = "a folder for each word, validation_list.txt and testing_list.txt"
    groups = ("speaker",)

    def entries(self, root: Path) -> Iterator[DatasetEntry]:
        fold_of = {}
        for fold, name in _LISTS.items():
            try:
                listed = (root / name).read_text(encoding="utf-8")
            except OSError as error:
                raise self.not_found(root, f"it has no {name}") from error
            fold_of.update(dict.fromkeys(listed.split(), fold))
        for entry in self.entries_by_name(root, (".wav", ".flac")):
            yield replace(entry, fold=fold_of.get(entry.id, "train"))

    def from_id(self, id: str) -> DatasetEntry | None:
        path = PurePosixPath(id)
        match = _NAME.fullmatch(path.name)
        word = path.parent.name
        if match is None or word in ("", "_background_noise_"):
            return None
        return DatasetEntry(id, (word,), groups={"speaker": match["speaker"]})
