"""HNSW, a hierarchical graph of near neighbours (faiss `HNSW24,SQ8`): the engine for large collections.

It was chosen by measurement, compared with annoy, inverted lists and the graphs of other libraries
(exp/records/search.md). The graph stores vectors as bytes, one for each component: faster than float32, and no less
accurate, because the candidates are ranked again by exact distance. Its file is memory-mapped, so workers share it: 280
bytes per row at D = 64, a fifth of what annoy needs with 100 trees. Building it takes long.

Rows are inserted in random order, because graphs of sorted rows (collections are sorted by folder) need wider searches,
and then stored cluster by cluster, so that a search reads fewer memory pages. `faiss.IndexIDMap` maps
positions back to rows.

The search width (`efSearch`) is tuned while building: the smallest that finds `RECALL_WANTED` of the true ten nearest
for a sample of rows, before the sample is inserted. A query for more than ten neighbours has a larger width. A graph
built on several threads (OMP_NUM_THREADS) differs from build to build; one built on a single thread does not.

Source: Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable
Small World graphs", 2016.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import faiss
import numpy as np

from boiler.arrays import Float32Array, Int64Array
from boiler.engine import Neighbours, empty_neighbours, recall, rerank_candidates
from boiler.engine.exact import Exact
from boiler.errors import ModelDirError

RECALL_WANTED = 0.993
"""Recall on the sample, a little above the .99 that other queries should get."""
MIN_WIDTH, MAX_WIDTH = 16, 2_048
OVER_FETCH = 6
"""Minimum number of candidates reranked beyond k, because rounding to bytes misplaces only a few. If many rows are
equal after rounding, a wide search reranks half of its candidates."""
_TEST_K = 10
_TEST_QUERIES = 1_000
_BLOCK_ROWS = 65_536
_TRAINING_ROWS = 100_000
_ROWS_PER_CELL = 64  # that the cluster centres are computed from
_MAX_CACHED = 1_000


@dataclass(frozen=True)
class HNSWParameters:
    """`n_links`: links from a row to others, twice as many on the lowest level (`M`). `build_width`: candidates kept
    while a row is inserted (`efConstruction`). `width`: candidates kept by a query for ten (`efSearch`); None: tuned.
    """

    n_links: int = 24
    build_width: int = 160
    width: int | None = None

    def __post_init__(self) -> None:
        for name, value, least in (("n_links", self.n_links, 2), ("build_width", self.build_width, 1)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, not {value}")
        if self.width is not None and self.width < 1:
            raise ValueError(f"width must be at least 1, not {self.width}")


class HNSW:
    """A graph over the vectors. `index` is faiss's; its ids are the rows."""

    name: ClassVar[str] = "hnsw"
    Parameters: ClassVar[type[HNSWParameters]] = HNSWParameters

    def __init__(self, index: Any, vectors: Float32Array, parameters: HNSWParameters) -> None:
        self.vectors = np.asarray(vectors)
        self.recall_at_10: float | None = None
        self._index = index
        # The graphs of older indexes have no id map: positions are rows.
        self._graph = cast(Any, faiss.downcast_index(index.index) if isinstance(index, faiss.IndexIDMap) else index)
        self.width = int(self._graph.hnsw.efSearch) if parameters.width is None else parameters.width
        self.parameters = replace(parameters, width=self.width)
        self._search_parameters: dict[int, Any] = {}

    @classmethod
    def build(cls, vectors: Float32Array, parameters: HNSWParameters) -> Self:
        # One value range for all components, the faster kind. The graph compares by L2; for unit vectors that is the
        # order by cosine.
        kind: Any = faiss.ScalarQuantizer.QT_8bit_uniform  # faiss's stubs give it another type
        graph: Any = faiss.IndexHNSWSQ(vectors.shape[1], kind, parameters.n_links)
        graph.hnsw.efConstruction = parameters.build_width
        order: Int64Array = np.random.default_rng(0).permutation(len(vectors))
        if len(vectors):
            graph.train(vectors[np.sort(order[:_TRAINING_ROWS])])
        built = cls(faiss.IndexIDMap(graph), vectors, parameters)
        if parameters.width is None:
            n_held_out = min(_TEST_QUERIES, len(vectors) // 10)
            built._add(order[n_held_out:])
            built._tune_width(order[:n_held_out])
            built._add(order[:n_held_out])
        else:
            built._add(order)
        built._graph.hnsw.efSearch = built.width
        built.parameters = replace(parameters, width=built.width)
        built._sort_by_cluster()
        return built

    def _add(self, rows: Int64Array) -> None:
        for begin in range(0, len(rows), _BLOCK_ROWS):
            block = rows[begin : begin + _BLOCK_ROWS]
            self._index.add_with_ids(self.vectors[block], block)

    def _tune_width(self, held_out: Int64Array) -> None:
        """Set the smallest width that reaches the wanted recall for rows that are not in the graph yet, because rows in
        the graph are found more easily than a new sound."""
        self.width = MIN_WIDTH
        if not len(held_out):
            return
        held_out = np.sort(held_out)
        queries = self.vectors[held_out]
        inserted = np.ones(len(self.vectors), np.bool_)
        inserted[held_out] = False
        truth = Exact(self.vectors, once=True).query(queries, _TEST_K, np.flatnonzero(inserted))
        while True:
            self.recall_at_10 = recall(self._search(queries, truth.rows.shape[1], self.width), truth)
            if self.recall_at_10 >= RECALL_WANTED or self.width >= MAX_WIDTH:
                break
            self.width = min(MAX_WIDTH, math.ceil(1.15 * self.width))

    def _sort_by_cluster(self) -> None:
        """Store rows that are near each other next to each other: a search then touches fewer memory pages."""
        n_cells = math.isqrt(len(self.vectors))
        if n_cells < 2:
            return
        rows = faiss.vector_to_array(self._index.id_map)
        cells = faiss.Kmeans(self.vectors.shape[1], n_cells, niter=5, seed=0, spherical=True, min_points_per_centroid=1)
        cells.train(self.vectors[np.sort(rows[: _ROWS_PER_CELL * n_cells])])
        cell_of = np.concatenate(
            [
                cells.assign(self.vectors[rows[begin : begin + _BLOCK_ROWS]])[1]
                for begin in range(0, len(rows), _BLOCK_ROWS)
            ]
        )
        by_cell = np.argsort(cell_of, kind="stable")
        self._graph.permute_entries(by_cell)
        faiss.copy_array_to_vector(rows[by_cell], self._index.id_map)

    def save(self, path: Path) -> None:
        faiss.write_index(self._index, str(path))

    @classmethod
    def load(cls, path: Path, vectors: Float32Array, parameters: HNSWParameters) -> Self:
        try:
            index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            reason = (str(error).strip().splitlines() or ["damaged"])[-1]
            raise ModelDirError(f"{path} cannot be read ({reason}): run boiler index again") from error
        if not isinstance(index, faiss.IndexIDMap | faiss.IndexHNSW) or (index.ntotal, index.d) != vectors.shape:
            raise ModelDirError(f"{path} has {index.ntotal} rows, the index {len(vectors)}: run boiler index again")
        return cls(index, vectors, parameters)

    def query(self, queries: Float32Array, k: int) -> Neighbours:
        k = min(k, len(self.vectors))
        if not k or not len(queries):
            return empty_neighbours(len(queries), k)
        if 4 * k > len(self.vectors):
            return Exact(self.vectors, once=True).query(queries, k)
        return self._search(queries, k, math.ceil(self.width * max(1.0, k / _TEST_K) ** 0.5))

    def _search(self, queries: Float32Array, k: int, width: int) -> Neighbours:
        wanted = min(max(k + OVER_FETCH, k + k // 2, width // 2), len(self.vectors))
        rows = np.empty((len(queries), wanted), np.int64)
        near = np.empty((len(queries), wanted), np.float32)
        x, best, ids = (faiss.swig_ptr(one) for one in (np.ascontiguousarray(queries, np.float32), near, rows))
        # The same as `faiss.Index.search`, whose argument handling takes a tenth of a search.
        self._index.search_c(len(queries), x, wanted, best, ids, self._parameters_of(max(width, wanted)))
        if len(queries) == 1 and rows[0, -1] >= 0:
            return rerank_candidates(self.vectors, queries, k, None, rows[0])
        valid = rows >= 0
        enough = valid.sum(axis=1) >= k
        found = empty_neighbours(len(queries), k)
        if enough.any():
            query_of, place = np.nonzero(valid[enough])
            some = rerank_candidates(self.vectors, queries[enough], k, query_of, rows[enough][query_of, place])
            found.rows[enough], found.distances[enough] = some
        if not enough.all():  # the search ended in a part of the graph with fewer than k rows
            some = Exact(self.vectors, once=True).query(queries[~enough], k)
            found.rows[~enough], found.distances[~enough] = some
        return found

    def _parameters_of(self, width: int) -> Any:
        """faiss's search parameters for a width. They are passed with each query: set on the index, they would change
        the queries of other threads. Cached, because creating them takes a tenth of a search."""
        parameters = self._search_parameters.get(width)
        if parameters is None:
            parameters = faiss.SearchParametersHNSW()  # type: ignore[attr-defined]  # missing in its stubs
            parameters.efSearch = width
            if len(self._search_parameters) >= _MAX_CACHED:
                self._search_parameters = {}
            self._search_parameters[width] = parameters
        return parameters
