"""Search results follow the query, the likes and the refinement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from browsing import LONG, collection, item_number

from boiler.browser import results
from boiler.browser.background import JobCancelled
from boiler.browser.indexes import OpenIndex
from boiler.browser.upload_store import upload_store
from boiler.browser.url_state import Refinement, SearchState
from boiler.catalog.items import Item
from boiler.errors import QueryError
from boiler.search import relevance_feedback


def found(index: OpenIndex, state: SearchState) -> list[int]:
    return [match.n for match in results.find_results(index, state).matches]


def test_a_like_moves_the_results_towards_it_and_a_dislike_removes_it(index: OpenIndex) -> None:
    n, liked = item_number(index, "bell/bell-0.wav"), item_number(index, "rain/rain-0.wav")
    state = SearchState(item=n, k=21)
    plain, moved = found(index, state), found(index, state.toggle_like(liked))
    rain = [item.n for item in index.nearest.items(label="rain") if item.n != liked]
    assert sum(map(moved.index, rain)) < sum(map(plain.index, rain))
    assert n not in moved
    without = found(index, state.toggle_dislike(plain[0]))
    assert set(without) == set(plain) - {plain[0]}


def test_likes_and_dislikes_weigh_as_much_as_stored_feedback(index: OpenIndex) -> None:
    seeds = results.query_seeds(index, SearchState(item=1, liked=(2, 3), disliked=(4,)))
    assert [seed.weight for seed in seeds] == [
        1.0,
        relevance_feedback.LIKE_WEIGHT / 2,
        relevance_feedback.LIKE_WEIGHT / 2,
        -relevance_feedback.DISLIKE_WEIGHT,
    ]


def test_a_like_that_is_taken_back_leaves_the_results_as_they_were(index: OpenIndex) -> None:
    state = SearchState(item=item_number(index, "kick/kick-0.wav"))
    taken_back = state.toggle_like(3).toggle_like(3)
    assert results.find_results(index, taken_back) == results.find_results(index, state)


def test_likes_alone_are_a_query(index: OpenIndex) -> None:
    bells = tuple(item.n for item in index.nearest.items(label="bell"))[:2]
    numbers = found(index, SearchState(liked=bells))
    assert numbers
    assert not set(numbers) & set(bells)


def test_a_part_is_a_query_of_its_own_and_its_item_is_no_result(index: OpenIndex) -> None:
    n = item_number(index, LONG)
    first = found(index, SearchState(item=n, start_s=0.0, end_s=10.0, k=30))
    last = found(index, SearchState(item=n, start_s=26.0, end_s=36.0, k=30))
    assert n not in first + last
    assert first != last


def test_a_sound_is_embedded_once_for_all_refinements_and_again_after_a_stop(
    index: OpenIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = SearchState(upload=upload_store().add("mine.wav", (collection()[0] / LONG).read_bytes()))
    part = SearchState(item=item_number(index, LONG), start_s=2.0, end_s=34.0)
    embed_blocks, calls = index.nearest.embed_blocks, list[str]()

    def counting(blocks: Any, name: str, from_s: float = 0.0) -> Any:
        calls.append(name)
        return embed_blocks(blocks, name, from_s)

    monkeypatch.setattr(index.nearest, "embed_blocks", counting)
    for state in (upload, part):
        calls.clear()
        shares: list[float] = []

        def stop_at_the_third(share: float, shares: list[float] = shares) -> None:
            shares.append(share)
            if len(shares) == 3:
                raise JobCancelled

        with pytest.raises(JobCancelled):
            results.query_seed(index, state, stop_at_the_third)
        assert shares == sorted(shares)
        assert 0 == shares[0] < shares[2] < 1
        assert len(calls) == 1
        numbers = found(index, state)
        assert len(calls) == 2
        assert found(index, state.refined(Refinement(dedup=False)))[:3] == numbers[:3]
        results.query_seed(index, state)
        assert len(calls) == 2


@pytest.mark.parametrize(
    ("refinement", "passes"),
    [
        (Refinement(label="rain"), lambda item: item.label == "rain"),
        (Refinement(folder="kick"), lambda item: item.folder == "kick"),
        (Refinement(min_s=2.0, max_s=5.0), lambda item: 2.0 <= item.duration_s <= 5.0),
        (Refinement(where="channels == 1 and glob(id, '*-1.wav')"), lambda item: item.id.endswith("-1.wav")),
    ],
)
def test_results_pass_the_filters(index: OpenIndex, refinement: Refinement, passes: Callable[[Item], bool]) -> None:
    n = item_number(index, "bell/bell-0.wav")
    numbers = found(index, SearchState(item=n, k=30, refinement=refinement))
    expected = [item for item in index.nearest.items() if passes(item) and not item.silent and item.n != n]
    assert sorted(numbers) == sorted(item.n for item in expected)


def test_the_results_of_a_label_are_capped(index: OpenIndex) -> None:
    numbers = found(index, SearchState(item=1, k=30, refinement=Refinement(per_group=2)))
    labels = [index.nearest.item(n).label for n in numbers]
    assert max(map(labels.count, labels)) == 2


def test_a_condition_that_cannot_be_parsed_is_refused(index: OpenIndex) -> None:
    with pytest.raises(QueryError):
        found(index, SearchState(item=1, refinement=Refinement(where="colour is red")))
