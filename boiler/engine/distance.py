"""Angular distance and cosine similarity, each from the other.

The angular distance of two unit vectors is the length of their difference, ``sqrt(2 (1 - cosine))``: 0 the same, 2 the
opposite, smaller is nearer. Every distance that boiler stores or returns is of this kind.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from boiler.arrays import FloatArray

Number = TypeVar("Number", float, FloatArray)

IDENTICAL_DISTANCE = 0.001
"""Below it two vectors are of the same sound, up to rounding and lossless conversion."""


def cosine_similarity(distance: Number) -> Number:
    """The cosine, -1 to 1, of two vectors at this angular distance, 0 to 2.

    >>> cosine_similarity(0.0), cosine_similarity(2.0)
    (1.0, -1.0)
    """
    return 1 - distance * distance / 2


def angular_distance(cosine: FloatArray) -> FloatArray:
    """The angular distance, 0 to 2, of vectors with this cosine; a cosine rounded to above 1 gives 0.

    >>> angular_distance(np.array([1.0, 0.5, -1.0])).tolist()
    [0.0, 1.0, 2.0]
    """
    distance: np.ndarray[Any, Any] = np.sqrt(np.maximum(2 * (1 - cosine), 0))
    return distance
