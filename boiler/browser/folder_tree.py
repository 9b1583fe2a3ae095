"""The folders of a collection as a tree, read one level at a time."""

from __future__ import annotations

import collections
from collections.abc import Iterable


def subfolders(folders: Iterable[tuple[str, int]], parent: str) -> list[tuple[str, int]]:
    """The folders directly in `parent` (\"\" is the top) by name, each with its number of sounds at any depth.

    >>> subfolders([("drums/snare", 3), ("drums/kick", 2), ("drums", 1), ("rain", 4)], "")
    [('drums', 6), ('rain', 4)]
    >>> subfolders([("drums/snare", 3), ("drums/kick/old", 2), ("drums", 1)], "drums")
    [('drums/kick', 2), ('drums/snare', 3)]
    """
    prefix = f"{parent}/" if parent else ""
    counts: collections.Counter[str] = collections.Counter()
    for folder, count in folders:
        if folder.startswith(prefix) and folder != parent:
            counts[prefix + folder[len(prefix) :].partition("/")[0]] += count
    return sorted(counts.items())


def ancestors(folder: str) -> list[str]:
    """The folders from the top down to this one, which is the last.

    >>> ancestors("drums/snare"), ancestors("")
    (['drums', 'drums/snare'], [])
    """
    names = folder.split("/") if folder else []
    return ["/".join(names[: depth + 1]) for depth in range(len(names))]
