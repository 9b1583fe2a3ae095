"""Finds the sound files in a folder, for indexing and training.

Skipped are hidden names (a leading dot), system folders (`SYSTEM_FOLDERS`), and files whose suffix is not that of a
sound. Symbolic links are followed. A folder that is reached twice, by a link or a loop of links, is walked once, under
its real path.

An **id** is the path below the root, with `/`, in Unicode NFC, so it is the same on every system. Bytes of a name that
are not UTF-8 become `\\xNN` in the id; `FoundFile.file` holds the name on disk.
"""

from __future__ import annotations

import fnmatch
import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from boiler.errors import CorpusError

SYSTEM_FOLDERS = frozenset(
    {
        "$recycle.bin",
        "#recycle",
        "#snapshot",
        "@eadir",
        "__macosx",
        "lost+found",
        "system volume information",
    }
)
"""Folders of operating systems and network storage, in lower case."""


@dataclass(frozen=True)
class FoundFile:
    """A sound file below the root. `file`: its path on disk in bytes, if that differs from the id."""

    id: str
    size_bytes: int
    mtime_ns: int
    file: bytes | None = None

    def path(self, root: Path) -> Path:
        return root / (self.id if self.file is None else os.fsdecode(self.file))


@dataclass
class Unreadable:
    """Files and folders that a walk could not read, by id, each with the reason. Sounds below such a folder must not
    count as deleted. `passed_over`: the number of sounds in formats that boiler does not read, by suffix."""

    reasons: dict[str, str] = field(default_factory=dict)
    passed_over: Counter[str] = field(default_factory=Counter)

    def hides(self, id: str) -> bool:
        """Whether this id is one that could not be read, or below one."""
        return any(id == place or id.startswith(f"{place}/") or not place for place in self.reasons)


def id_of(relative: str) -> str:
    """The id of a path below the root, given as by `os.fsdecode` (undecodable bytes as surrogates).

    >>> id_of("drums/cafe\\u0301.wav") == "drums/caf\\u00e9.wav", id_of("caf\\udce9.wav")
    (True, 'caf\\\\xe9.wav')
    """
    text = os.fsencode(relative).decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", text)


def stored_mtime_ns(mtime_ns: int) -> int:
    """A modification time as the catalog stores it, in 64 bits: before 1677 and after 2262 the first and the last such
    time. Some network shares give 1601.

    >>> stored_mtime_ns(10**19), stored_mtime_ns(7)
    (9223372036854775807, 7)
    """
    return max(-(2**63), min(mtime_ns, 2**63 - 1))


def matches(id: str, patterns: Sequence[str]) -> bool:
    """Whether one of the globs matches the id, a folder above it, or, for a glob without `/`, one of the names in it.
    `*` matches `/`, too.

    >>> one = "drums/snare/one.wav"
    >>> matches(one, ["drums/*"]), matches(one, ["snare"]), matches(one, ["*.mp3"])
    (True, True, False)
    """
    if not patterns:
        return False
    names = id.split("/")
    folders = ["/".join(names[: depth + 1]) for depth in range(len(names))]
    return any(
        fnmatch.fnmatchcase(one, pattern.rstrip("/"))
        for pattern in patterns
        for one in (folders if "/" in pattern.rstrip("/") else [*names, id])
    )


def suffix_of(name: str) -> str:
    """The suffix of a file name, lower case, with the dot."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122  # ten times as fast as Path


class WalkOptions(TypedDict, total=False):
    """The options of `walk`, for functions that pass them on."""

    include: Sequence[str]
    exclude: Sequence[str]
    unread_suffixes: Collection[str]
    unreadable: Unreadable | None


def walk(
    root: Path,
    suffixes: Collection[str],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    unread_suffixes: Collection[str] = (),
    unreadable: Unreadable | None = None,
) -> Iterator[FoundFile]:
    """Yield every sound file below `root`, in no particular order.

    suffixes: lower case, with the dot
    include: only files that match one of these globs
    exclude: skip files that match one of these globs
    unread_suffixes: of sounds that are counted, not yielded
    unreadable: files and folders that could not be read are added to it, and these counts

    Raises: CorpusError: `root` is not a folder, or cannot be listed.
    """
    if not root.is_dir():
        raise CorpusError(f"{root} is not a folder: give the folder with the sounds")
    unreadable = Unreadable() if unreadable is None else unreadable
    walked: set[tuple[int, int]] = set()
    ids: set[str] = set()
    # Links to folders are walked last, so that a folder gets its real path.
    waiting, links = [""], list[str]()
    while waiting or links:
        relative = waiting.pop() if waiting else links.pop(0)
        folder = root / relative
        try:
            stat = folder.stat()
            if (stat.st_dev, stat.st_ino) in walked:
                continue
            walked.add((stat.st_dev, stat.st_ino))
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            if not relative:
                raise CorpusError(f"{root} cannot be listed: {error.strerror}") from error
            unreadable.reasons[id_of(relative)] = f"the folder cannot be listed: {error.strerror}"
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower() in SYSTEM_FOLDERS:
                continue
            below = f"{relative}/{entry.name}" if relative else entry.name
            id = id_of(below)
            if matches(id, exclude):
                continue
            try:
                if entry.is_dir():
                    (links if entry.is_symlink() else waiting).append(below)
                    continue
                suffix = suffix_of(entry.name)
                if (suffix not in suffixes and suffix not in unread_suffixes) or (include and not matches(id, include)):
                    continue
                if suffix not in suffixes:
                    unreadable.passed_over[suffix] += 1
                    continue
                if not entry.is_file():
                    if entry.is_symlink():
                        unreadable.reasons[id] = "a broken link"
                    continue
                stat = entry.stat()
            except OSError as error:  # a link to itself, or no permission
                if suffix_of(entry.name) in suffixes or not entry.is_symlink():
                    unreadable.reasons[id] = f"cannot be read: {error.strerror}"
                continue
            if id in ids:
                unreadable.reasons[f"{id} ({os.fsencode(below)!r})"] = (
                    "another file has the same name in another Unicode normalisation"
                )
                continue
            ids.add(id)
            raw = os.fsencode(below)
            yield FoundFile(id, stat.st_size, stored_mtime_ns(stat.st_mtime_ns), None if raw == id.encode() else raw)
