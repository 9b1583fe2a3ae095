"""Deduplication, group limits, diversity and CSLS, each alone."""

from __future__ import annotations

import doctest

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from boiler import engine
from boiler.search import rerank


def test_duplicates_are_folded_into_the_nearest_but_not_sounds_of_other_durations() -> None:
    copy = [1.0, 0.0]
    vectors = np.array([copy, [0.0, 1.0], [0.999, 0.045], copy, copy])
    kept, others = rerank.dedup(vectors, np.array([2.0, 2.0, 2.01, 2.0, 9.0]), 0.1)
    assert kept.tolist() == [0, 1, 4]
    assert [some.tolist() for some in others] == [[2, 3], [], []]


def test_durations_are_compared_in_proportion_to_the_longer_one() -> None:
    for scale in (0.1, 1.0, 60.0):
        others = scale * np.array([0.94, 0.96, 1.0, 1.04, 1.06])
        assert rerank.equally_long(scale, others).tolist() == [False, True, True, True, False]


def test_a_chain_of_small_distances_is_not_folded_into_one() -> None:
    angles = np.arange(20) * 0.04
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    kept, others = rerank.dedup(vectors, np.ones(20), 0.1)
    assert len(kept) > 5
    for position, some in zip(kept, others, strict=True):
        assert all(np.linalg.norm(vectors[position] - vectors[one]) < 0.1 for one in some)


@given(st.integers(0, 60), st.sampled_from([0.0, 0.05, 0.4, 1.0, 2.0]), st.integers(0, 99))
def test_blocks_merge_what_comparing_one_by_one_merges(n: int, max_distance: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = engine.normalize(random.normal(size=(12, 3)) + 1)[random.integers(0, 12, n)]
    vectors = np.asarray(engine.normalize(vectors + random.choice([0, 0.02], (n, 1))), np.float32).reshape(n, 3)
    durations_s = random.choice([1.0, 1.04, 2.0], n)
    expected: dict[int, list[int]] = {}
    for position in range(n):
        for first in expected:
            near = np.linalg.norm(vectors[position] - vectors[first]) < max_distance
            if near and rerank.equally_long(durations_s[first], durations_s[position]):
                expected[first].append(position)
                break
        else:
            expected[position] = []
    kept, merged = rerank.dedup(vectors, durations_s, max_distance)
    assert kept.tolist() == list(expected)
    assert [some.tolist() for some in merged] == list(expected.values())


@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 99))
def test_diversity_chooses_by_maximal_marginal_relevance(n: int, k: int, diversity: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = engine.normalize(random.normal(size=(n, 4)))
    similarities = np.sort(random.uniform(-1, 1, n))[::-1]
    chosen = rerank.diversify(similarities, vectors, k, diversity).tolist()
    for at in range(1, len(chosen)):
        before = chosen[:at]

        def score(one: int, before: list[int] = before) -> float:
            return float((1 - diversity) * similarities[one] - diversity * max(vectors[before] @ vectors[one]))

        best = max(score(one) for one in range(n) if one not in before)
        assert abs(score(chosen[at]) - best) < 1e-9


@given(st.lists(st.sampled_from(["a", "b", None, 3]), max_size=30), st.integers(1, 4))
def test_a_group_keeps_its_first_results_up_to_its_limit(groups: list[object], most: int) -> None:
    kept = rerank.limit_groups(groups, most).tolist()  # type: ignore[arg-type]
    assert kept == sorted(kept)
    for group in {"a", "b", 3}:
        mine = [position for position, one in enumerate(groups) if one == group]
        assert [position for position in kept if groups[position] == group] == mine[:most]
    assert [position for position in kept if groups[position] is None] == [
        position for position, one in enumerate(groups) if one is None
    ]


@given(st.integers(1, 20), st.integers(1, 25), st.integers(0, 99))
def test_diversity_0_keeps_the_order_and_any_value_returns_each_item_once(n: int, k: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = engine.normalize(random.normal(size=(n, 4)))
    similarities = np.sort(random.uniform(-1, 1, n))[::-1]
    assert rerank.diversify(similarities, vectors, k, 0.0).tolist() == list(range(min(k, n)))
    for diversity in (0.3, 1.0):
        chosen = rerank.diversify(similarities, vectors, k, diversity).tolist()
        assert chosen[0] == 0
        assert len(chosen) == len(set(chosen)) == min(k, n)


def test_diversity_skips_items_similar_to_the_first() -> None:
    vectors = engine.normalize([[1, 0.1], [1, 0.11], [0.5, -1]])
    assert rerank.diversify(np.array([0.99, 0.98, 0.5]), vectors, 2, 0.7).tolist() == [0, 2]


def test_a_hub_must_be_nearer_to_be_selected() -> None:
    assert rerank.csls(np.array([0.9, 0.85, 0.2]), np.array([0.9, 0.6, 0.1])).tolist() == [1, 0, 2]
    assert rerank.csls(np.array([0.9, 0.8]), np.array([0.5, 0.5])).tolist() == [0, 1]


def test_no_candidates_give_no_results() -> None:
    none = np.zeros((0, 3))
    assert rerank.dedup(none, np.zeros(0), 0.5)[0].tolist() == []
    assert rerank.limit_groups([], 1).tolist() == rerank.diversify(np.zeros(0), none, 5, 0.5).tolist() == []


def test_the_examples_run() -> None:
    assert doctest.testmod(rerank).failed == 0
