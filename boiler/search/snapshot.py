"""One generation of an index, opened for search: its engine, its items, and the nearest items of vectors.

A `Snapshot` never changes. `Nearest` holds one and replaces it when a newer generation is published. A query uses the
same snapshot from start to end; the SQLite file of a snapshot is closed when its last query is done.
"""

from __future__ import annotations

import difflib
import posixpath
import sqlite3
import unicodedata
import weakref
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from boiler.arrays import Float32Array, Float64Array, Int64Array, UInt8Array
from boiler.catalog.items import Item, ItemName, item_of
from boiler.crossmodal import word_model
from boiler.crossmodal.common_space import Spaces
from boiler.crossmodal.word_model import ClassScore, WordModel
from boiler.engine import Engine, HostedEngine, Neighbours, find_engine, selection
from boiler.engine.distance import angular_distance, cosine_similarity
from boiler.engine.exact import Exact
from boiler.errors import ModelDirError, QueryError, SilentSoundError, UnknownItemError
from boiler.search import filters
from boiler.search.filters import Filter
from boiler.store import build, generation, random_pairs
from boiler.store.generation import Generation
from boiler.store.manifest import remedy

MAX_CACHED_NAMES = 200_000  # some 50 MB
MAX_CACHED_FILTERS = 32
LOCAL_NEIGHBOURS = 10  # for CSLS, as in its paper
SCAN_SHARE = 64
"""A scan is faster than the engine for more than 1 / `SCAN_SHARE` of the rows: finding the 5,000 nearest of 31,000 rows
of 80 components took 8 ms with a scan, 90 ms with hnsw."""
_SAMPLED = 4_096
"""Rows that say how similar the best ones are."""
_MAX_COMPARED_IDS = 20_000  # more would take too long for an error message


@dataclass(frozen=True)
class RankedItems:
    """Items, nearest first; ties by item number.

    Shape: numbers, rows (the nearest row of each item), query_index (the query vector it is nearest to), distances [k]
    """

    numbers: Int64Array
    rows: Int64Array
    query_index: Int64Array
    distances: Float32Array

    def first(self, k: int) -> RankedItems:
        """The first k of them."""
        return self.at(slice(k))

    def at(self, positions: slice | Int64Array) -> RankedItems:
        """The items at these positions, in that order."""
        return RankedItems(
            self.numbers[positions], self.rows[positions], self.query_index[positions], self.distances[positions]
        )


