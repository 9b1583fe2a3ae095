"""How likes and dislikes of answers move the next ranking: the query goes towards what was liked (Rocchio 1971).

The moved query is the old one plus `TOWARDS` times the mean of the liked answers less `AWAY` times that of the
disliked, on the unit sphere: weights as in the literature, where dislikes count less than likes because they point in
many directions. What was disliked as an answer to a question is not answered to it again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from boiler import engine
from boiler.arrays import Float32Array
from boiler.errors import UnknownItemError
from boiler.search.feedback import FeedbackStore
from boiler.search.query import Query
from boiler.search.snapshot import Snapshot

TOWARDS = 0.75
AWAY = 0.25


def key_of(snapshot: Snapshot, query: Query) -> str:
    """How the store calls a question: by the id of the item, where one whole item was asked with, else by the vectors;
    in half precision, in which the same sound is the same on every machine nearly always."""
    if query.item is not None:
        return f"item:{snapshot.names([query.item])[0].id}"
    return f"vectors:{hashlib.sha256(query.vectors.astype('<f2').tobytes()).hexdigest()[:32]}"


def steered(store: FeedbackStore, snapshot: Snapshot, query: Query, user: str | None = None) -> Query:
    """The query as the judgements of its answers move it; the same query where there are none."""
    if not store.exists:
        return query
    verdicts = store.verdicts(key_of(snapshot, query), user)
    if not verdicts.likes and not verdicts.dislikes:
        return query
    liked, _ = _there(snapshot, verdicts.likes)
    disliked, numbers = _there(snapshot, verdicts.dislikes)
    return replace(query, vectors=moved(query.vectors, liked, disliked), without=query.without | set(numbers))


def moved(queries: Float32Array, liked: Float32Array, disliked: Float32Array) -> Float32Array:
    """Each query moved. Shape: [Q, D], [L, D], [M, D] -> [Q, D]"""
    total = queries.astype(np.float64)
    if len(liked):
        total += TOWARDS * liked.mean(axis=0)
    if len(disliked):
        total -= AWAY * disliked.mean(axis=0)
    return engine.normalize(total)  # the query itself weighs 1 against AWAY, so it is never zero


def _there(snapshot: Snapshot, ids: Sequence[str]) -> tuple[Float32Array, list[int]]:
    """The vectors of the items that are still in the index (of several windows their mean), and the numbers."""
    vectors, numbers = [], []
    for id in ids:
        try:
            record = snapshot.record(id)
        except UnknownItemError:
            continue  # judged in an older index
        if record["n_rows"]:
            vectors.append(snapshot.generation.item_vectors[record["vec_row"]])
            numbers.append(int(record["n"]))
    return np.array(vectors, np.float32).reshape(-1, snapshot.vectors.shape[1]), numbers
