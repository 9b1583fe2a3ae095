"""Metrics against values computed by hand, values recorded from scikit-learn, and plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boiler.evaluation import metrics

GAINS = st.lists(st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=12)


def ranking(*hits: int, n: int) -> np.ndarray:
    """One ranking of n answers with gain 1 at these ranks, counted from 1."""
    gains = np.zeros((1, n), np.float32)
    gains[0, np.array(hits) - 1] = 1
    return gains


# The definitions in plain Python, one query at a time.


def plain(gains: list[float], ks: tuple[int, ...]) -> dict[str, float]:
    total = sum(gains)
    best = sorted(gains, reverse=True)

    def dcg(row: list[float]) -> float:
        return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(row, 1))

    found = {}
    for k in ks:
        found[f"P@{k}"] = sum(gains[:k]) / min(k, len(gains))
        found[f"R@{k}"] = sum(gains[:k]) / total if total else 0.0
        found[f"nDCG@{k}"] = dcg(gains[:k]) / dcg(best[:k]) if total else 0.0
    found["nDCG"] = dcg(gains) / dcg(best) if total else 0.0
    found["MRR"] = next((1 / rank for rank, gain in enumerate(gains, 1) if gain), 0.0)
    weighted = sum(gain * sum(gains[:rank]) / rank for rank, gain in enumerate(gains, 1))
    found["mAP"] = weighted / total if total else 0.0
    return found


def test_average_precision_of_the_textbook_ranking() -> None:
    # right at 1, 3, 6, 9, 10: (1/1 + 2/3 + 3/6 + 4/9 + 5/10) / 5
    gains = ranking(1, 3, 6, 9, 10, n=10)
    assert metrics.average_precision(gains)[0] == pytest.approx((1 + 2 / 3 + 1 / 2 + 4 / 9 + 1 / 2) / 5)
    assert metrics.precision_at(gains, 5, np.array([10]))[0] == pytest.approx(2 / 5)
    assert metrics.recall_at(gains, 5)[0] == pytest.approx(2 / 5)
    assert metrics.reciprocal_rank(ranking(3, 4, n=5))[0] == pytest.approx(1 / 3)


def test_ndcg_of_graded_answers_by_hand() -> None:
    # Gains 3 2 3 0 1 2 (of 3): DCG 6.861, best order 3 3 2 2 1 0: 7.141
    gains = np.array([[3, 2, 3, 0, 1, 2]], np.float32) / 3
    best = -np.sort(-gains, axis=1)
    assert metrics.ndcg(gains, best)[0] == pytest.approx(6.861126688 / 7.140995110, abs=1e-6)


@pytest.mark.parametrize(
    ("hits", "ap", "ndcg", "ndcg_10"),
    [
        # Recorded: scikit-learn's average_precision_score and ndcg_score for rankings of 60
        ([2, 10, 11, 16, 24, 27, 29, 39], 0.26247379296948264, 0.5713059537956636, 0.2327059155688062),
        ([1, 3, 4, 5, 11, 16, 22, 24, 46, 49], 0.5097461079293377, 0.7999765685668406, 0.510069131458292),
        (
            [1, 2, 3, 4, 5, 6, 9, 10, 11, 13, 17, 19, 34, 47, 59],
            0.7585527137217195,
            0.9299651464946632,
            0.8572048559638626,
        ),
        ([2, 3, 5, 7, 11, 12, 13, 29], 0.5133705375084685, 0.7251213624572405, 0.4682262573997711),
    ],
)
def test_metrics_equal_those_recorded_from_scikit_learn(
    hits: list[int], ap: float, ndcg: float, ndcg_10: float
) -> None:
    gains, n = ranking(*hits, n=60), np.array([60])
    for found in (metrics.measure_gains(gains, n), metrics.measure_hits(gains > 0, n)):
        assert found["mAP"][0] == pytest.approx(ap, abs=1e-9)
        assert found["nDCG"][0] == pytest.approx(ndcg, abs=1e-6)
        assert found["nDCG@10"][0] == pytest.approx(ndcg_10, abs=1e-6)


@given(st.lists(GAINS, min_size=1, max_size=5))
def test_measures_agree_with_plain_python(rows: list[list[float]]) -> None:
    """Rows of several lengths: shorter ones are padded with zeros and state their number of candidates."""
    ks = (1, 3, 10)
    gains = np.zeros((len(rows), max(map(len, rows))), np.float32)
    for place, row in enumerate(rows):
        gains[place, : len(row)] = row
    found = metrics.measure_gains(gains, np.array([len(row) for row in rows]), ks)
    for place, row in enumerate(rows):
        for name, value in plain(row, ks).items():
            assert found[name][place] == pytest.approx(value, abs=1e-6), name


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=12), min_size=1, max_size=6))
def test_boolean_hits_give_the_same_measures(rows: list[list[bool]]) -> None:
    ks = (1, 3, 10)
    hits = np.zeros((len(rows), max(map(len, rows))), bool)
    for place, row in enumerate(rows):
        hits[place, : len(row)] = row
    candidates = np.array([len(row) for row in rows])
    slow = metrics.measure_gains(hits.astype(np.float32), candidates, ks)
    fast = metrics.measure_hits(hits, candidates, ks)
    assert list(fast) == list(slow)
    for name in slow:
        np.testing.assert_allclose(fast[name], slow[name], atol=1e-6, err_msg=name)


@given(GAINS)
def test_every_measure_is_between_0_and_1_and_best_order_is_best(row: list[float]) -> None:
    gains = np.array([row], np.float32)
    n = np.array([len(row)])
    query_labels, best = metrics.measure_gains(gains, n), metrics.measure_gains(-np.sort(-gains, axis=1), n)
    for name, value in query_labels.items():
        assert -1e-9 <= value[0] <= best[name][0] + 1e-6 <= 1 + 2e-6, name


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=6), st.integers(0, 2))
@settings(max_examples=40)
def test_chance_level_is_the_mean_over_all_orders(row: list[float], barred: int) -> None:
    import itertools

    ks = (1, 2, 5)
    orders = list(itertools.permutations(row))
    every = [plain(list(order), ks) for order in orders]
    padded = np.array([row + [0.0] * barred], np.float32)
    expected = metrics.chance(padded, np.array([len(row)]), ks)
    for name in every[0]:
        assert expected[name][0] == pytest.approx(sum(one[name] for one in every) / len(every), abs=1e-6), name


def test_tags_in_common_by_hand() -> None:
    # guitar+slow against: the same, guitar only, guitar+fast+loud, nothing in common, no tags
    query = np.array([[1, 1, 0, 0]], bool)
    items = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 1, 1], [0, 0, 1, 0], [0, 0, 0, 0]], bool)
    np.testing.assert_allclose(metrics.shared_tags(query, items)[0], [1, 1 / 2, 1 / 4, 0, 0])


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_shared_tags_is_jaccard(n_queries: int, n_items: int, n_tags: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    queries, items = draw.random((n_queries, n_tags)) < 0.5, draw.random((n_items, n_tags)) < 0.5
    found = metrics.shared_tags(queries, items)
    for q, one in enumerate(queries):
        for i, other in enumerate(items):
            a, b = set(np.flatnonzero(one)), set(np.flatnonzero(other))
            assert found[q, i] == pytest.approx(len(a & b) / len(a | b) if a | b else 0.0)


def test_one_tag_each_is_the_same_as_a_label() -> None:
    labels = np.array([0, 1, 1, 2, 0])
    tags = np.eye(3, dtype=bool)[labels]
    np.testing.assert_array_equal(metrics.shared_tags(tags, tags), metrics.shared_labels(labels, labels))


def test_intervals_contain_the_mean_are_seeded_and_shrink_with_more_queries() -> None:
    draw = np.random.default_rng(0)
    few, many = (draw.random(n) < 0.7 for n in (50, 5000))
    first = metrics.bootstrap_intervals({"P@1": few.astype(float)}, seed=3)["P@1"]
    assert first == metrics.bootstrap_intervals({"P@1": few.astype(float)}, seed=3)["P@1"]
    assert first != metrics.bootstrap_intervals({"P@1": few.astype(float)}, seed=4)["P@1"]
    second = metrics.bootstrap_intervals({"P@1": many.astype(float)})["P@1"]
    for one in (first, second):
        assert one.low <= one.mean <= one.high
    assert second.high - second.low < (first.high - first.low) / 5
    # the binomial's normal interval: 1.96 sqrt(p (1 - p) / n)
    assert (second.high - second.low) / 2 == pytest.approx(1.96 * math.sqrt(0.21 / 5000), rel=0.15)


def test_the_interval_of_a_constant_is_a_point_and_of_no_values_is_nan() -> None:
    assert metrics.bootstrap_intervals({"x": np.full(9, 0.25)})["x"] == metrics.Interval(0.25, 0.25, 0.25)
    assert math.isnan(metrics.bootstrap_intervals({"x": np.zeros(0)})["x"].mean)


def test_intervals_have_their_nominal_coverage() -> None:
    draw = np.random.default_rng(1)
    covered = 0
    for turn in range(200):
        sample = (draw.random(120) < 0.4).astype(float)
        found = metrics.bootstrap_intervals({"x": sample}, resamples=200, seed=turn)["x"]
        covered += found.low <= 0.4 <= found.high
    assert 0.89 <= covered / 200 <= 0.99


def test_by_class_and_confusion_by_hand() -> None:
    query_labels = np.array([0, 0, 1])
    assert metrics.mean_by_class(query_labels, np.array([1.0, 0.0, 1.0]), 3)[:2].tolist() == [0.5, 1.0]
    assert np.isnan(metrics.mean_by_class(query_labels, np.array([1.0, 0.0, 1.0]), 3)[2])
    table = metrics.confusion_matrix(query_labels, np.array([[0, 0], [1, -1], [2, 0]]), 3)
    np.testing.assert_allclose(table, [[2 / 3, 1 / 3, 0], [0.5, 0, 0.5], [0, 0, 0]])


@pytest.mark.parametrize(
    ("neighbours", "winner"),
    [([1, 2, 2], 2), ([1, 2, 2, 1], 1), ([3], 3), ([0, -1, -1], 0), ([2, 1, 1, -1, -1], 1), ([-1, -1], -1)],
)
def test_the_majority_wins_the_vote_and_ties_go_to_the_nearest(neighbours: list[int], winner: int) -> None:
    assert metrics.majority_vote(np.array([neighbours])).tolist() == [winner]


def test_hubness_by_hand() -> None:
    # Every item has item 0 as neighbour (and 0 has 1): occurrences 3, 1, 0, 0
    found = metrics.hubness(np.array([[1], [0], [0], [0]]), 4)
    occurrence = np.array([3, 1, 0, 0])
    skewness = np.mean((occurrence - 1) ** 3) / np.mean((occurrence - 1) ** 2) ** 1.5
    assert found == metrics.Hubness(1, pytest.approx(skewness), 0.5, 3)
    ring = metrics.hubness(np.array([[1], [2], [3], [0]]), 4)
    assert (ring.skewness, ring.never, ring.most) == (0.0, 0.0, 1)


def test_engine_recall_recomputes_distances_and_counts_ties() -> None:
    vectors = np.array([[1, 0], [0.8, 0.6], [0.8, 0.6], [0, 1], [-1, 0]], np.float32)
    queries = vectors[:1]
    exact = np.array([[0, 1]])
    assert metrics.ann_recall(queries, vectors, np.array([[0, 2]]), exact) == 1.0  # as near as the true second
    assert metrics.ann_recall(queries, vectors, np.array([[0, 3]]), exact) == 0.5
    assert metrics.ann_recall(queries, vectors, np.array([[0, 0]]), exact) == 0.5  # twice the same is one answer
    assert metrics.ann_recall(queries, vectors, np.array([[0, -1]]), exact) == 0.5
    assert metrics.ann_recall(queries, vectors, np.array([[0, 1, -1]]), np.array([[0, 1, -1]])) == 1.0


def test_codes_used_by_hand() -> None:
    even = metrics.codebook_stats(np.full((3, 4), 0.5))
    assert (even.size, even.perplexity, even.used, even.per_sound) == (4, pytest.approx(4), 4, pytest.approx(4))
    collapsed = metrics.codebook_stats(np.array([[7, 0], [1, 0]]))
    assert (collapsed.perplexity, collapsed.used, collapsed.per_sound) == (1.0, 1, 1.0)
    # half the sounds use only code 0, half only code 1: two codes in all, one per sound
    apart = metrics.codebook_stats(np.array([[23, 0, 0], [0, 1, 0], [0, 0, 0]]))
    assert (apart.perplexity, apart.used, apart.per_sound) == (pytest.approx(2), 2, pytest.approx(1))


@given(st.integers(1, 8), st.integers(1, 6), st.floats(0.1, 50), st.integers(0, 2**32 - 1))
def test_codes_used_do_not_depend_on_the_norm_of_the_bags(n: int, size: int, factor: float, seed: int) -> None:
    counts = np.random.default_rng(seed).integers(0, 5, (n, size)).astype(float)
    one, other = metrics.codebook_stats(counts), metrics.codebook_stats(counts * factor)
    assert one.perplexity == pytest.approx(other.perplexity)
    assert one.used == other.used
    assert 1 <= one.per_sound <= one.perplexity + 1e-9 <= size + 2e-9
