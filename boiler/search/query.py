"""From a query to the answer: candidates, what to keep of them, and rows with names.

The order of things: what passes the filter is searched exactly; what is too far goes; hubs are set back;
near-duplicates are folded; groups are capped; the list is made diverse. Where that leaves fewer than k, more candidates
are fetched, until there are k or no more: then the answer says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from boiler.arrays import Float32Array, Int64Array
from boiler.deprecated import RenamedAttribute, renamed_arguments
from boiler.engine.distance import cosine_similarity
from boiler.errors import QueryError
from boiler.search import rerank
from boiler.search.embedder import TimeSpan
from boiler.search.filters import Filter
from boiler.search.snapshot import RankedItems, Snapshot

POOL = 5  # candidates for each answer that is chosen and not only cut off
LEAST_POOL = 50


@dataclass(frozen=True, slots=True)
class Match:
    """An item near to what was asked. Seconds are of the item's sound: the window that matched best. `closer_than` is
    the share of random pairs of this collection that are farther apart than this, 0 to 1. `query_start_s` and
    `query_end_s` are where in the sound asked with it matched; None when it was asked with a vector. `folded` are the
    ids of near-duplicates that this one stands for."""

    id: str
    n: int
    url: str
    label: str | None
    start_s: float
    end_s: float
    distance: float
    similarity: float
    closer_than: float
    query_start_s: float | None = None
    query_end_s: float | None = None
    folded: tuple[str, ...] = ()

    asked_start_s = RenamedAttribute("query_start_s")
    asked_end_s = RenamedAttribute("query_end_s")


@renamed_arguments(most="limit")
@dataclass(frozen=True)
class GroupLimit:
    """At most so many answers with the same value of a field, `folder`, `label` or `metadata.artist`, say."""

    field: str
    limit: int = 1

    most = RenamedAttribute("limit")


@renamed_arguments(fold_nearer_than="dedup_distance", set_back_hubs="csls", who="user")
@dataclass(frozen=True)
class Options:
    """What the answers should be like.

    where: only items that pass this filter, see `boiler.search.filters`
    without: ids and numbers of items that are left out, such as those heard already
    min_similarity: only what is at least as similar (the cosine)
    per_window: each window that matches is an answer, not each item
    dedup_distance: near-duplicates, nearer to each other than this distance and equally long, are one answer
    per_group: at most so many answers of a group
    diversity: 0 to 1, how much an answer should be unlike those before it
    csls: what is near to everything has to be nearer to be taken
    feedback: whether earlier likes and dislikes of answers to this question move it
    user: only the feedback of this user; None: of all users
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
        for name, value, least, most in (
            ("min_similarity", self.min_similarity, -1, 1),
            ("dedup_distance", self.dedup_distance, 0, 2),
        ):
            if value is not None and not least <= value <= most:
                raise QueryError(f"{name} is from {least} to {most}, not {value}")
        if self.per_group is not None and self.per_group.limit < 1:
            raise QueryError(f"at least one answer of each group: per_group.limit is not {self.per_group.limit}")
        if self.per_window and (self.dedup_distance is not None or self.per_group is not None):
            raise QueryError("folding and groups are of items: leave per_window out, or them")

    @property
    def chooses(self) -> bool:
        """Whether answers are chosen from more candidates, and not only the nearest taken."""
        return bool(self.dedup_distance is not None or self.per_group or self.diversity or self.csls)


@dataclass(frozen=True)
class Query:
    """What is asked, as vectors [W, D]; when in the sound each window is (None for a vector); the numbers of the items
    that it was made of; and the number of the item that it is, where it is one whole item."""

    vectors: Float32Array
    parts: Sequence[TimeSpan] | None = None
    without: frozenset[int] = frozenset()
    item: int | None = None


UNUSUAL = 0.9
"""An answer closer than no more than this share of random pairs is hardly more alike than by chance: on ESC-10, by
MFCC statistics, fewer than half of such answers had the label that was asked (`boiler evaluate` prints the table)."""


@dataclass(frozen=True)
class QueryResult:
    """The matches, best first. Which engine answered, why that one, and of which index; `shortfall` says why there are
    fewer than asked, when there are."""

    matches: tuple[Match, ...]
    engine: str
    engine_reason: str
    generation: str
    shortfall: str | None = None

    why = RenamedAttribute("engine_reason")
    short = RenamedAttribute("shortfall")

    @property
    def nothing_similar(self) -> bool:
        """Whether even the closest match is no closer than many a random pair: then nothing here is similar."""
        return bool(self.matches) and max(match.closer_than for match in self.matches) < UNUSUAL


