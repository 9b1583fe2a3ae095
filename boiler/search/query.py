"""The search itself: options, the selection among candidates, and the result rows.

The options apply in this order: the filter selects the rows that are searched (exactly); candidates below
`min_similarity` are dropped; CSLS reorders; near-duplicates are merged; groups are capped; the list is diversified.
If fewer than k results remain, more candidates are fetched, until there are k or no candidates are left:
`QueryResult.shortfall` then says why.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from boiler.arrays import Float32Array, Int64Array
from boiler.crossmodal.word_model import ClassScore
from boiler.deprecated import RenamedAttribute, renamed_arguments
from boiler.engine.distance import IDENTICAL_DISTANCE, cosine_similarity
from boiler.errors import QueryError
from boiler.search import rerank
from boiler.search.embedder import TimeSpan
from boiler.search.filters import Filter
from boiler.search.snapshot import RankedItems, Snapshot
from boiler.search.words import WORDS_SHOWN, Understood, WeightedWords, row_similarity

CANDIDATES_PER_RESULT = 5
"""Candidates fetched for each result where an option chooses among them."""
MIN_CANDIDATES = 50
COMPARED = 4_096
"""Rows that say how much better than others a match in words is."""
SIMILAR = 0.9
"""A result whose `closer_than` is at most this is hardly more similar than chance: on ESC-10 with MFCC statistics,
fewer than half of such results had the label of the query (`boiler evaluate` prints the table)."""


@dataclass(frozen=True, slots=True)
class Match:
    """A result: an item near to the query.

    start_s, end_s: the window of the item that matched best, in seconds of its sound
    distance: angular, 0 to 2; similarity: the cosine, -1 to 1
    closer_than: the share of random pairs of this collection that are farther apart, 0 to 1; None where the collection
        has too few different sounds to say (`boiler.store.random_pairs.MIN_DIFFERENT`)
    query_start_s, query_end_s: the window of the query that matched; None where the query was a vector
    folded: the ids of near-duplicates merged into this result
    words: the classes of sounds that its window matches best, if words were searched with

    With words in the query, similarity is the match of `boiler.search.words`, and `closer_than` the share of this
    collection that matches less well.
    """

    id: str
    n: int
    url: str
    label: str | None
    start_s: float
    end_s: float
    distance: float
    similarity: float
    closer_than: float | None
    query_start_s: float | None = None
    query_end_s: float | None = None
    folded: tuple[str, ...] = ()
    words: tuple[ClassScore, ...] = ()

    asked_start_s = RenamedAttribute("query_start_s")
    asked_end_s = RenamedAttribute("query_end_s")


@renamed_arguments(most="limit")
@dataclass(frozen=True)
class GroupLimit:
    """At most `limit` results with the same value of a field, such as `folder`, `label` or `metadata.artist`."""

    field: str
    limit: int = 1

    most = RenamedAttribute("limit")


@renamed_arguments(fold_nearer_than="dedup_distance", set_back_hubs="csls", who="user")
@dataclass(frozen=True)
class Options:
    """How to search.

    where: only items that pass this filter, see `boiler.search.filters`
    without: ids and numbers of items to leave out, such as those already seen
    min_similarity: the least cosine similarity of a result, -1 to 1
    per_window: rank windows instead of items: an item may come several times
    dedup_distance: merge results of equal length that are nearer to each other than this angular distance, 0 to 2
    per_group: a limit on results of the same group
    diversity: 0 to 1; how strongly a result should differ from those before it (maximal marginal relevance)
    csls: rank hubs, items that are near to everything, lower (cross-domain similarity local scaling)
    feedback: let earlier likes and dislikes of results of this query change the ranking
    user: only the feedback of this user; None: of all users

    Raises: QueryError: a value out of range, or options that exclude each other.
    """

    where: Filter | None = None
    without: frozenset[str | int] = frozenset()
    min_similarity: float | None = None
    per_window: bool = False
    dedup_distance: float | None = None
    per_group: GroupLimit | None = None
    diversity: float = 0.0
    csls: bool = False
    feedback: bool = True
    user: str | None = None

    fold_nearer_than = RenamedAttribute("dedup_distance")
    set_back_hubs = RenamedAttribute("csls")
    who = RenamedAttribute("user")

    def __post_init__(self) -> None:
        if not 0 <= self.diversity <= 1:
            raise QueryError(f"diversity is from 0 to 1, not {self.diversity}")
        for name, value, lowest, highest in (
            ("min_similarity", self.min_similarity, -1, 1),
            ("dedup_distance", self.dedup_distance, 0, 2),
        ):
            if value is not None and not lowest <= value <= highest:
                raise QueryError(f"{name} is from {lowest} to {highest}, not {value}")
        if self.per_group is not None and self.per_group.limit < 1:
            raise QueryError(f"per_group.limit is at least 1, not {self.per_group.limit}")
        if self.per_window and (self.dedup_distance is not None or self.per_group is not None):
            raise QueryError("dedup_distance and per_group work on items and cannot be combined with per_window")

    @property
    def reranks(self) -> bool:
        """Whether results are chosen among more candidates, instead of the k nearest."""
        return bool(self.dedup_distance is not None or self.per_group or self.diversity or self.csls)


@dataclass(frozen=True)
class QueryVectors:
    """A query, embedded.

    vectors: of its windows, float32 [W, D], unit length; a result's distance is that of the nearest
    spans: the time span of each window; None where the query is a vector
    without: numbers of the items that the query is made of, which are left out of the results
    item_n: the number of the item, if the query is exactly one whole item
    words: seeds in words; then there is one vector or none, of `weight`
    """

    vectors: Float32Array
    spans: Sequence[TimeSpan] | None = None
    without: frozenset[int] = frozenset()
    item_n: int | None = None
    words: tuple[WeightedWords, ...] = ()
    weight: float = 1.0


@dataclass(frozen=True)
class QueryResult:
    """The matches, best first. In a notebook it is displayed as a table.

    engine, engine_reason: the engine that answered, and why this one
    generation: the name of the index that answered
    shortfall: why there are fewer than k matches; None where there are k
    understood: how the seeds in words were understood
    """

    matches: tuple[Match, ...]
    engine: str
    engine_reason: str
    generation: str
    shortfall: str | None = None
    understood: tuple[Understood, ...] = ()

    why = RenamedAttribute("engine_reason")
    short = RenamedAttribute("shortfall")

    @property
    def nothing_similar(self) -> bool:
        """Whether even the best match is hardly closer than a random pair (`SIMILAR`).

        False where there are too few pairs to compare with, and where a match is the same sound: among duplicates no
        pair is farther apart. False for words, too, which are compared with other sounds and not with pairs.
        """
        if not self.matches or self.understood or min(match.distance for match in self.matches) < IDENTICAL_DISTANCE:
            return False
        shares = [match.closer_than for match in self.matches if match.closer_than is not None]
        return bool(shares) and max(shares) < SIMILAR

    @property
    def has_no_background(self) -> bool:
        """Whether nothing can be said about how similar the matches are: the collection has too few different sounds
        to compare with."""
        return bool(self.matches) and all(match.closer_than is None for match in self.matches)

    def _repr_html_(self) -> str:
        head = ("distance", "closer than", "from", "to", "id", "label")
        rows = [
            (
                f"{match.distance:.3f}",
                "" if match.closer_than is None else f"{100 * match.closer_than:.1f} %",
                f"{match.start_s:.1f} s",
                f"{match.end_s:.1f} s",
                match.id,
                match.label or "",
            )
            for match in self.matches
        ]
        cells = ["".join(f"<td>{html.escape(text)}</td>" for text in row) for row in rows]
        body = "".join(f"<tr>{row}</tr>" for row in cells)
        return f"<table><tr>{''.join(f'<th>{name}</th>' for name in head)}</tr>{body}</table>"


def run_query(snapshot: Snapshot, query: QueryVectors, k: int, options: Options) -> QueryResult:
    """Search for one query.

    Raises: QueryError: an unknown field. UnknownItemError: an unknown item in `options.without`.
    """
    among = None if options.where is None else snapshot.rows_passing(options.where)
    without = query.without | {snapshot.item(one).n for one in options.without}
    similarity = None
    if query.words:
        sounds = query.vectors[0] if len(query.vectors) else None
        similarity = row_similarity(snapshot, query.words, sounds, query.weight)
    n_candidates = max(CANDIDATES_PER_RESULT * k, MIN_CANDIDATES) if options.reranks else k
    while True:
        exact = options.reranks and snapshot.scans_faster(n_candidates)
        if similarity is not None:
            candidates = snapshot.best_items(
                similarity, n_candidates, without=without, among=among, per_window=options.per_window
            )
        else:
            candidates = snapshot.nearest_items(
                query.vectors, n_candidates, without=without, among=among, per_window=options.per_window, exact=exact
            )
        exhausted = len(candidates.numbers) < n_candidates
        kept, merged = _choose(snapshot, candidates, k, options)
        if len(kept.numbers) >= k or exhausted:
            break
        farthest = cosine_similarity(candidates.distances[-1:])[0]
        if options.min_similarity is not None and farthest < options.min_similarity:
            break  # all further candidates are even less similar
        n_candidates *= 4
    matches = to_matches(snapshot, kept, query.spans, merged)
    shortfall = _shortfall(len(matches), k, among is not None, options)
    if similarity is None:
        engine, reason = snapshot.engine_for(among, exact=exact)
        return QueryResult(tuple(matches), engine, reason, snapshot.name, shortfall)
    matches = [
        replace(
            match,
            closer_than=closer_than,
            words=tuple(snapshot.words_of_rows([row], WORDS_SHOWN)) if snapshot.has_words else (),
        )
        for match, closer_than, row in zip(
            matches, _share_below(similarity, similarity[kept.rows]), kept.rows.tolist(), strict=True
        )
    ]
    understood = tuple(one.understood for one in query.words)
    reason = "all rows are compared with the words"
    return QueryResult(tuple(matches), snapshot.exact.name, reason, snapshot.name, shortfall, understood)


def _share_below(similarity: Float32Array, values: Float32Array) -> list[float]:
    """For each value the share of at most `COMPARED` of the similarities that are below it."""
    some = np.sort(similarity[:: -(-len(similarity) // COMPARED)])
    return [float(share) for share in np.searchsorted(some, values) / len(some)]


def run_queries(snapshot: Snapshot, queries: Sequence[QueryVectors], k: int, options: Options) -> list[QueryResult]:
    """Search for many queries: in one call of the engine if the options neither filter nor rerank.

    Raises: as `run_query`.
    """
    if replace(options, feedback=True, user=None) != Options() or any(query.words for query in queries):
        return [run_query(snapshot, query, k, options) for query in queries]
    ranked = snapshot.nearest_items_many([(query.vectors, query.without) for query in queries], k)
    engine, reason = snapshot.engine_for(None)
    results = []
    for query, items in zip(queries, ranked, strict=True):
        matches = tuple(to_matches(snapshot, items, query.spans))
        shortfall = _shortfall(len(matches), k, False, options)
        results.append(QueryResult(matches, engine, reason, snapshot.name, shortfall))
    return results


def to_matches(
    snapshot: Snapshot,
    ranked: RankedItems,
    spans: Sequence[TimeSpan] | None = None,
    merged: Sequence[Int64Array] | None = None,
) -> list[Match]:
    """The result rows of ranked items.

    spans: the time span of each window of the query; merged: for each item the numbers of its near-duplicates
    """
    rows = snapshot.rows[ranked.rows]
    numbers: list[int] = ranked.numbers.tolist()
    matches = [
        Match(
            *(name.id, number, name.url, name.label),
            *(start_s, end_s, distance, cosine_similarity(distance), closer_than),
            *(spans[window] if spans is not None else (None, None)),
        )
        for number, name, start_s, end_s, distance, closer_than, window in zip(
            numbers,
            snapshot.names(numbers),
            rows["start_s"].tolist(),
            rows["end_s"].tolist(),
            ranked.distances.tolist(),
            snapshot.closer_than(ranked.distances).tolist() if snapshot.has_background else [None] * len(numbers),
            ranked.query_index.tolist(),
            strict=True,
        )
    ]
    if merged is None:
        return matches
    return [
        replace(match, folded=tuple(name.id for name in snapshot.names(duplicates.tolist())))
        for match, duplicates in zip(matches, merged, strict=True)
    ]


def _choose(
    snapshot: Snapshot, candidates: RankedItems, k: int, options: Options
) -> tuple[RankedItems, list[Int64Array] | None]:
    """At most k of the candidates, and the numbers of the near-duplicates merged into each."""
    if options.min_similarity is not None:
        similar = cosine_similarity(candidates.distances) >= options.min_similarity
        candidates = candidates.at(np.flatnonzero(similar))
    if not options.reranks:
        return candidates.first(k), None
    if options.csls and len(candidates.rows):
        local = snapshot.mean_neighbour_similarity(candidates.rows)
        candidates = candidates.at(rerank.csls(cosine_similarity(candidates.distances), local))
    merged: list[Int64Array] | None = None
    if options.dedup_distance is not None:
        durations_s = np.array(snapshot.field_values("duration_s", candidates.numbers.tolist()), np.float64)
        kept, copies = rerank.dedup(snapshot.vectors[candidates.rows], durations_s, options.dedup_distance)
        merged = [candidates.numbers[some] for some in copies]
        candidates = candidates.at(kept)
    if options.per_group is not None:
        groups = snapshot.field_values(options.per_group.field, candidates.numbers.tolist())
        kept = rerank.limit_groups(groups, options.per_group.limit)
        candidates, merged = candidates.at(kept), _at(merged, kept)
    if options.diversity:
        vectors = snapshot.vectors[candidates.rows]
        kept = rerank.diversify(cosine_similarity(candidates.distances), vectors, k, options.diversity)
        candidates, merged = candidates.at(kept), _at(merged, kept)
    return candidates.first(k), merged if merged is None else merged[:k]


def _at(merged: list[Int64Array] | None, positions: Int64Array) -> list[Int64Array] | None:
    return None if merged is None else [merged[position] for position in positions]


def _shortfall(n_matches: int, k: int, filtered: bool, options: Options) -> str | None:
    if n_matches >= k:
        return None
    reasons = []
    if filtered:
        reasons.append("pass the filter")
    if options.min_similarity is not None:
        reasons.append(f"have a similarity of at least {options.min_similarity:g}")
    if options.per_group is not None:
        reasons.append(f"are among the first {options.per_group.limit} of their {options.per_group.field}")
    if options.dedup_distance is not None:
        reasons.append("are not near-duplicates of a result")
    what = "windows" if options.per_window else "items"
    return f"{n_matches} of {k} results: no more {what} {' and '.join(reasons) or 'in this index'}"
