"""The Python interface. The code is in `boiler.search`.

>>> from boiler.api.nearest import Nearest
>>> nearest = Nearest("exp/esc10/MFCCStats")  # doctest: +SKIP
>>> nearest.query("dog.wav", k=5)  # doctest: +SKIP
"""

from boiler.deprecated import module_getattr
from boiler.search.nearest import (
    ByItem,
    ByPicture,
    BySamples,
    BySound,
    ByText,
    ByVector,
    ByWindows,
    DuplicateGroup,
    Embedded,
    Explanation,
    GroupLimit,
    Item,
    Map,
    Match,
    Nearest,
    Options,
    QueryResult,
    SoundTag,
    TagCount,
    TimeSpan,
)

__all__ = [
    "ByItem",
    "ByPicture",
    "BySamples",
    "BySound",
    "ByText",
    "ByVector",
    "ByWindows",
    "DuplicateGroup",
    "Embedded",
    "Explanation",
    "GroupLimit",
    "Item",
    "Map",
    "Match",
    "Nearest",
    "Options",
    "QueryResult",
    "SoundTag",
    "TagCount",
    "TimeSpan",
]

__getattr__ = module_getattr(
    __name__, {"Answer": "QueryResult", "Group": "DuplicateGroup", "Part": "TimeSpan", "PerGroup": "GroupLimit"}
)
