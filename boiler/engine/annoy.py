"""Annoy: a forest of random splits. Every model directory has its file.

Select it by name; other engines are faster (exp/benchmarks/search.py). Its results are only candidates: more than k are
fetched and ranked again by exact distance.

Annoy checks nothing: a damaged file loads and gives wrong neighbours, or kills the process at the first query. Files
therefore come from a generation, whose file sizes are checked when it is opened; here the number of rows is compared.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import annoy
import numpy as np

from boiler.arrays import Float32Array
from boiler.engine import Neighbours, empty_neighbours, recall, rerank_candidates
from boiler.engine.exact import Exact
from boiler.errors import ModelDirError

RECALL_WANTED = 0.99
TREES_TRIED = (50, 100)
SEARCH_FACTORS = (1, 4, 16, 64)
"""Multiples of Annoy's default `search_k`, tried in this order."""
OVER_FETCH = 2
_TEST_QUERIES = 200
_TEST_K = 10


@dataclass(frozen=True)
class AnnoyParameters:
    """`n_trees` None: the first of `TREES_TRIED` that reaches `RECALL_WANTED`. `search_k`: nodes inspected to find 10
    rows; None: the first of n_trees x 10 x `SEARCH_FACTORS` that reaches it."""

    n_trees: int | None = None
    search_k: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_trees is not None and self.n_trees < 1:
            raise ValueError(f"n_trees must be at least 1, not {self.n_trees}")
        if self.search_k is not None and self.search_k < 1:
            raise ValueError(f"search_k must be at least 1, not {self.search_k}")
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed must be from 0 to 2147483647, not {self.seed}")


class Annoy:
    """An Annoy forest over the vectors."""

    name: ClassVar[str] = "annoy"
    Parameters: ClassVar[type[AnnoyParameters]] = AnnoyParameters

    def __init__(self, index: annoy.AnnoyIndex, vectors: Float32Array, parameters: AnnoyParameters) -> None:
        self.vectors = np.asarray(vectors)
        self.parameters = parameters
        self.recall_at_10: float | None = None
        self._index = index

    @classmethod
    def build(cls, vectors: Float32Array, parameters: AnnoyParameters) -> Self:
        """Build the forest. The same vectors and parameters give the same file: it is built on one thread."""
        if parameters.n_trees is not None and parameters.search_k is not None:
            return cls(_forest(vectors, parameters.n_trees, parameters.seed), vectors, parameters)
        random = np.random.default_rng(parameters.seed)
        queries = vectors[np.sort(random.choice(len(vectors), min(_TEST_QUERIES, len(vectors)), replace=False))]
        truth = Exact(vectors, once=True).query(queries, _TEST_K)
        for n_trees in TREES_TRIED if parameters.n_trees is None else (parameters.n_trees,):
            index = _forest(vectors, n_trees, parameters.seed)
            default_k = n_trees * _TEST_K
            for search_k in (
                [default_k * factor for factor in SEARCH_FACTORS]
                if parameters.search_k is None
                else [parameters.search_k]
            ):
                built = cls(index, vectors, replace(parameters, n_trees=n_trees, search_k=search_k))
                built.recall_at_10 = recall(built.query(queries, _TEST_K), truth)
                if built.recall_at_10 >= RECALL_WANTED:
                    return built
        return built

    def save(self, path: Path) -> None:
        self._index.save(str(path))

    @classmethod
    def load(cls, path: Path, vectors: Float32Array, parameters: AnnoyParameters) -> Self:
        index = annoy.AnnoyIndex(vectors.shape[1], "angular")
        try:
            index.load(str(path))
        except OSError as error:
            raise ModelDirError(f"{path} cannot be read ({error}): run boiler index again") from error
        if index.get_n_items() != len(vectors):
            raise ModelDirError(
                f"{path} has {index.get_n_items()} rows, the index {len(vectors)}: run boiler index again"
            )
        return cls(index, vectors, parameters)

    def query(self, queries: Float32Array, k: int) -> Neighbours:
        k = min(k, len(self.vectors))
        if not k or not len(queries):
            return empty_neighbours(len(queries), k)
        found = [self._query_one(query, k) for query in queries]
        return Neighbours(*(np.concatenate(parts) for parts in zip(*found, strict=True)))

    def _query_one(self, query: Float32Array, k: int) -> Neighbours:
        wanted = min(OVER_FETCH * k + 8, len(self.vectors))
        search_k = self.parameters.search_k
        # For more than 10 rows it grows in proportion; -1 is Annoy's default, trees times rows.
        search_k = -1 if search_k is None else max(search_k, search_k * k // _TEST_K)
        candidates = np.array(self._index.get_nns_by_vector(query, wanted, search_k), np.int64)
        if len(candidates) < k:  # Annoy may return fewer than k, even if there are more rows
            return Exact(self.vectors, once=True).query(query[None], k)
        return rerank_candidates(self.vectors, query[None], k, None, candidates)


def _forest(vectors: Float32Array, n_trees: int, seed: int) -> annoy.AnnoyIndex:
    index = annoy.AnnoyIndex(vectors.shape[1], "angular")
    index.set_seed(seed)
    for row, vector in enumerate(vectors):
        index.add_item(row, vector)
    index.build(n_trees, 1)
    return index
