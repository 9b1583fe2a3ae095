"""Inverted lists: rows sorted into thousands of cells, of which a query looks into the nearest few (faiss `IVF,Flat`).

What answers in large collections, measured side by side in exp/records/search.md. Cells keep whole vectors, in one file
that is mapped, not read: workers share it. Compressed cells (`IVF,SQ8`) never reach a recall of .99 on bags of words.

How many cells a query looks into is chosen when it is built: the fewest with which `RECALL_WANTED` of the true ten are
found, for a sample of the rows. Asked for more than ten, it looks into more.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar, Self

import faiss
import numpy as np

from boiler.engine import Found, Vectors, nearest_of, nothing
from boiler.engine.exact import Exact
from boiler.errors import ModelDirError

RECALL_WANTED = 0.993
"""Of the sample; so that other queries, too, get .99."""
TESTED_K = 10
TESTED_QUERIES = 500
OVER_FETCH = 2
LEAST_ROWS = 1_000
"""Below, cells are not worth their search: everything is one cell."""
_TRAINED_PER_CELL = 64
_BLOCK_ROWS = 65_536


class IVF:
    """`n_cells` by default four times the square root of N."""

    name: ClassVar[str] = "ivf"

    def __init__(self, index: Any, vectors: Vectors) -> None:
        self.vectors = np.asarray(vectors)
        self._index = index

    @property
    def n_cells(self) -> int:
        """How many cells there are."""
        return int(self._index.nlist)

    @property
    def n_probed(self) -> int:
        """How many of them a query for ten looks into."""
        return int(self._index.nprobe)

    @classmethod
    def build(cls, vectors: Vectors, *, n_cells: int | None = None, seed: int = 0) -> Self:
        """The same vectors and seed give the same cells."""
        n, dim = vectors.shape
        if n_cells is None:
            n_cells = 1 if n < LEAST_ROWS else round(4 * math.sqrt(n))
        random = np.random.default_rng(seed)
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, n_cells, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed, index.cp.spherical, index.cp.niter = seed, True, 10
        index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, _TRAINED_PER_CELL
        if n:
            sample = random.choice(n, min(n, n_cells * _TRAINED_PER_CELL), replace=False)
            index.train(np.ascontiguousarray(vectors[np.sort(sample)]))
            for begin in range(0, n, _BLOCK_ROWS):
                index.add(np.ascontiguousarray(vectors[begin : begin + _BLOCK_ROWS]))
        built = cls(index, vectors)
        asked = np.sort(random.choice(n, min(n, TESTED_QUERIES), replace=False))
        built._choose(np.ascontiguousarray(vectors[asked]))
        return built

    def _choose(self, queries: Vectors) -> None:
        """Set the fewest cells with which the wanted recall is reached."""
        k = min(TESTED_K, len(self.vectors))
        if not k:
            return
        kth = Exact(self.vectors).query(queries, k).distances[:, -1:]
        low, high = 0, 1
        while self._recall(queries, kth, high) < RECALL_WANTED and high < self.n_cells:
            low, high = high, min(2 * high, self.n_cells)
        while high - low > max(1, low // 16):
            middle = (low + high) // 2
            if self._recall(queries, kth, middle) < RECALL_WANTED:
                low = middle
            else:
                high = middle
        self._index.nprobe = high

    def _recall(self, queries: Vectors, kth: Vectors, n_probed: int) -> float:
        """The share of answers as near as the k-th true one."""
        found = self._ask(queries, min(TESTED_K, len(self.vectors)), n_probed)
        return float((found.distances <= kth + 1e-6).mean())

    def save(self, path: Path) -> None:
        faiss.write_index(self._index, str(path))

    @classmethod
    def load(cls, path: Path, vectors: Vectors) -> Self:
        try:
            index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1] if str(error).strip() else "damaged"
            raise ModelDirError(f"{path} cannot be read ({reason}): run boiler index again") from error
        if not isinstance(index, faiss.IndexIVFFlat) or (index.ntotal, index.d) != vectors.shape:
            raise ModelDirError(f"{path} holds {index.ntotal} rows where {len(vectors)} are: run boiler index again")
        # Written for spinning disks: it would start threads that read ahead, at every query.
        lists: Any = faiss.downcast_InvertedLists(index.invlists)  # type: ignore[arg-type]  # it has them
        lists.prefetch_nthread = 0
        return cls(index, vectors)

    def query(self, queries: Vectors, k: int) -> Found:
        k = min(k, len(self.vectors))
        if not k or not len(queries):
            return nothing(len(queries), k)
        # The neighbours of more than ten lie in more cells; measured, the root of how many more is enough.
        n_probed = math.ceil(self.n_probed * max(1.0, k / TESTED_K) ** 0.5)
        return self._ask(queries, k, min(n_probed, self.n_cells))

    def _ask(self, queries: Vectors, k: int, n_probed: int) -> Found:
        wanted = min(OVER_FETCH * k + 8, len(self.vectors))
        # Parameters travel with the query: set on the index, they would disturb those of other threads.
        settings: Any = faiss.SearchParametersIVF()
        settings.nprobe = n_probed
        rows = self._index.search(np.ascontiguousarray(queries), wanted, params=settings)[1]
        there = rows >= 0
        enough = there.sum(axis=1) >= k
        if not enough.all():  # the cells looked into hold fewer than k rows
            exact = Exact(self.vectors).query(queries[~enough], k)
            found = nothing(len(queries), k)
            found.rows[~enough], found.distances[~enough] = exact
            if enough.any():
                asked, place = np.nonzero(there[enough])
                some = nearest_of(self.vectors, queries[enough], k, asked, rows[enough][asked, place])
                found.rows[enough], found.distances[enough] = some
            return found
        asked, place = np.nonzero(there)
        return nearest_of(self.vectors, queries, k, asked, rows[asked, place])