def answer(snapshot: Snapshot, query: Query, k: int, options: Options) -> QueryResult:
    """The answer to one question.

    Raises: QueryError: a field that there is not. UnknownItemError: an item to leave out that there is not.
    """
    among = None if options.where is None else snapshot.passing(options.where)
    without = query.without | {snapshot.item(one).n for one in options.without}
    wanted = max(POOL * k, LEAST_POOL) if options.chooses else k
    while True:
        found = snapshot.nearest_items(
            query.vectors, wanted, without=without, among=among, per_window=options.per_window
        )
        exhausted = len(found.numbers) < wanted
        kept, folded = _kept(snapshot, found, k, options)
        if len(kept.numbers) >= k or exhausted:
            break
        if options.min_similarity is not None and _similarity(found.distances[-1:])[0] < options.min_similarity:
            break  # what comes after is farther still
        wanted *= 4
    made = matches(snapshot, kept, query.parts, folded)
    name, why = snapshot.plan(among)
    return QueryResult(tuple(made), name, why, snapshot.name, _short(len(made), k, among, options))


def answer_all(snapshot: Snapshot, queries: Sequence[Query], k: int, options: Options) -> list[QueryResult]:
    """The answers to many questions; where nothing is filtered or chosen, in one go of the engine."""
    if replace(options, feedback=True, user=None) != Options():
        return [answer(snapshot, query, k, options) for query in queries]
    found = snapshot.nearest_items_of_each([(query.vectors, query.without) for query in queries], k)
    name, why = snapshot.plan(None)
    answers = []
    for query, ranked in zip(queries, found, strict=True):
        made = tuple(matches(snapshot, ranked, query.parts))
        answers.append(QueryResult(made, name, why, snapshot.name, _short(len(made), k, None, options)))
    return answers


def matches(
    snapshot: Snapshot,
    ranked: RankedItems,
    parts: Sequence[TimeSpan] | None = None,
    folded: Sequence[Int64Array] | None = None,
) -> list[Match]:
    """The rows of an answer. `folded`: for each, the numbers of the items it stands for."""
    spans = snapshot.rows[ranked.rows]
    numbers: list[int] = ranked.numbers.tolist()
    made = [
        Match(
            *(name.id, number, name.url, name.label),
            *(start_s, end_s, distance, cosine_similarity(distance), closer_than),
            *(parts[query] if parts is not None else (None, None)),
        )
        for number, name, start_s, end_s, distance, closer_than, query in zip(
            numbers,
            snapshot.names(numbers),
            spans["start_s"].tolist(),
            spans["end_s"].tolist(),
            ranked.distances.tolist(),
            snapshot.closer_than(ranked.distances).tolist(),
            ranked.asked.tolist(),
            strict=True,
        )
    ]
    if folded is None:
        return made
    return [
        replace(match, folded=tuple(one.id for one in snapshot.names(others)))
        for match, others in zip(made, ([int(n) for n in some] for some in folded), strict=True)
    ]


def _kept(
    snapshot: Snapshot, found: RankedItems, k: int, options: Options
) -> tuple[RankedItems, list[Int64Array] | None]:
    """What the options keep of the candidates, k at most; and what each stands for."""
    if options.min_similarity is not None:
        found = found.at(np.flatnonzero(_similarity(found.distances) >= options.min_similarity))
    if not options.chooses:
        return found.first(k), None
    if options.csls and len(found.rows):
        found = found.at(rerank.without_hubs(_similarity(found.distances), snapshot.crowding(found.rows)))
    others: list[Int64Array] | None = None
    if options.dedup_distance is not None:
        durations_s = np.array(snapshot.column("duration_s", found.numbers.tolist()), np.float64)
        kept, copies = rerank.folded(snapshot.vectors[found.rows], durations_s, options.dedup_distance)
        others = [found.numbers[some] for some in copies]
        found = found.at(kept)
    if options.per_group is not None:
        groups = snapshot.column(options.per_group.field, found.numbers.tolist())
        kept = rerank.capped(groups, options.per_group.limit)
        found, others = found.at(kept), _taken(others, kept)
    if options.diversity:
        vectors = snapshot.vectors[found.rows]
        kept = rerank.diverse(_similarity(found.distances), vectors, k, options.diversity)
        found, others = found.at(kept), _taken(others, kept)
    return found.first(k), others if others is None else others[:k]


def _taken(others: list[Int64Array] | None, kept: Int64Array) -> list[Int64Array] | None:
    return None if others is None else [others[position] for position in kept]


def _similarity(distances: Float32Array) -> Float32Array:
    return cosine_similarity(distances)


def _short(found: int, k: int, among: Int64Array | None, options: Options) -> str | None:
    if found >= k:
        return None
    what = "windows" if options.per_window else "items"
    reasons = []
    if among is not None:
        reasons.append("pass the filter")
    if options.min_similarity is not None:
        reasons.append(f"are at least {options.min_similarity:g} similar")
    if options.per_group is not None:
        reasons.append(f"are among the first {options.per_group.limit} of their {options.per_group.field}")
    if options.dedup_distance is not None:
        reasons.append("are no near-duplicates of each other")
    there = ", and ".join(reasons) if reasons else "are there to answer"
    return f"{found} of the {k} asked for: no more {what} {there}"
