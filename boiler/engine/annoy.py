"""Annoy: a forest of random splits, the file that every model directory has.

Select it by name; other engines are faster (exp/benchmarks/search.py). Its results are only candidates: more than k are
fetched and ranked again by exact distance.

Annoy checks nothing: a damaged file loads and answers wrongly, or kills the process at the first query. So a file comes
from a generation, whose sizes are checked at opening; here the number of rows is compared besides.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import annoy
import numpy as np

from boiler.arrays import Float32Array
from boiler.engine import Neighbours, empty_neighbours, rerank_candidates
from boiler.engine.exact import Exact
from boiler.errors import ModelDirError

N_TREES = 100
OVER_FETCH = 2


class Annoy:
    """`search_k` is how many rows it looks at to find 10; None: Annoy's own, trees times rows asked."""

    name: ClassVar[str] = "annoy"

    def __init__(self, index: annoy.AnnoyIndex, vectors: Float32Array, search_k: int | None = None) -> None:
        self.vectors = np.asarray(vectors)
        self._index = index
        self._search_k = search_k

    @classmethod
    def build(
        cls, vectors: Float32Array, *, n_trees: int = N_TREES, search_k: int | None = None, seed: int = 0
    ) -> Self:
        """The same vectors and seed give the same forest: it is built on one thread."""
        index = annoy.AnnoyIndex(vectors.shape[1], "angular")
        index.set_seed(seed)
        for row, vector in enumerate(vectors):
            index.add_item(row, vector)
        index.build(n_trees, 1)
        return cls(index, vectors, search_k)

    def save(self, path: Path) -> None:
        self._index.save(str(path))

    @classmethod
    def load(cls, path: Path, vectors: Float32Array, *, search_k: int | None = None) -> Self:
        index = annoy.AnnoyIndex(vectors.shape[1], "angular")
        try:
            index.load(str(path))
        except OSError as error:
            raise ModelDirError(f"{path} cannot be read ({error}): run boiler index again") from error
        if index.get_n_items() != len(vectors):
            raise ModelDirError(
                f"{path} holds {index.get_n_items()} rows where {len(vectors)} are: run boiler index again"
            )
        return cls(index, vectors, search_k)

    def query(self, queries: Float32Array, k: int) -> Neighbours:
        k = min(k, len(self.vectors))
        if not k or not len(queries):
            return empty_neighbours(len(queries), k)
        answers = [self._one(query, k) for query in queries]
        return Neighbours(*(np.concatenate(parts) for parts in zip(*answers, strict=True)))

    def _one(self, query: Float32Array, k: int) -> Neighbours:
        wanted = min(OVER_FETCH * k + 8, len(self.vectors))
        search_k = -1 if self._search_k is None else max(self._search_k, self._search_k * k // 10)
        candidates = np.array(self._index.get_nns_by_vector(query, wanted, search_k), np.int64)
        if len(candidates) < k:  # it may come back with fewer than asked, though there are enough
            return Exact(self.vectors, once=True).query(query[None], k)
        return rerank_candidates(self.vectors, query[None], k, None, candidates)
