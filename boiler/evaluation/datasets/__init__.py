"""Known data sets, read as their authors lay them out on disk: labels, folds and groups for each sound.

The contract, and the table of names. One file per layout, imported when asked for; nothing is downloaded, and no sound
is opened. A layout gives an `Entry` for each sound:

* ``labels``  what it is: one name, or several tags
* ``fold``    the authors' split ("1" ... "10", "train", "test"), empty where they made none
* ``groups``  what makes two sounds too alike to count as an answer to each other, by the name of the group
  ("recording", "speaker"); the layout's first group is the one that evaluations leave out unless told otherwise

>>> from boiler.evaluation import datasets
>>> datasets.find("fsdd").from_id("7_theo_13.wav")
Entry(id='7_theo_13.wav', labels=('7',), fold='train', groups={'speaker': 'theo'})
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

TABLE: dict[str, str] = {
    "esc10": "boiler.evaluation.datasets.esc:ESC10",
    "esc50": "boiler.evaluation.datasets.esc:ESC50",
    "fsd50k": "boiler.evaluation.datasets.fsd50k:FSD50K",
    "fsdd": "boiler.evaluation.datasets.fsdd:FSDD",
    "gtzan": "boiler.evaluation.datasets.gtzan:GTZAN",
    "magnatagatune": "boiler.evaluation.datasets.magnatagatune:MagnaTagATune",
    "nsynth": "boiler.evaluation.datasets.nsynth:NSynth",
    "speech_commands": "boiler.evaluation.datasets.speech_commands:SpeechCommands",
    "urbansound8k": "boiler.evaluation.datasets.urbansound8k:UrbanSound8K",
}
"""Name to where its layout stands."""


@dataclass(frozen=True)
class Entry:
    """What is known of one sound. `id` is its path below the root of the data set, POSIX and NFC."""

    id: str
    labels: tuple[str, ...]
    fold: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)


class Layout(ABC):
    """One data set as it lies on disk.

    `title`, `source` (the paper or DOI to find it by) and `laid_out` (in words) go into the message when it is not
    there; `groups` are the names that `Entry.groups` may have, the one to leave out by default first; `several`:
    whether a sound has several labels.
    """

    title: ClassVar[str]
    source: ClassVar[str]
    laid_out: ClassVar[str]
    groups: ClassVar[tuple[str, ...]] = ()
    several: ClassVar[bool] = False

    @abstractmethod
    def entries(self, root: Path) -> Iterator[Entry]:
        """Every labelled sound below `root`.

        Raises: CorpusError: it is not there, or not laid out as its authors publish it.
        """

    def from_id(self, id: str) -> Entry | None:
        """What the name of a sound alone tells, for the layouts whose names tell all; else None."""
        return None

    def missing(self, root: Path, what: str) -> CorpusError:
        return CorpusError(
            f"{root} does not hold {self.title}: {what}. Get it from its authors ({self.source}); it should lie there"
            f" as {self.laid_out}. Where it lies elsewhere, name the folder with --corpus_dir"
        )

    def named(self, root: Path, suffixes: Sequence[str]) -> Iterator[Entry]:
        """`entries` of a layout whose names tell all: every file below `root` with such a suffix that
        `from_id` knows, in the order of their ids."""
        found = False
        for path in sorted(files(root, suffixes)):
            entry = self.from_id(path)
            if entry is not None:
                found = True
                yield entry
        if not found:
            raise self.missing(root, "no sound there has such a name")


def find(name: str) -> Layout:
    """The layout of that name.

    Raises: UnknownNameError.
    """
    if name not in TABLE:
        raise UnknownNameError("corpus", name, TABLE)
    module, _, class_name = TABLE[name].partition(":")
    kind: type[Layout] = getattr(importlib.import_module(module), class_name)
    return kind()


def files(root: Path, suffixes: Sequence[str]) -> Iterator[str]:
    """The ids of all files below `root` with one of these suffixes, in any case."""
    for folder, _, names in os.walk(root):
        below = Path(folder).relative_to(root)
        for name in names:
            if name.lower().endswith(tuple(suffixes)):
                yield normal((below / name).as_posix())


def normal(id: str) -> str:
    """An id as the catalog writes it: NFC."""
    return unicodedata.normalize("NFC", id)


def table(
    layout: Layout, root: Path, name: str, columns: Sequence[str], delimiter: str = ","
) -> Iterator[dict[str, str]]:
    """The rows of a table of the data set.

    Raises: CorpusError: no such file, or without these columns.
    """
    path = root / name
    try:
        stream = path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise layout.missing(root, f"it has no {name}") from error
    with stream:
        reader = csv.DictReader(stream, delimiter=delimiter)
        lacking = [column for column in columns if column not in (reader.fieldnames or [])]
        if lacking:
            raise CorpusError(f"{path} is not the table of {layout.title}: it lacks {', '.join(lacking)}")
        for number, row in enumerate(reader, 2):
            if any(row[column] is None for column in columns):
                raise CorpusError(f"{path} is damaged: line {number} is cut short. Get it again: {layout.source}")
            yield row


def look_up(name: str, ids: Sequence[str], root: Path | None, *, below: str = "") -> list[Entry | None]:
    """What the data set `name` knows of sounds with these ids; None for a sound it does not know.

    `root`: where the data set lies, None when it is not on this machine (some layouts tell all in the names). `below`:
    where the folder that the ids are relative to lies below the root ("audio"), empty when it is the root. An id
    that is not found at its place is found by its file name, if only one sound of the data set has it.

    Raises: CorpusError: the data set is needed and not there, or knows none of the ids. UnknownNameError.
    """
    layout = find(name)
    keys = [normal(f"{below}/{id}" if below else id) for id in ids]
    try:
        if root is None:
            raise layout.missing(Path("this machine"), "the folder of the sounds is not here")
        known = {entry.id: entry for entry in layout.entries(root)}
    except CorpusError:
        by_name = [layout.from_id(key) for key in keys]
        if not any(by_name):
            raise
        return by_name
    of_name: dict[str, Entry | None] = {}
    for entry in known.values():
        base = entry.id.rsplit("/", 1)[-1]
        of_name[base] = None if base in of_name else entry
    found = [known.get(key) or of_name.get(key.rsplit("/", 1)[-1]) for key in keys]
    if not any(found):
        raise CorpusError(
            f"{layout.title} in {root} knows none of the {len(ids)} sounds of this index"
            f" (the first is {ids[0] if ids else 'none'}): is it another collection?"
        )
    return found
