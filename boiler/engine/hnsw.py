"""A graph of near neighbours, walked from coarse to fine (faiss `HNSW24,SQ8`): what answers in large collections.

Chosen by measurement, side by side with annoy, inverted lists and other libraries' graphs (exp/records/search.md). The
walk compares bytes, one for each number, which is quicker than with floats and finds as much, because what it found is
compared again with the vectors themselves. Its file is mapped, not read, so that workers share it: 280 bytes a row of
64 numbers, where annoy with 100 trees has five times as many. The price is paid when it is built.

Rows go into the graph in a random order, and lie in its file by where they are: both make walks shorter, and a
collection comes in the order of its folders. faiss's `IndexIDMap` says which row is which.

How wide a query searches is chosen while it is built: the narrowest with which `RECALL_WANTED` of the true ten are
found for a sample of the rows, before those are added. Asked for more than ten, it searches wider. Built on several
threads (OMP_NUM_THREADS), the graph is not the same to the bit each time; on one it is.

Source: Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable
Small World graphs", 2016.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import faiss
import numpy as np

from boiler.arrays import Float32Array, Int64Array
from boiler.engine import Neighbours, empty_neighbours, rerank_candidates
from boiler.engine.exact import Exact
from boiler.errors import ModelDirError

RECALL_WANTED = 0.993
"""Of the sample; so that other queries, too, get .99."""
N_LINKS = 24
BUILD_WIDTH = 160
LEAST_WIDTH, WIDEST = 16, 2_048
TESTED_K = 10
TESTED_QUERIES = 1_000
MORE = 6
"""Rows compared with their vectors beyond those asked for, at least: bytes misplace few. Where many rows are closer to
each other than bytes can tell, a wide search compares half of what it kept."""
_BLOCK_ROWS = 65_536
_TRAINING_ROWS = 100_000
_CELL_SAMPLE = 64  # rows for each cell that say where the cells lie
_MOST_SETTINGS = 1_000


class HNSW:
    """`width` is how many candidates a query for ten keeps; `recall_at_10` what the sample had with it, 1.0 when it was
    not measured here but loaded. `index`: faiss's, its ids the rows."""

    name: ClassVar[str] = "hnsw"

    def __init__(self, index: Any, vectors: Float32Array) -> None:
        self.vectors = np.asarray(vectors)
        self.recall_at_10 = 1.0
        self._index = index
        # The graph of an index from before rows lay by place has no ids: its own numbers are the rows.
        self._graph = cast(Any, faiss.downcast_index(index.index) if isinstance(index, faiss.IndexIDMap) else index)
        self.width = int(self._graph.hnsw.efSearch)
        self._settings: dict[int, Any] = {}

    @classmethod
    def build(cls, vectors: Float32Array) -> Self:
        # One range for all numbers, which is the quicker kind; of unit vectors, so the order by L2 is that by cosine.
        kind: Any = faiss.ScalarQuantizer.QT_8bit_uniform  # called by another type in faiss's stubs
        graph: Any = faiss.IndexHNSWSQ(vectors.shape[1], kind, N_LINKS)
        graph.hnsw.efConstruction = BUILD_WIDTH
        # In any order but that of the folders: rows that come sorted make a graph that is harder to walk.
        order: Int64Array = np.random.default_rng(0).permutation(len(vectors))
        if len(vectors):
            graph.train(vectors[np.sort(order[:_TRAINING_ROWS])])
        built = cls(faiss.IndexIDMap(graph), vectors)
        n_kept_out = min(TESTED_QUERIES, len(vectors) // 10)
        built._add(order[n_kept_out:])
        built._choose(order[:n_kept_out])
        built._add(order[:n_kept_out])
        built._gather()
        return built

    def _add(self, rows: Int64Array) -> None:
        for begin in range(0, len(rows), _BLOCK_ROWS):
            block = rows[begin : begin + _BLOCK_ROWS]
            self._index.add_with_ids(self.vectors[block], block)

    def _choose(self, kept_out: Int64Array) -> None:
        """Set the narrowest width with which the wanted recall is reached, for rows that are not in the graph yet: a
        row that is in it is found more easily than a sound that is new."""
        if not len(kept_out):
            self.width = self._graph.hnsw.efSearch = LEAST_WIDTH
            return
        kept_out = np.sort(kept_out)
        queries = self.vectors[kept_out]
        there = np.ones(len(self.vectors), np.bool_)
        there[kept_out] = False
        true = Exact(self.vectors, once=True).query(queries, TESTED_K, np.flatnonzero(there)).distances
        width = LEAST_WIDTH
        while True:
            found = self._ask(queries, true.shape[1], width)
            # As near as the k-th true one: rows at the same distance are as good as each other.
            self.recall_at_10 = float((found.distances <= true[:, -1:] + 1e-6).mean())
            if self.recall_at_10 >= RECALL_WANTED or width >= WIDEST:
                break
            width = min(WIDEST, math.ceil(1.15 * width))
        self.width = self._graph.hnsw.efSearch = width

    def _gather(self) -> None:
        """Put rows that are near to each other near to each other in the file, too, cell by cell: a walk then reads
        fewer places of memory."""
        n_cells = math.isqrt(len(self.vectors))
        if n_cells < 2:
            return
        rows = faiss.vector_to_array(self._index.id_map)
        cells = faiss.Kmeans(self.vectors.shape[1], n_cells, niter=5, seed=0, spherical=True, min_points_per_centroid=1)
        cells.train(self.vectors[np.sort(rows[: _CELL_SAMPLE * n_cells])])
        mine = np.concatenate(
            [
                cells.assign(self.vectors[rows[begin : begin + _BLOCK_ROWS]])[1]
                for begin in range(0, len(rows), _BLOCK_ROWS)
            ]
        )
        by_cell = np.argsort(mine, kind="stable")
        self._graph.permute_entries(by_cell)
        faiss.copy_array_to_vector(rows[by_cell], self._index.id_map)

    def save(self, path: Path) -> None:
        faiss.write_index(self._index, str(path))

    @classmethod
    def load(cls, path: Path, vectors: Float32Array) -> Self:
        try:
            index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            reason = (str(error).strip().splitlines() or ["damaged"])[-1]
            raise ModelDirError(f"{path} cannot be read ({reason}): run boiler index again") from error
        if not isinstance(index, faiss.IndexIDMap | faiss.IndexHNSW) or (index.ntotal, index.d) != vectors.shape:
            raise ModelDirError(f"{path} holds {index.ntotal} rows where {len(vectors)} are: run boiler index again")
        return cls(index, vectors)

    def query(self, queries: Float32Array, k: int) -> Neighbours:
        k = min(k, len(self.vectors))
        if not k or not len(queries):
            return empty_neighbours(len(queries), k)
        if 4 * k > len(self.vectors):
            return Exact(self.vectors, once=True).query(queries, k)
        return self._ask(queries, k, math.ceil(self.width * max(1.0, k / TESTED_K) ** 0.5))

    def _ask(self, queries: Float32Array, k: int, width: int) -> Neighbours:
        wanted = min(max(k + MORE, k + k // 2, width // 2), len(self.vectors))
        rows = np.empty((len(queries), wanted), np.int64)
        near = np.empty((len(queries), wanted), np.float32)
        x, best, ids = (faiss.swig_ptr(one) for one in (np.ascontiguousarray(queries, np.float32), near, rows))
        # What `search` of faiss does, which takes as long again as a tenth of a walk.
        self._index.search_c(len(queries), x, wanted, best, ids, self._wide(max(width, wanted)))
        if len(queries) == 1 and rows[0, -1] >= 0:
            return rerank_candidates(self.vectors, queries, k, None, rows[0])
        there = rows >= 0
        enough = there.sum(axis=1) >= k
        found = empty_neighbours(len(queries), k)
        if enough.any():
            asked, place = np.nonzero(there[enough])
            some = rerank_candidates(self.vectors, queries[enough], k, asked, rows[enough][asked, place])
            found.rows[enough], found.distances[enough] = some
        if not enough.all():  # the walk ended in a part of the graph that holds fewer than k rows
            some = Exact(self.vectors, once=True).query(queries[~enough], k)
            found.rows[~enough], found.distances[~enough] = some
        return found

    def _wide(self, width: int) -> Any:
        """Parameters travel with the query: set on the index, they would disturb those of other threads. Never changed
        once they are made, which takes as long as a tenth of a search."""
        settings = self._settings.get(width)
        if settings is None:
            settings = faiss.SearchParametersHNSW()  # type: ignore[attr-defined]  # missing in its stubs
            settings.efSearch = width
            if len(self._settings) >= _MOST_SETTINGS:
                self._settings = {}
            self._settings[width] = settings
        return settings