class Snapshot:
    """One generation, opened for search with the engine `engine_name`, by default the one it was published with; in
    words and by pictures with the models of `spaces`, by default with the scores that were stored.

    Raises: WrongEncoderError: a model is of another encoder.
    """

    def __init__(self, opened: Generation, engine_name: str | None = None, spaces: Spaces | None = None) -> None:
        self.spaces = spaces or Spaces()
        self.spaces.check_encoder(opened.header.encoder_sha256, opened.path.parent.parent)
        self.generation = opened
        self._named_engine = engine_name
        # Plain arrays over the same memory maps: slicing an `np.memmap` takes four times as long.
        self.vectors: Float32Array = np.asarray(opened.vectors)
        self.rows = np.asarray(opened.rows)
        self.numbers: Int64Array = self.rows["n"]  # ascending
        pairs: Float32Array = np.asarray(opened.pairs)
        self.has_background = random_pairs.suffice(pairs)
        """Whether there are enough pairs of different sounds to compare a distance with."""
        self._pairs = pairs if self.has_background else pairs[:0]
        self.n_searchable = len(opened.item_vectors)
        self.exact = Exact(self.vectors)
        name = engine_name or str(opened.header.engine.get("name", self.exact.name))
        self.engine: Engine = self.exact
        if name != self.exact.name:
            if engine_name is not None and (file := find_engine(name).name) in opened.files:
                # Not read when the generation was opened.
                opened.verify(*selection.engine_files(file, opened.files))
            self.engine = selection.load_engine(opened.path, opened.header.engine, name, self.vectors)
        self._names: dict[int, ItemName] = {}
        self._rows_passing: dict[Filter, Int64Array] = {}
        self._local_similarity: Float32Array | None = None
        self._word_model: WordModel | None = None
        self.items = opened.items()
        self._close = weakref.finalize(self, self.items.close)

    @classmethod
    def open(cls, model_dir: Path, engine_name: str | None = None, spaces: Spaces | None = None) -> Snapshot:
        """Open the current generation, or the newest undamaged one if it is damaged, and check that its engine works.

        Raises: ModelDirError: nothing published, all damaged, or of another version. UnknownNameError: no such engine.
        """
        return cls(generation.open_last_good(model_dir), engine_name, spaces).tested()

    @classmethod
    def open_newer(cls, model_dir: Path, engine_name: str | None = None, spaces: Spaces | None = None) -> Snapshot:
        """Open the current generation, as `open`, but refuse it if it is damaged.

        Raises: as `open`.
        """
        return cls(generation.open(model_dir), engine_name, spaces).tested()

    def tested(self) -> Self:
        """This snapshot, once it found its own first row.

        Raises: ModelDirError: it did not.
        """
        if not selection.finds_first_row(self.engine, self.vectors):
            path = self.generation.path
            raise ModelDirError(f"{path} does not find its own first row: {remedy(path)}")
        return self

    @property
    def name(self) -> str:
        """The name of the generation."""
        return self.generation.name

    # ------------------------------------------------------------------------------------------------ items

    def item(self, id_or_n: str | int) -> Item:
        """Raises: UnknownItemError."""
        return item_of(self.record(id_or_n))

    def record(self, id_or_n: str | int) -> sqlite3.Row:
        """The item's row of `meta.sqlite`.

        Raises: UnknownItemError: it names similar ids of this index.
        """
        record = self.find_record(id_or_n)
        if record is None:
            what, hint = ("id", self._similar_ids(id_or_n)) if isinstance(id_or_n, str) else ("n", "")
            raise UnknownItemError(f"no item of this index has the {what} {id_or_n!r}{hint}")
        return record

    def find_record(self, id_or_n: str | int) -> sqlite3.Row | None:
        """As `record`, but returns None if there is no such item. An id that is not found as written is looked up as a
        path: with `/` for `\\`, without `./`, and in both Unicode normal forms, as file systems differ in these."""
        if not isinstance(id_or_n, str):
            return self.items.record(_number(id_or_n))
        path = posixpath.normpath(id_or_n.replace("\\", "/"))
        variants = (id_or_n, path, unicodedata.normalize("NFC", path), unicodedata.normalize("NFD", path))
        for id in dict.fromkeys(variants):
            if (record := self.items.record(id)) is not None:
                return record
        return None

    def _similar_ids(self, id: str) -> str:
        """A hint for an error message: ids that contain the file name, else ids with a similar spelling."""
        name = posixpath.basename(posixpath.normpath(id.replace("\\", "/")))
        similar = [item.id for item in self.items.page(offset=0, limit=3, text=name)]
        if not similar and len(self.vectors) <= _MAX_COMPARED_IDS:
            similar = difflib.get_close_matches(id, self.items.column("id"), n=3)
        return f"; did you mean {' or '.join(map(repr, similar))}?" if similar else ""

    def rows_of(self, id_or_n: str | int) -> tuple[int, range]:
        """The number of an item, and its rows.

        Raises: UnknownItemError; SilentSoundError: it has none.
        """
        if isinstance(id_or_n, str):
            record = self.record(id_or_n)
            number, first, count = record["n"], record["first_row"], record["n_rows"]
        else:
            number = _number(id_or_n)
            first, last = np.searchsorted(self.numbers, [number, number + 1]).tolist()
            count = last - first
        if not count:
            raise SilentSoundError(self.item(id_or_n).id, "it is silent from beginning to end, so it has no neighbours")
        return number, range(first, first + count)

    def names(self, numbers: Sequence[int]) -> list[ItemName]:
        """Id, url and label of these items. Cached."""
        known = self._names
        missing = [number for number in numbers if number not in known]
        if missing:
            if len(known) + len(missing) > MAX_CACHED_NAMES:
                # Replaced, not emptied: another thread may be reading the old one.
                self._names = known = {number: known[number] for number in numbers if number in known}
            known.update(self.items.names(missing))
        return [known[number] for number in numbers]

    def rows_passing(self, where: Filter) -> Int64Array:
        """The rows of the items that pass a filter, ascending. Cached for the last few filters."""
        known = self._rows_passing.get(where)
        if known is None:
            text, values = where.sql()
            firsts, counts = self.items.row_spans(text, values).T
            within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            rows: Int64Array = np.repeat(firsts, counts) + within
            if len(self._rows_passing) >= MAX_CACHED_FILTERS:
                self._rows_passing = {}
            self._rows_passing[where] = rows
            return rows
        return known

    def field_values(self, name: str, numbers: Sequence[int]) -> list[Any]:
        """The values of a field (`filters.FIELDS` or `metadata.NAME`) of these items.

        Raises: QueryError: unknown field.
        """
        field, path = filters.column(name)
        values = self.items.values(field, path, numbers)
        return [values[number] for number in numbers]

    # --------------------------------------------------------------------------------------------- searching

    @property
    def is_hosted(self) -> bool:
        """Whether the vectors are elsewhere: a search waits for a server, and none scans the mapped ones."""
        return isinstance(self.engine, HostedEngine)

    def scans_faster(self, k: int) -> bool:
        """Whether an exact scan finds the k nearest rows faster than the engine, whose time grows with k."""
        return not self.is_hosted and k * SCAN_SHARE >= len(self.vectors)

    def engine_for(self, among: Int64Array | None, *, exact: bool = False) -> tuple[str, str]:
        """The name of the engine that answers a query among these rows (None: all), and why this engine.

        exact: the query is answered by a scan, because many results are needed
        """
        if among is not None:
            name = self.engine.name if self.is_hosted else self.exact.name
            return name, f"the filter leaves {len(among):,} of {len(self.vectors):,} rows"
        if exact and self.engine is not self.exact:
            return self.exact.name, f"so many of the {len(self.vectors):,} rows are needed that a scan is faster"
        if self._named_engine is not None:
            return self.engine.name, "it was chosen by name"
        return self.engine.name, f"it was chosen for {len(self.vectors):,} rows when the index was published"

    def nearest_items(
        self,
        queries: Float32Array,
        k: int,
        *,
        without: Collection[int] = (),
        among: Int64Array | None = None,
        per_window: bool = False,
        exact: bool = False,
    ) -> RankedItems:
        """The k items nearest to any of the query vectors; fewer only if there are fewer. The distance of an item is
        that of its nearest row.

        without: numbers of items to leave out
        among: search these rows only, exactly; ascending
        per_window: rank rows instead of items: an item may come several times
        exact: search exactly, whatever the engine

        Shape: queries [Q, D], among [R] -> [k]
        """
        if among is None:
            chosen = self.exact if exact else self.engine
            search: Callable[[int], Neighbours] = lambda rows: chosen.query(queries, rows)  # noqa: E731
            n_rows, n_items = len(self.vectors), self.n_searchable
        else:
            engine = self.engine
            if isinstance(engine, HostedEngine):
                search = lambda rows: engine.query_among(queries, rows, among)  # noqa: E731
            else:
                search = lambda rows: self.exact.query(queries, rows, among)  # noqa: E731
            n_rows, n_items = len(among), self._n_items(among)
        if len(queries) == 1 and among is None and not without and n_rows and (per_window or n_items == n_rows):
            return self._rank(search(min(k, n_rows)), _NONE, per_window)  # each row is an item
        return self._best_items(search, k, n_rows, n_items, len(queries), without, per_window)

    def best_items(
        self,
        similarity: Float32Array,
        k: int,
        *,
        without: Collection[int] = (),
        among: Int64Array | None = None,
        per_window: bool = False,
    ) -> RankedItems:
        """As `nearest_items`, by a similarity of each row that is known already. Shape: similarity [N]"""
        of = similarity if among is None else similarity[among]
        some = np.sort(of[:: len(of) // _SAMPLED + 1])

        def search(wanted: int) -> Neighbours:
            # Four times as many as wanted, by a sample: a comparison and a short sort take less than a partition.
            place = 4 * wanted * len(some) // max(len(of), 1) + 2
            best = np.flatnonzero(of >= some[-place]) if place < len(some) else np.arange(len(of))
            best = best[np.argsort(-of[best], kind="stable")][:wanted]
            rows = best if among is None else among[best]
            return Neighbours(rows[None], np.asarray(angular_distance(of[best]), np.float32)[None])

        n_items = self.n_searchable if among is None else self._n_items(among)
        return self._best_items(search, k, len(of), n_items, 1, without, per_window)

    def _best_items(
        self,
        search: Callable[[int], Neighbours],
        k: int,
        n_rows: int,
        n_items: int,
        n_queries: int,
        without: Collection[int],
        per_window: bool,
    ) -> RankedItems:
        """The k best of what `search`, called with a number of rows, finds."""
        if not n_rows:
            return _empty_ranking()
        wanted = k + len(without)
        if per_window or n_items < n_rows or n_queries > 1:
            wanted = 2 * wanted * -(-n_rows // n_items)
        while True:
            found = search(min(wanted, n_rows))
            ranked = self._rank(found, np.fromiter(without, np.int64, len(without)), per_window)
            if wanted >= n_rows:
                break
            if self._n_final(ranked, found) >= k:
                break
            wanted *= 4
        return ranked.first(k)

    def nearest_items_many(
        self, queries_without: Sequence[tuple[Float32Array, Collection[int]]], k: int
    ) -> list[RankedItems]:
        """`nearest_items` of many queries in one call of the engine. A query is its vectors [Q, D] and the item numbers
        to leave out."""
        if not queries_without or not len(self.vectors):
            return [_empty_ranking() for _ in queries_without]
        per_item = -(-len(self.vectors) // self.n_searchable)
        wanted = min((k + max(len(without) for _, without in queries_without)) * per_item + per_item, len(self.vectors))
        found = self.engine.query(np.concatenate([queries for queries, _ in queries_without]), wanted)
        answers, at = [], 0
        for queries, without in queries_without:
            mine = Neighbours(found.rows[at : at + len(queries)], found.distances[at : at + len(queries)])
            at += len(queries)
            ranked = self._rank(mine, np.fromiter(without, np.int64, len(without)), False)
            if wanted < len(self.vectors) and self._n_final(ranked, mine) < k:
                answers.append(self.nearest_items(queries, k, without=without))
            else:
                answers.append(ranked.first(k))
        return answers

    @staticmethod
    def _n_final(ranked: RankedItems, found: Neighbours) -> int:
        """How many of the ranked items are certainly the nearest. With several query vectors, an item that was not
        found may be nearer to one vector than the last row found for another."""
        if len(found.rows) == 1:
            return len(ranked.numbers)
        return int(np.searchsorted(ranked.distances, found.distances[:, -1].min(), side="left"))

    # ------------------------------------------------------------------------------------------------ words

    @property
    def has_words(self) -> bool:
        """Whether it can be searched in words."""
        return self.spaces.words is not None or self.generation.word_scores is not None

    @cached_property
    def rows_in_word_space(self) -> Float32Array:
        """All rows, projected once: 512 bytes a row. Shape: [N, DIM], unit length"""
        assert self.spaces.words is not None
        return self.spaces.words.of_sounds(self.vectors)

    @cached_property
    def rows_in_picture_space(self) -> Float32Array:
        """As `rows_in_word_space`."""
        assert self.spaces.pictures is not None
        return self.spaces.pictures.of_sounds(self.vectors)

    @property
    def word_model(self) -> WordModel:
        """The model that scored the rows.

        Raises: QueryError: there is none.
        """
        if self.generation.word_scores is None:
            raise QueryError(
                f"this index of {self.generation.header.encoder} cannot be searched in words: that takes an index of"
                " GeneralEncoder or JoinedGeneral with the weights that this version of boiler knows words for; index"
                " with one of these, or run boiler index again if it has them"
            )
        if self._word_model is None:
            self._word_model = word_model.load(self.generation.path / build.WORD_MODEL)
        return self._word_model

    def class_scores(self, number: int) -> UInt8Array:
        """The stored scores of all rows for a class of `word_model`. Shape: [N]"""
        assert self.generation.word_scores is not None
        return self.generation.word_scores[:, number].reshape(-1)[: len(self.rows)]

    def words_of_rows(self, rows: Sequence[int], k: int) -> list[ClassScore]:
        """The k most probable classes of these rows, most probable first; each by its best row. With a model of words,
        the nearest labels of its training."""
        if self.spaces.words is not None:
            return self.spaces.words.nearest_labels(self.rows_in_word_space[list(rows)], k)
        model, stored = self.word_model, self.generation.word_scores
        assert stored is not None
        scores = np.array([stored[row // build.SCORE_ROWS, :, row % build.SCORE_ROWS] for row in rows])
        return model.top(scores.max(axis=0), k)

    def mean_neighbour_similarity(self, rows: Int64Array) -> Float32Array:
        """The mean similarity of each row to its `LOCAL_NEIGHBOURS` nearest other rows, for CSLS. Computed once per row
        and cached: 4 bytes per row of the index."""
        known = self._local_similarity
        if known is None:
            self._local_similarity = known = np.full(len(self.vectors), np.nan, np.float32)
        new = np.unique(rows[np.isnan(known[rows])])
        if len(new):
            # Exactly: one matrix product for all of them is faster than an engine that answers them one by one.
            chosen = self.engine if self.is_hosted else self.exact
            distances = chosen.query(self.vectors[new], LOCAL_NEIGHBOURS + 1).distances[:, 1:]
            known[new] = cosine_similarity(distances).mean(axis=1) if distances.shape[1] else 0.0
        return known[rows]

    def _n_items(self, among: Int64Array) -> int:
        """How many items these rows belong to."""
        numbers = self.numbers[among]
        return int(np.count_nonzero(np.diff(numbers))) + min(len(numbers), 1)

    def _rank(self, found: Neighbours, without: Int64Array, per_window: bool) -> RankedItems:
        rows, distances = found.rows.reshape(-1), found.distances.reshape(-1)
        alone = len(found.rows) == 1 and (per_window or self.n_searchable == len(self.vectors))
        if alone and not len(without):  # fast path for the most frequent case
            return RankedItems(self.numbers[rows], rows, np.zeros(len(rows), np.int64), distances)
        query_index = np.repeat(np.arange(len(found.rows)), found.rows.shape[1])
        if len(found.rows) > 1:
            order = np.lexsort((rows, distances))
            rows, distances, query_index = rows[order], distances[order], query_index[order]
        numbers = self.numbers[rows]
        if alone:
            first = np.arange(len(rows))
        else:
            first = np.sort(np.unique(rows if per_window else numbers, return_index=True)[1])
        if len(without):
            first = first[~np.isin(numbers[first], without)]
        return RankedItems(numbers[first], rows[first], query_index[first], distances[first])

    def closer_than(self, distances: Float32Array) -> Float64Array:
        """For each distance the share of random pairs of this collection that are farther apart; NaN without
        `has_background`."""
        return random_pairs.closer_than(distances, self._pairs)


def _number(n: object) -> int:
    if isinstance(n, bool) or not isinstance(n, int | np.integer):
        raise UnknownItemError(f"an item is given by its id (text) or its number, not by {type(n).__name__} {n!r}")
    if not 0 <= int(n) < 2**63:
        raise UnknownItemError(f"no item n = {n} in this index: numbers are 0 or more")
    return int(n)


_NONE: Int64Array = np.zeros(0, np.int64)


def _empty_ranking() -> RankedItems:
    return RankedItems(_NONE, _NONE, _NONE, np.zeros(0, np.float32))
