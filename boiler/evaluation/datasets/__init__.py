"""Known data sets, in the layouts of their authors: labels, folds and groups of each sound.

One file per layout, imported when it is used. Nothing is downloaded, and no sound is opened: a layout reads tables and
names of files, and yields a `DatasetEntry` for each sound. To add a data set, subclass `DatasetLayout` in a new file,
and add it to `LAYOUTS`.

>>> from boiler.evaluation import datasets
>>> datasets.get_layout("fsdd").from_id("7_theo_13.wav")
DatasetEntry(id='7_theo_13.wav', labels=('7',), fold='train', groups={'speaker': 'theo'})
"""

from __future__ import annotations

import csv
import importlib
import os
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from boiler.errors import CorpusError, UnknownNameError

LAYOUTS: dict[str, str] = {
    "esc10": "boiler.evaluation.datasets.esc:ESC10",
    "esc50": "boiler.evaluation.datasets.esc:ESC50",
    "fsd50k": "boiler.evaluation.datasets.fsd50k:FSD50K",
    "fsdd": "boiler.evaluation.datasets.fsdd:FSDD",
    "gtzan": "boiler.evaluation.datasets.gtzan:GTZAN",
    "hydrogen": "boiler.evaluation.datasets.one_shots:HydrogenDrumKits",
    "magnatagatune": "boiler.evaluation.datasets.magnatagatune:MagnaTagATune",
    "nsynth": "boiler.evaluation.datasets.nsynth:NSynth",
    "sonic_pi": "boiler.evaluation.datasets.one_shots:SonicPiSamples",
    "soundfonts": "boiler.evaluation.datasets.one_shots:Soundfonts",
    "speech_commands": "boiler.evaluation.datasets.speech_commands:SpeechCommands",
    "urbansound8k": "boiler.evaluation.datasets.urbansound8k:UrbanSound8K",
}
"""Names of data sets, and where their layouts are."""


@dataclass(frozen=True)
class DatasetEntry:
    """The ground truth of one sound.

    id: path below the root of the data set, POSIX and NFC
    labels: one label, or several tags
    fold: the authors' split ("1" ... "10", "train", "test"), "" if there is none
    groups: by name ("recording", "speaker"): sounds of the same group are too similar to count as answers
    """

    id: str
    labels: tuple[str, ...]
    fold: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)


class DatasetLayout(ABC):
    """One data set on disk.

    title: its name
    source: the paper or DOI that describes it
    description: its files, for the message when they are missing
    groups: the possible names in `DatasetEntry.groups`; the first is excluded by default
    multilabel: whether a sound has several labels
    """

    title: ClassVar[str]
    source: ClassVar[str]
    description: ClassVar[str]
    groups: ClassVar[tuple[str, ...]] = ()
    multilabel: ClassVar[bool] = False

    @abstractmethod
    def entries(self, root: Path) -> Iterator[DatasetEntry]:
        """All labelled sounds below `root`.

        Raises: CorpusError: a file is missing or malformed.
        """

    def from_id(self, id: str) -> DatasetEntry | None:
        """The entry of a sound, from its name alone; None in layouts whose names do not contain everything."""
        return None

    def not_found(self, root: Path, what: str) -> CorpusError:
        return CorpusError(
            f"{root} is not {self.title}: {what}. Expected: {self.description}. If it is in another folder, give that"
            f" with --dataset_dir. Source: {self.source}"
        )

    def entries_by_name(self, root: Path, suffixes: Sequence[str]) -> Iterator[DatasetEntry]:
        """`entries` for layouts whose names contain everything: the files below `root` with one of these suffixes that
        `from_id` recognises, sorted by id."""
        found = False
        for path in sorted(files(root, suffixes)):
            entry = self.from_id(path)
            if entry is not None:
                found = True
                yield entry
        if not found:
            raise self.not_found(root, "no file has a name of that form")


def get_layout(name: str) -> DatasetLayout:
    """The layout of the data set with this name.

    Raises: UnknownNameError.
    """
    if name not in LAYOUTS:
        raise UnknownNameError("data set", name, LAYOUTS)
    module, _, class_name = LAYOUTS[name].partition(":")
    kind: type[DatasetLayout] = getattr(importlib.import_module(module), class_name)
    return kind()


def files(root: Path, suffixes: Sequence[str]) -> Iterator[str]:
    """Ids of all files below `root` with one of these suffixes, ignoring case."""
    for folder, _, names in os.walk(root):
        below = Path(folder).relative_to(root)
        for name in names:
            if name.lower().endswith(tuple(suffixes)):
                yield normalized_id((below / name).as_posix())


def normalized_id(id: str) -> str:
    """An id in NFC, as in the catalog."""
    return unicodedata.normalize("NFC", id)


def read_table(
    layout: DatasetLayout, root: Path, name: str, columns: Sequence[str], delimiter: str = ","
) -> Iterator[dict[str, str]]:
    """The rows of a CSV file of the data set.

    Raises: CorpusError: the file or a column is missing, or a row is incomplete.
    """
    path = root / name
    try:
        stream = path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise layout.not_found(root, f"it has no {name}") from error
    with stream:
        reader = csv.DictReader(stream, delimiter=delimiter)
        lacking = [column for column in columns if column not in (reader.fieldnames or [])]
        if lacking:
            raise CorpusError(f"{path} is not the table of {layout.title}: it lacks the columns {', '.join(lacking)}")
        for number, row in enumerate(reader, 2):
            if any(row[column] is None for column in columns):
                raise CorpusError(f"{path} is damaged: line {number} is incomplete. Source: {layout.source}")
            yield row


def match_entries(name: str, ids: Sequence[str], root: Path | None, *, below: str = "") -> list[DatasetEntry | None]:
    """The entries of sounds by their ids; None for a sound that the data set does not have.

    Arguments:
        root: the root of the data set; None if it is not on this machine: then the names alone may be enough.
        below: the folder that the ids are relative to, below the root; "" for the root itself.

    An id that is not found by its path is found by its file name, if that is unique in the data set.

    Raises: CorpusError: the files of the data set are needed but missing, or have none of the ids. UnknownNameError.
    """
    layout = get_layout(name)
    keys = [normalized_id(f"{below}/{id}" if below else id) for id in ids]
    try:
        if root is None:
            raise layout.not_found(Path("The indexed folder"), "it is not on this machine")
        known = {entry.id: entry for entry in layout.entries(root)}
    except CorpusError:
        by_name = [layout.from_id(key) for key in keys]
        if not any(by_name):
            raise
        return by_name
    of_name: dict[str, DatasetEntry | None] = {}
    for entry in known.values():
        base = entry.id.rsplit("/", 1)[-1]
        of_name[base] = None if base in of_name else entry
    found = [known.get(key) or of_name.get(key.rsplit("/", 1)[-1]) for key in keys]
    if not any(found):
        raise CorpusError(
            f"{layout.title} in {root} has none of the {len(ids)} sounds of this index (the first is"
            f" {ids[0] if ids else 'none'}): is this the right data set?"
        )
    return found
