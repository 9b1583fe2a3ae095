"""Rankings in blocks agree with plain Python, which sorts all candidates of one query at a time."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boiler.evaluation import metrics, ranking


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def plain_order(collection: ranking.Collection, query: int) -> list[int]:
    """The candidate items, best first, ties by number."""
    windows, first = collection.windows, collection.first
    scores = {}
    for item in range(len(collection)):
        if item == query:
            continue
        if collection.groups is not None:
            columns = collection.groups.reshape(len(collection), -1)
            if any(a == b >= 0 for a, b in zip(columns[query], columns[item], strict=True)):
                continue
        if windows is None or first is None:
            own = collection.vectors[item : item + 1]
        else:
            end = first[item + 1] if item + 1 < len(first) else len(windows)
            own = windows[first[item] : end]
        # rounded, so that both find the same ties: the vectors below are integers
        scores[item] = max(round(float(collection.vectors[query] @ one), 5) for one in own)
    return sorted(scores, key=lambda item: (-scores[item], item))


@st.composite
def collections(draw: st.DrawFn) -> tuple[ranking.Collection, np.ndarray]:
    """Small collections with many ties: corners of a cube of few dimensions, so that cosines are exact multiples."""
    n = draw(st.integers(2, 24))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def corners(count: int) -> np.ndarray:
        return (rng.choice([-0.5, 0.5], (count, 4))).astype(np.float32)

    groups = rng.integers(-1, 4, (n, 2)) if draw(st.booleans()) else None
    windows = first = None
    if draw(st.booleans()):
        counts = rng.integers(1, 4, n)
        first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        windows = corners(int(counts.sum()))
    return ranking.Collection(corners(n), groups, windows, first), rng.integers(0, 3, n)


@pytest.mark.slow
@given(collections())
@settings(deadline=None)
def test_scores_and_neighbours_agree_with_plain_python(case: tuple[ranking.Collection, np.ndarray]) -> None:
    collection, labels = case
    ks = (1, 3, 10)
    scores = ranking.score_queries(collection, labels, ks=ks)
    near = ranking.neighbours(collection, 10)
    query_indices = iter(range(len(scores.queries)))
    for query in range(len(collection)):
        order = plain_order(collection, query)
        assert near[query].tolist() == (order + [-1] * 10)[:10]
        gains = [float(labels[item] == labels[query]) for item in order]
        if not any(gains):
            assert query in scores.unanswerable
            continue
        place = next(query_indices)
        assert scores.queries[place] == query
        assert scores.neighbours[place].tolist() == (order + [-1] * 10)[: min(10, len(collection))]
        row, n = np.array([gains], np.float32), np.array([len(gains)])
        for name, value in metrics.measure_gains(row, n, ks).items():
            assert scores.by_query[name][place] == pytest.approx(value[0]), name
        for name, value in metrics.chance(row, n, ks).items():
            assert scores.chance[name][place] == pytest.approx(value[0]), name


@given(collections(), st.integers(1, 5))
@settings(deadline=None)
def test_several_tags_agree_with_plain_python(case: tuple[ranking.Collection, np.ndarray], n_tags: int) -> None:
    collection, labels = case
    tags = np.random.default_rng(int(labels.sum())).random((len(collection), n_tags)) < 0.4
    scores = ranking.score_queries(collection, tags)
    shares = metrics.shared_tags(tags, tags)
    for place, query in enumerate(scores.queries):
        order = plain_order(collection, query)
        row, n = shares[query, order][None], np.array([len(order)])
        for name, value in metrics.measure_gains(row, n).items():
            assert scores.by_query[name][place] == pytest.approx(value[0], abs=1e-6), name
        for name, value in metrics.chance(row, n).items():
            assert scores.chance[name][place] == pytest.approx(value[0], abs=1e-6), name


def test_blocks_do_not_change_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 5, 300)
    collection = ranking.Collection(unit(draw.standard_normal((300, 8))), draw.integers(0, 100, 300))
    whole = ranking.score_queries(collection, labels)
    monkeypatch.setattr(ranking, "BLOCK_KEYS", 2100)  # 7 queries at a time
    parts = ranking.score_queries(collection, labels)
    for name, values in whole.by_query.items():
        np.testing.assert_allclose(values, parts.by_query[name], rtol=1e-9)
    np.testing.assert_array_equal(whole.neighbours, parts.neighbours)


def test_chance_is_what_random_vectors_score() -> None:
    draw = np.random.default_rng(5)
    labels = draw.integers(0, 4, 800)
    groups = draw.integers(0, 40, 800)
    scores = ranking.score_queries(ranking.Collection(unit(draw.standard_normal((800, 200))), groups), labels)
    for name, values in scores.by_query.items():
        assert values.mean() == pytest.approx(scores.chance[name].mean(), abs=0.03), name


def test_a_subset_of_queries_has_the_same_scores_as_in_the_full_set() -> None:
    draw = np.random.default_rng(2)
    labels = draw.integers(0, 3, 60)
    collection = ranking.Collection(unit(draw.standard_normal((60, 5))))
    some = np.array([3, 17, 40])
    whole, part = ranking.score_queries(collection, labels), ranking.score_queries(collection, labels, queries=some)
    np.testing.assert_allclose(whole.by_query["mAP"][some], part.by_query["mAP"])


def test_a_query_without_relevant_candidates_is_reported_and_not_counted() -> None:
    vectors = unit(np.array([[1, 0], [1, 0.1], [0, 1]]))
    scores = ranking.score_queries(ranking.Collection(vectors), np.array([0, 0, 1]))
    assert scores.unanswerable.tolist() == [2]
    assert scores.queries.tolist() == [0, 1]
    alone = ranking.score_queries(ranking.Collection(vectors), np.array([0, 1, 2]))
    assert alone.queries.tolist() == []
    assert alone.unanswerable.tolist() == [0, 1, 2]


def test_knn_accuracy_uses_only_other_folds() -> None:
    # Two folds. Within a fold every item has a duplicate; across folds the neighbour of item 3 has the wrong label.
    angles = np.array([0.0, 0.01, 1.5, 1.51])
    vectors = unit(np.stack([np.cos(angles), np.sin(angles)], 1))
    labels, folds = np.array([0, 0, 1, 2]), np.array([0, 1, 0, 1])
    accuracy = ranking.knn_accuracy(ranking.Collection(vectors), labels, folds, k=1)
    assert accuracy.tolist() == [0.5, 0.5]
    # an item without a fold is a candidate for all queries and no query itself
    accuracy = ranking.knn_accuracy(ranking.Collection(vectors), labels, np.array([0, -1, 0, -1]), k=1)
    assert accuracy.tolist() == [0.5]


def test_knn_over_folds_agrees_with_plain_python() -> None:
    draw = np.random.default_rng(4)
    labels, folds = draw.integers(0, 3, 50), draw.integers(0, 5, 50)
    collection = ranking.Collection(unit(draw.standard_normal((50, 6))))
    accuracy = ranking.knn_accuracy(collection, labels, folds, k=5)
    for fold in range(5):
        right = []
        for query in np.flatnonzero(folds == fold):
            others = np.flatnonzero(folds != fold)
            order = others[np.argsort(-(collection.vectors[others] @ collection.vectors[query]), kind="stable")][:5]
            near = labels[order].tolist()
            winner = max(near, key=lambda label: (near.count(label), -near.index(label)))
            right.append(winner == labels[query])
        assert accuracy[fold] == pytest.approx(np.mean(right))


def test_progress_counts_every_query_once() -> None:
    done: list[int] = []
    ranking.neighbours(ranking.Collection(unit(np.eye(30))), 3, advance=done.append)
    assert sum(done) == 30


def test_memory_is_bounded() -> None:
    """12,000 items: the full matrix of scores would be 576 MB."""
    draw = np.random.default_rng(0)
    collection = ranking.Collection(unit(draw.standard_normal((12_000, 8))))
    labels = draw.integers(0, 50, 12_000)
    tracemalloc.start()
    ranking.score_queries(collection, labels, queries=np.arange(1200))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 400e6
