"""The door for Python: ``from boiler.api.nearest import Nearest``. Searching itself is `boiler.search`.

>>> from boiler.api.nearest import Nearest
>>> nearest = Nearest("exp/esc10/MFCCStats")  # doctest: +SKIP
>>> nearest.search(vector, k=5)  # doctest: +SKIP
"""

from boiler.search.nearest import (
    Answer,
    ByItem,
    BySamples,
    BySound,
    ByVector,
    ByWindows,
    Embedded,
    Explanation,
    Group,
    Item,
    Map,
    Match,
    Nearest,
    Options,
    Part,
    PerGroup,
)

__all__ = [
    "Answer",
    "ByItem",
    "BySamples",
    "BySound",
    "ByVector",
    "ByWindows",
    "Embedded",
    "Explanation",
    "Group",
    "Item",
    "Map",
    "Match",
    "Nearest",
    "Options",
    "Part",
    "PerGroup",
]
