"""The folders of a collection as a tree, walked one level at a time."""

from __future__ import annotations

import collections
from collections.abc import Iterable


def below(folders: Iterable[tuple[str, int]], place: str) -> list[tuple[str, int]]:
    """The folders directly in `place` (\"\" is the top), with how many sounds each holds at any depth, by name.

    >>> below([("drums/snare", 3), ("drums/kick", 2), ("drums", 1), ("rain", 4)], "")
    [('drums', 6), ('rain', 4)]
    >>> below([("drums/snare", 3), ("drums/kick/old", 2), ("drums", 1)], "drums")
    [('drums/kick', 2), ('drums/snare', 3)]
    """
    prefix = f"{place}/" if place else ""
    counts: collections.Counter[str] = collections.Counter()
    for folder, count in folders:
        if folder.startswith(prefix) and folder != place:
            counts[prefix + folder[len(prefix) :].partition("/")[0]] += count
    return sorted(counts.items())


def way(place: str) -> list[str]:
    """The folders that lead to this one, itself last.

    >>> way("drums/snare"), way("")
    (['drums', 'drums/snare'], [])
    """
    parts = place.split("/") if place else []
    return ["/".join(parts[: end + 1]) for end in range(len(parts))]
