"""Measures whether the stored likes and dislikes agree with the ranking.

A query that was an item of the index is run again. For a query that was a sound or a vector only a key is stored, so
its judgements are counted and skipped. The ranking is computed without relevance feedback: otherwise the judgements
would be measured against themselves.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from itertools import product

import numpy as np

from boiler.errors import SilentSoundError, UnknownItemError
from boiler.search import seeds
from boiler.search.judgements import JudgementStore
from boiler.search.snapshot import Snapshot

TOP_K = 10


@dataclass(frozen=True)
class FeedbackAgreement:
    """The ranks of liked and disliked answers. NaN where there are none.

    questions: number of queries that could be run again
    liked, disliked: number of their judgements
    skipped: number of judgements of queries or answers that are not items of this index
    liked_median_rank, disliked_median_rank: 1 is the nearest
    liked_in_top, disliked_in_top: fraction among the first `TOP_K`
    pairs: number of pairs of a liked and a disliked answer to one query
    in_order: fraction of the pairs in which the liked answer is nearer; one half is chance
    """

    questions: int
    liked: int
    disliked: int
    skipped: int
    liked_median_rank: float
    disliked_median_rank: float
    liked_in_top: float
    disliked_in_top: float
    pairs: int
    in_order: float

    def to_markdown(self) -> str:
        """A table of the ranks, and a sentence about the pairs."""
        return (
            f"| feedback on {self.questions} queries | judgements | median rank | in the first {TOP_K} |\n"
            "| --- | ---: | ---: | ---: |\n"
            f"| liked | {self.liked} | {self.liked_median_rank:g} | {self.liked_in_top:.3f} |\n"
            f"| disliked | {self.disliked} | {self.disliked_median_rank:g} | {self.disliked_in_top:.3f} |\n\n"
            f"In {100 * self.in_order:.1f} % of {self.pairs} pairs of a liked and a disliked answer to the same query,"
            f" the liked one is nearer (chance: 50 %). Skipped: {self.skipped} judgements of queries or answers that"
            " are not items of this index."
        )


def measure_agreement(snapshot: Snapshot, store: JudgementStore) -> FeedbackAgreement:
    """Compare the stored judgements with the ranking of this index.

    Raises: QueryError: the judgements cannot be read.
    """
    queries = {json.loads(line)["question"] for line in store.export()}
    ranks: dict[bool, list[int]] = {True: [], False: []}
    questions = skipped = pairs = 0
    in_order = 0.0
    for question in sorted(queries):
        summary = store.summary(question)
        rank_of = _ranks(snapshot, question)
        of_query = defaultdict[bool, list[int]](list)
        for like, ids in ((True, summary.likes), (False, summary.dislikes)):
            for id in ids:
                rank = rank_of.get(id)
                if rank is None:
                    skipped += 1
                else:
                    of_query[like].append(rank)
        questions += bool(of_query)
        ranks[True] += of_query[True]
        ranks[False] += of_query[False]
        pairs += len(of_query[True]) * len(of_query[False])
        in_order += sum(liked < disliked for liked, disliked in product(of_query[True], of_query[False]))
    return FeedbackAgreement(
        questions,
        len(ranks[True]),
        len(ranks[False]),
        skipped,
        _median(ranks[True]),
        _median(ranks[False]),
        _in_top(ranks[True]),
        _in_top(ranks[False]),
        pairs,
        in_order / pairs if pairs else float("nan"),
    )


def _ranks(snapshot: Snapshot, question: str) -> dict[str, int]:
    """The rank of every item in the answer, from 1; empty if the query cannot be run again."""
    kind, _, id = question.partition(":")
    if kind != "item":
        return {}
    try:
        number, rows = snapshot.rows_of(id)
    except (UnknownItemError, SilentSoundError):  # the judgement is from an older index
        return {}
    queries = snapshot.vectors[seeds.evenly_spaced(rows)]
    ranked = snapshot.nearest_items(queries, snapshot.n_searchable, without=[number])
    names = snapshot.names(ranked.numbers.tolist())
    return {name.id: rank for rank, name in enumerate(names, start=1)}


def _median(ranks: list[int]) -> float:
    return float(np.median(ranks)) if ranks else float("nan")


def _in_top(ranks: list[int]) -> float:
    return float(np.mean(np.array(ranks) <= TOP_K)) if ranks else float("nan")
