"""`rerank.c`, which the engines' last word is left to. Arrays are C-contiguous; what is written into is given."""

from typing import Any

import numpy as np
import numpy.typing as npt

from boiler.arrays import Float32Array, Int64Array

def nearest(
    vectors: Float32Array,
    queries: Float32Array,
    asked: Int64Array | None,
    candidates: Int64Array,
    rows: Int64Array,
    distances: Float32Array,
) -> None:
    """The nearest among candidates; `asked` says which query each is for, and rises, None of a single one.

    Shape: vectors [N, D], queries [Q, D], asked and candidates [C], rows and distances [Q, k]

    Raises: ValueError: shapes or types do not fit, or a query has fewer than k candidates; IndexError: no such row.
    """

def nearest_scored(
    vectors: Float32Array,
    queries: Float32Array,
    scores: Any,
    slack: npt.NDArray[np.float64],
    rows: Int64Array,
    distances: Float32Array,
) -> None:
    """The nearest of all rows. `scores` (int32 or float32) are the higher the nearer: whatever has a score within
    `slack` of the k-th highest could be among the k nearest, and nothing else.

    Shape: vectors [N, D], queries [Q, D], scores [Q, N], slack [Q], rows and distances [Q, k]

    Raises: ValueError: shapes or types do not fit, a slack is below 0, or something is no number.
    """

def rounded(
    queries: Float32Array,
    step: float,
    lost: float,
    margin: float,
    whole: npt.NDArray[np.int8],
    slack: npt.NDArray[np.float64],
) -> None:
    """The queries, of unit length, in whole steps of their own from -127 to 127; and how far their products with rows
    in steps of `step` can be from the k-th highest one for a row that is one of the k nearest, where rounding has
    changed no row by more than the length `lost`, and products that differ by `margin` may be the same. The slack of
    a query that is not finite is not finite either.

    Shape: queries and whole [Q, D], slack [Q]

    Raises: ValueError: shapes or types do not fit, or a step that is not above 0.
    """
