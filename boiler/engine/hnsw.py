"""A graph of near neighbours, walked from coarse to fine (faiss `HNSW32,SQ8`): what answers in large collections.

Chosen by measurement, side by side with annoy and inverted lists (exp/records/search.md): on bags of codes, which fill
all of their 64 numbers, inverted lists have to look into a third of their cells to find .99 of the true ten, the graph
does not. The walk compares bytes, one for each number, which is 1.7 times as quick as with floats and finds as much,
because the best half of what it kept is compared again with the vectors themselves. Its file is mapped, not read, so
that workers share it: 340 bytes a row of 64 numbers, where annoy has 1,460. The price is paid when it is built.

How wide a query searches is chosen when it is built: the narrowest with which `RECALL_WANTED` of the true ten are
found, for a sample of the rows. Asked for more than ten, it searches wider. Built on several threads (OMP_NUM_THREADS),
the graph is not the same to the bit each time; on one it is.

Source: Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable
Small World graphs", 2016.
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
N_LINKS = 32
BUILD_WIDTH = 80
WIDEST = 2_048
TESTED_K = 10
TESTED_QUERIES = 1_000
OVER_FETCH = 2
_BLOCK_ROWS = 65_536
_TRAINING_ROWS = 100_000
_MOST_SETTINGS = 1_000


class HNSW:
    """`width` is how many candidates a query for ten keeps; `recall_at_10` what the sample had with it, 1.0 when it was
    not measured here but loaded."""

    name: ClassVar[str] = "hnsw"

    def __init__(self, index: Any, vectors: Vectors) -> None:
        self.vectors = np.asarray(vectors)
        self.recall_at_10 = 1.0
        self._index = index
        self.width = int(index.hnsw.efSearch)
        self._settings: dict[int, Any] = {}

    @classmethod
    def build(cls, vectors: Vectors) -> Self:
        # One range for all numbers, which is the quicker kind; of unit vectors, so the order by L2 is that by cosine.
        kind: Any = faiss.ScalarQuantizer.QT_8bit_uniform  # called by another type in faiss's stubs
        index = faiss.IndexHNSWSQ(vectors.shape[1], kind, N_LINKS)
        index.hnsw.efConstruction = BUILD_WIDTH
        if len(vectors):
            index.train(np.ascontiguousarray(vectors[:: max(1, len(vectors) // _TRAINING_ROWS)]))
        for begin in range(0, len(vectors), _BLOCK_ROWS):
            index.add(np.ascontiguousarray(vectors[begin : begin + _BLOCK_ROWS]))
        built = cls(index, vectors)
        built._choose()
        return built

    def _choose(self) -> None:
        """Set the narrowest width with which the wanted recall is reached."""
        n = len(self.vectors)
        asked = np.random.default_rng(0).choice(n, min(n, TESTED_QUERIES), replace=False)
        queries = np.ascontiguousarray(self.vectors[np.sort(asked)])
        k = min(TESTED_K, n)
        if not k:
            return
        kth = Exact(self.vectors, once=True).query(queries, k).distances[:, -1:]
        width = 16
        while True:
            found = self._ask(queries, k, width)
            # As near as the k-th true one: rows at the same distance are as good as each other.
            self.recall_at_10 = float((found.distances <= kth + 1e-6).mean())
            if self.recall_at_10 >= RECALL_WANTED or width >= WIDEST:
                break
            width = math.ceil(1.15 * width)
        self.width = self._index.hnsw.efSearch = width

    def save(self, path: Path) -> None:
        faiss.write_index(self._index, str(path))

    @classmethod
    def load(cls, path: Path, vectors: Vectors) -> Self:
        try:
            index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            reason = (str(error).strip().splitlines() or ["damaged"])[-1]
            raise ModelDirError(f"{path} cannot be read ({reason}): run boiler index again") from error
        if not isinstance(index, faiss.IndexHNSW) or (index.ntotal, index.d) != vectors.shape:
            raise ModelDirError(f"{path} holds {index.ntotal} rows where {len(vectors)} are: run boiler index again")
        return cls(index, vectors)

    def query(self, queries: Vectors, k: int) -> Found:
        k = min(k, len(self.vectors))
        if not k or not len(queries):
            return nothing(len(queries), k)
        if 4 * k > len(self.vectors):
            return Exact(self.vectors, once=True).query(queries, k)
        return self._ask(queries, k, math.ceil(self.width * max(1.0, k / TESTED_K) ** 0.5))

    def _ask(self, queries: Vectors, k: int, width: int) -> Found:
        wanted = min(max(OVER_FETCH * k, width // 2), len(self.vectors))
        rows = self._index.search(queries, wanted, params=self._wide(max(width, wanted)))[1]
        if len(queries) == 1 and rows[0, -1] >= 0:
            return nearest_of(self.vectors, queries, k, None, rows[0])
        there = rows >= 0
        enough = there.sum(axis=1) >= k
        found = nothing(len(queries), k)
        if enough.any():
            asked, place = np.nonzero(there[enough])
            some = nearest_of(self.vectors, queries[enough], k, asked, rows[enough][asked, place])
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
