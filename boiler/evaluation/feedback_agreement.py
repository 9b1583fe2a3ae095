"""Do stored likes and dislikes agree with the ranking? How far up are the liked answers, how far down the disliked?

A question that was an item of the index can be asked again; of one that was a sound or a vector only a mark is kept, so
its judgements are counted and left out. The ranking is the plain one, not moved by the judgements: else it would be
asked whether it learned by heart.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from itertools import product

import numpy as np

from boiler.errors import SilentSoundError, UnknownItemError
from boiler.search import seeds
from boiler.search.feedback import FeedbackStore
from boiler.search.snapshot import Snapshot

NEAR = 10


@dataclass(frozen=True)
class Agreement:
    """`liked` and `disliked` judgements that stand, of `questions` that could be asked; `unasked` others.

    `liked_place` and `disliked_place`: the median place of those in the ranking, 1 the nearest; `liked_near` and
    `disliked_near`: the share of them among the first `NEAR`. `in_order`: of the pairs of a liked and a disliked answer
    to one question, the share whose liked one is nearer; one half is chance. NaN where there are none.
    """

    questions: int
    liked: int
    disliked: int
    unasked: int
    liked_place: float
    disliked_place: float
    liked_near: float
    disliked_near: float
    pairs: int
    in_order: float

    def to_markdown(self) -> str:
        """The table."""
        return (
            f"| feedback: {self.questions} questions | judged | median place | among the first {NEAR} |\n"
            "| --- | ---: | ---: | ---: |\n"
            f"| liked | {self.liked} | {self.liked_place:g} | {self.liked_near:.3f} |\n"
            f"| disliked | {self.disliked} | {self.disliked_place:g} | {self.disliked_near:.3f} |\n\n"
            f"Of {self.pairs} pairs of a liked and a disliked answer to the same question the liked one is nearer in"
            f" {100 * self.in_order:.1f} % (chance: 50 %). Not counted: {self.unasked} judgements of questions or"
            " answers that are no items of this index."
        )


def agreement(snapshot: Snapshot, store: FeedbackStore) -> Agreement:
    """How the judgements that stand agree with the ranking of this index.

    Raises: QueryError: the judgements cannot be read.
    """
    asked = {json.loads(line)["question"] for line in store.export()}
    places: dict[bool, list[int]] = {True: [], False: []}
    questions = unasked = pairs = 0
    in_order = 0.0
    for question in sorted(asked):
        verdicts = store.verdicts(question)
        place = _places(snapshot, question)
        mine = defaultdict[bool, list[int]](list)
        for like, ids in ((True, verdicts.likes), (False, verdicts.dislikes)):
            for id in ids:
                found = place.get(id)
                if found is None:
                    unasked += 1
                else:
                    mine[like].append(found)
        questions += bool(mine)
        places[True] += mine[True]
        places[False] += mine[False]
        pairs += len(mine[True]) * len(mine[False])
        in_order += sum(good < bad for good, bad in product(mine[True], mine[False]))
    return Agreement(
        questions,
        len(places[True]),
        len(places[False]),
        unasked,
        _median(places[True]),
        _median(places[False]),
        _near(places[True]),
        _near(places[False]),
        pairs,
        in_order / pairs if pairs else float("nan"),
    )


def _places(snapshot: Snapshot, question: str) -> dict[str, int]:
    """The place of every item in the answer, from 1; empty where the question cannot be asked."""
    kind, _, id = question.partition(":")
    if kind != "item":
        return {}
    try:
        number, rows = snapshot.rows_of(id)
    except (UnknownItemError, SilentSoundError):  # of an older index
        return {}
    queries = snapshot.vectors[seeds.evenly_spaced(rows)]
    ranked = snapshot.nearest_items(queries, snapshot.n_searchable, without=[number])
    names = snapshot.names(ranked.numbers.tolist())
    return {name.id: place for place, name in enumerate(names, start=1)}


def _median(places: list[int]) -> float:
    return float(np.median(places)) if places else float("nan")


def _near(places: list[int]) -> float:
    return float(np.mean(np.array(places) <= NEAR)) if places else float("nan")
