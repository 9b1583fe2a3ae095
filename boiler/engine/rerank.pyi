"""The functions of `rerank.c`. Arrays must be C-contiguous; results are written into arrays given by the caller."""

from typing import Any

from boiler.arrays import Float32Array, Float64Array, Int8Array, Int64Array

def nearest(
    vectors: Float32Array,
    queries: Float32Array,
    query_of: Int64Array | None,
    candidates: Int64Array,
    rows: Int64Array,
    distances: Float32Array,
) -> None:
    """Write the k nearest of the candidate rows of each query. `query_of`: the query that each candidate belongs to, in
    rising order; None for a single query.

    Shape: vectors [N, D], queries [Q, D], query_of and candidates [C], rows and distances [Q, k]

    Raises: ValueError: wrong shapes or types, or a query has fewer than k candidates. IndexError: no such row or query.
    """

def nearest_scored(
    vectors: Float32Array,
    queries: Float32Array,
    scores: Any,
    slack: Float64Array,
    rows: Int64Array,
    distances: Float32Array,
) -> None:
    """Write the k nearest of all rows. `scores` (int32 or float32) are higher for nearer rows, up to an error: only
    rows whose score is within `slack` of the k-th highest can be among the k nearest.

    Shape: vectors [N, D], queries [Q, D], scores [Q, N], slack [Q], rows and distances [Q, k]

    Raises: ValueError: wrong shapes or types, a negative slack, or NaN.
    """

def rounded(
    queries: Float32Array,
    step: float,
    lost: float,
    margin: float,
    whole: Int8Array,
    slack: Float64Array,
) -> None:
    """Round queries of unit length to int8 (`whole`, each query with its own step), and write the slack of each: how
    far below the k-th highest product with rows rounded to `step` one of the k nearest can be.

    `lost`: the largest length of a rounding error of a row. `margin`: the difference up to which products of the
    vectors themselves count as equal. The slack of a query that is not finite is not finite.

    Shape: queries and whole [Q, D], slack [Q]

    Raises: ValueError: wrong shapes or types, or a step that is not positive.
    """
