"""Relevance feedback: likes and dislikes of results move the vectors of a query.

The moved query is the query plus `LIKE_WEIGHT` times the mean of the liked results minus `DISLIKE_WEIGHT` times the
mean of the disliked ones, at unit length (J. J. Rocchio, "Relevance feedback in information retrieval", 1971). Dislikes
weigh less, as is usual, because they point in many directions. A disliked result is not returned again for this query.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from boiler import engine
from boiler.arrays import Float32Array
from boiler.errors import QueryError
from boiler.search.judgements import JudgementStore
from boiler.search.query import QueryVectors
from boiler.search.snapshot import Snapshot

LIKE_WEIGHT = 0.75
"""The weight of a like; the query itself has weight 1."""
DISLIKE_WEIGHT = 0.25
"""The weight of a dislike, also of a sound that results should be unlike (`boiler search --less`)."""


def query_key(snapshot: Snapshot, query: QueryVectors) -> str:
    """The key of a query in the feedback store: the id of the item if the query is one whole item, else a hash of the
    vectors in half precision, which is nearly always the same on every machine for the same sound.

    Raises: QueryError: it has words among its seeds.
    """
    if query.words:
        raise QueryError("likes and dislikes move a query by sounds: it cannot have words among its seeds")
    if query.item_n is not None:
        return f"item:{snapshot.names([query.item_n])[0].id}"
    return f"vectors:{hashlib.sha256(query.vectors.astype('<f2').tobytes()).hexdigest()[:32]}"


def apply_feedback(
    store: JudgementStore, snapshot: Snapshot, query: QueryVectors, user: str | None = None
) -> QueryVectors:
    """The query moved by the likes and dislikes of its results; unchanged if there are none."""
    if not store.exists:
        return query
    judged = store.summary(query_key(snapshot, query), user)
    if not judged.likes and not judged.dislikes:
        return query
    liked, _ = _existing(snapshot, judged.likes)
    disliked, numbers = _existing(snapshot, judged.dislikes)
    return replace(query, vectors=move_queries(query.vectors, liked, disliked), without=query.without | set(numbers))


def move_queries(queries: Float32Array, liked: Float32Array, disliked: Float32Array) -> Float32Array:
    """Each query moved, at unit length. Shape: [Q, D], [L, D], [M, D] -> [Q, D]"""
    total = queries.astype(np.float64)
    if len(liked):
        total += LIKE_WEIGHT * liked.mean(axis=0)
    if len(disliked):
        total -= DISLIKE_WEIGHT * disliked.mean(axis=0)
    return engine.normalize(total)  # never zero: the query weighs 1, dislikes `DISLIKE_WEIGHT`


def _existing(snapshot: Snapshot, ids: Sequence[str]) -> tuple[Float32Array, list[int]]:
    """The vectors of the items that are still in the index (the mean over their windows), and their numbers."""
    vectors, numbers = [], []
    for id in ids:
        record = snapshot.find_record(id)
        if record is not None and record["n_rows"]:  # the item may have been removed since
            vectors.append(snapshot.generation.item_vectors[record["vec_row"]])
            numbers.append(int(record["n"]))
    return np.array(vectors, np.float32).reshape(-1, snapshot.vectors.shape[1]), numbers
