"""Queries of all kinds with all options: k results if there are k, and a reason if there are fewer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wording import publish_with_words

from boiler import engine
from boiler.catalog.items import Item
from boiler.engine.exact import Exact
from boiler.errors import QueryError, UnknownItemError
from boiler.search.filters import field, under
from boiler.search.nearest import ByItem, ByText, ByVector, GroupLimit, Nearest, Options
from boiler.store import generation
from boiler.store.generation import Header, rows_of

DIM, N = 12, 300
VECTORS = engine.normalize(np.random.default_rng(0).gamma(0.5, size=(N, DIM)))
VECTORS[290:] = VECTORS[7]  # copies of one sound
WINDOWS = np.where(np.arange(N) % 3 == 0, 2, 1)  # every third item has two


@pytest.fixture(scope="module")
def nearest(tmp_path_factory: pytest.TempPathFactory) -> Nearest:
    folder = tmp_path_factory.mktemp("answers") / "model"
    rows = np.repeat(np.arange(N), WINDOWS)
    vectors = VECTORS[rows].copy()
    second = np.flatnonzero(np.diff(rows, prepend=-1) == 0)
    vectors[second] = engine.normalize(np.random.default_rng(1).gamma(0.5, size=(len(second), DIM)))
    items = [
        Item(
            n,
            f"f{n % 5}/s{n}.wav",
            label=f"l{n % 7}" if n % 11 else None,
            duration_s=1.0 + n % 10 if n < 290 else 8.0,
            metadata={"who": f"w{n % 4}"},
        )
        for n in range(N)
    ]
    starts = np.where(np.diff(rows, prepend=-1) == 0, 4.0, 0.0)
    generation.publish(
        folder, Header(encoder="none", dim=DIM), vectors, rows_of(rows, start_s=starts, end_s=starts + 8), items
    )
    return Nearest(folder)


def ranking(nearest: Nearest, query: Any) -> list[int]:
    """All items, by brute force."""
    snapshot = nearest._context.snapshot
    apart = np.linalg.norm(snapshot.vectors.astype(np.float64) - query, axis=1).astype(np.float32)
    best = np.full(N, np.inf)
    np.minimum.at(best, snapshot.numbers, apart)
    return np.argsort(best, kind="stable").tolist()


QUERY = engine.normalize(np.random.default_rng(5).gamma(0.5, size=DIM))


@pytest.mark.parametrize("k", [1, 10, 60, 1000])
def test_a_filter_is_applied_before_the_search_and_is_exact(nearest: Nearest, k: int) -> None:
    for where, passes in (
        (field("label") == "l3", lambda n: n % 11 and n % 7 == 3),
        (under("f2") & (field("duration_s") > 4), lambda n: n % 5 == 2 and (1 + n % 10 if n < 290 else 8) > 4),
        (field("metadata.who").among("w0", "w1"), lambda n: n % 4 < 2),
        (field("n") >= 0, lambda n: True),
        (field("n") < 0, lambda n: False),
    ):
        answer = nearest.query(ByVector(QUERY), k, Options(where=where))
        true = [n for n in ranking(nearest, QUERY) if passes(n)]
        assert [match.n for match in answer.matches] == true[:k]
        assert (answer.engine, "the filter leaves" in answer.engine_reason) == ("exact", True)
        assert (answer.shortfall is None) == (len(true) >= k)


def test_excluded_items_are_replaced_so_that_k_results_remain(nearest: Nearest) -> None:
    first = ranking(nearest, QUERY)[:12]
    without = frozenset({first[0], first[3], f"f{first[5] % 5}/s{first[5]}.wav"})
    answer = nearest.query(ByVector(QUERY), 9, Options(without=without))
    assert [match.n for match in answer.matches] == [n for n in first if n not in (first[0], first[3], first[5])]
    with pytest.raises(UnknownItemError):
        nearest.query(ByVector(QUERY), 9, Options(without=frozenset({"nothing.wav"})))


def test_a_minimum_similarity_shortens_the_results_with_a_reason(nearest: Nearest) -> None:
    all_of_them = nearest.search(QUERY, N)
    threshold = all_of_them[20].similarity
    answer = nearest.query(ByVector(QUERY), 100, Options(min_similarity=threshold))
    assert [match.n for match in answer.matches] == [match.n for match in all_of_them[:21]]
    assert answer.shortfall is not None
    assert "21 of 100" in answer.shortfall
    assert nearest.query(ByVector(QUERY), 5, Options(min_similarity=threshold)).shortfall is None


def test_results_can_be_single_windows(nearest: Nearest) -> None:
    snapshot = nearest._context.snapshot
    truth = Exact(snapshot.vectors).query(QUERY[None], 40)
    answer = nearest.query(ByVector(QUERY), 40, Options(per_window=True))
    assert [match.distance for match in answer.matches] == truth.distances[0].tolist()
    assert [match.n for match in answer.matches] == snapshot.numbers[truth.rows[0]].tolist()
    assert len({match.n for match in answer.matches}) < 40
    assert len(nearest.query(ByItem(0), 1000, Options(per_window=True)).matches) == WINDOWS.sum() - 2


def test_duplicates_are_one_result_that_lists_the_others(nearest: Nearest) -> None:
    plain = nearest.query(ByVector(VECTORS[7]), 12)
    assert sum(match.distance < 1e-4 for match in plain.matches) == 11
    answer = nearest.query(ByVector(VECTORS[7]), 12, Options(dedup_distance=0.05))
    assert len(answer.matches) == 12
    assert answer.matches[0].n == 7
    assert set(answer.matches[0].folded) == {f"f{n % 5}/s{n}.wav" for n in range(290, 300)}
    assert not {match.n for match in answer.matches} & set(range(290, 300))


@pytest.mark.parametrize(("group", "most"), [("folder", 2), ("label", 1), ("metadata.who", 3)])
def test_a_group_has_at_most_its_limit_of_results(nearest: Nearest, group: str, most: int) -> None:
    answer = nearest.query(ByVector(QUERY), 8, Options(per_group=GroupLimit(group, most)))
    values = [
        {"folder": f"f{n % 5}", "label": f"l{n % 7}" if n % 11 else None, "metadata.who": f"w{n % 4}"}[group]
        for n in (match.n for match in answer.matches)
    ]
    assert len(values) == 8
    assert all(value is None or values.count(value) <= most for value in values)
    assert [match.distance for match in answer.matches] == sorted(match.distance for match in answer.matches)


@pytest.mark.slow
def test_a_cap_looks_beyond_the_first_candidates(tmp_path: Path) -> None:
    """2,000 items of one label come first; the other 40 labels are farther, and still fill the list."""
    angles = np.concatenate([np.linspace(0, 0.5, 2_000), np.linspace(0.6, 1.0, 40)])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    items = [Item(n, f"{n}.wav", label=f"l{max(n - 1_999, 0)}") for n in range(len(vectors))]
    header = Header(encoder="none", dim=2)
    generation.publish(tmp_path / "model", header, vectors, rows_of(np.arange(len(vectors))), items)
    answer = Nearest(tmp_path / "model").query(ByVector([1.0, 0.0]), 5, Options(per_group=GroupLimit("label", 1)))
    assert [match.n for match in answer.matches] == [0, 2_000, 2_001, 2_002, 2_003]
    assert answer.shortfall is None


def test_a_group_limit_that_leaves_too_few_gives_a_reason(nearest: Nearest) -> None:
    answer = nearest.query(ByVector(QUERY), 50, Options(per_group=GroupLimit("folder", 2)))
    assert len(answer.matches) == 10
    assert answer.shortfall == "10 of 50 results: no more items are among the first 2 of their folder"


def test_diversity_spreads_the_results_and_keeps_the_nearest_first(nearest: Nearest) -> None:
    def spread(diversity: float) -> float:
        found = nearest.query(ByVector(QUERY), 10, Options(diversity=diversity)).matches
        assert found[0].n == ranking(nearest, QUERY)[0]
        snapshot = nearest._context.snapshot
        rows = [snapshot.rows_of(match.n)[1][int(match.start_s > 0)] for match in found]
        vectors = snapshot.vectors[rows]
        return float((vectors @ vectors.T).mean())

    assert spread(0.0) > spread(0.4) > spread(0.9)


def test_csls_reduces_hubness(tmp_path: Path) -> None:
    count, dim = 300, 100  # in high dimensions, vectors near the mean are hubs
    vectors = engine.normalize(np.random.default_rng(3).normal(0.3, 1, size=(count, dim)))
    items = [Item(n, f"s{n}.wav") for n in range(count)]
    generation.publish(tmp_path / "model", Header(encoder="none", dim=dim), vectors, rows_of(np.arange(count)), items)
    hubs = Nearest(tmp_path / "model")

    def skew(options: Options) -> float:
        counts = np.zeros(count)
        for answer in hubs.query_many([ByItem(n) for n in range(count)], 5, options):
            for match in answer.matches:
                counts[match.n] += 1
        return float(((counts - counts.mean()) ** 3).mean() / counts.std() ** 3)

    assert skew(Options(csls=True)) < 0.7 * skew(Options())


def test_weighted_seeds_rank_by_the_weighted_sum_and_are_excluded(nearest: Nearest) -> None:
    answer = nearest.query([ByItem(1), ByItem(2), ByItem(4, weight=-0.5)], 20)
    vector = engine.normalize(VECTORS[1] + VECTORS[2] - 0.5 * VECTORS[4].astype(np.float64))
    true = [n for n in ranking(nearest, vector) if n not in (1, 2, 4)]
    assert [match.n for match in answer.matches] == true[:20]


@pytest.mark.parametrize("options", [Options(), Options(diversity=0.2, where=field("n") < 200)])
def test_a_batch_gives_the_results_of_single_queries(nearest: Nearest, options: Options) -> None:
    queries: list[Any] = [
        ByItem(0),
        ByVector(QUERY),
        [ByItem(1), ByVector(QUERY, weight=0.3)],
        ByItem("f2/s7.wav"),
        *(ByItem(n) for n in range(280, 300)),
    ]
    together = nearest.query_many(queries, 15, options)
    assert together == [nearest.query(query, 15, options) for query in queries]
    assert nearest.query_many([], 5) == []


def test_the_result_names_its_engine_and_generation(nearest: Nearest) -> None:
    answer = nearest.query(ByItem(0), 3)
    assert (answer.engine, answer.generation, answer.shortfall) == ("exact", nearest.generation, None)
    assert f"{WINDOWS.sum()} rows" in answer.engine_reason
    short = nearest.query(ByItem(0), 1000).shortfall
    assert short == "299 of 1000 results: no more items in this index"


@pytest.mark.parametrize(
    "options",
    [
        {"diversity": 1.5},
        {"min_similarity": 2.0},
        {"dedup_distance": -0.1},
        {"per_group": GroupLimit("label", 0)},
        {"per_window": True, "dedup_distance": 0.1},
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(QueryError):
        Options(**options)


def test_an_unknown_field_is_refused(nearest: Nearest) -> None:
    with pytest.raises(QueryError, match="unknown field"):
        nearest.query(ByItem(0), 3, Options(per_group=GroupLimit("lable")))


def test_a_match_in_words_is_closer_than_the_share_of_rows_that_match_less(tmp_path: Path) -> None:
    vectors = np.eye(6)[np.arange(24) % 6] + np.random.default_rng(0).uniform(0, 0.9, (24, 6))
    publish_with_words(tmp_path / "index", vectors.astype(np.float32))
    with Nearest(tmp_path / "index") as nearest:
        matches = nearest.query(ByText("dog"), 24).matches
    similarities = [match.similarity for match in matches]
    assert len(set(similarities)) > 12
    assert [match.closer_than for match in matches] == [
        sum(other < one for other in similarities) / 24 for one in similarities
    ]


def test_an_empty_generation_gives_no_results(tmp_path: Path) -> None:
    generation.publish(tmp_path / "model", Header(encoder="none", dim=3), np.zeros((0, 3), np.float32), rows_of([]), [])
    empty = Nearest(tmp_path / "model")
    assert empty.search([1.0, 0.0, 0.0]) == []
    assert empty.query(ByVector([1.0, 0, 0]), 3, Options(diversity=0.5)).shortfall is not None
    assert [answer.matches for answer in empty.query_many([ByVector([1.0, 0, 0])] * 9)] == [()] * 9


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_same_sound_is_similar_in_a_collection_of_few_or_of_duplicates(n: int, tmp_path: Path) -> None:
    vectors = np.tile(np.float32([[1, 0, 0]]), (n, 1))
    items = [Item(at, f"{at}.wav") for at in range(n)]
    generation.publish(tmp_path, Header(encoder="Cone", dim=3), vectors, rows_of(np.arange(n)), items)
    with Nearest(tmp_path) as nearest:
        result = nearest.query(ByVector([1.0, 0, 0]), 3)
        assert result.matches[0].distance == 0
        assert not result.nothing_similar


@pytest.mark.parametrize(("n_different", "copies", "known"), [(1, 1, 0), (2, 1, 0), (5, 1, 0), (3, 20, 0), (9, 1, 1)])
def test_too_few_different_sounds_claim_nothing(n_different: int, copies: int, known: int, tmp_path: Path) -> None:
    different = engine.normalize(np.random.default_rng(0).normal(size=(n_different, 8)) * 0.2 + 1)
    vectors = np.repeat(different, copies, axis=0)
    items = [Item(at, f"{at}.wav") for at in range(len(vectors))]
    generation.publish(tmp_path, Header(encoder="Cone", dim=8), vectors, rows_of(np.arange(len(vectors))), items)
    with Nearest(tmp_path) as nearest:
        result = nearest.query(ByVector([-1.0] * 8), 3)
        assert result.has_no_background is not bool(known)
        assert result.nothing_similar is bool(known)
        assert {match.closer_than for match in result.matches} == ({0.0} if known else {None})
        assert nearest.query_many([ByVector([-1.0] * 8)], 3)[0].matches == result.matches
        assert "None" not in result._repr_html_()


def test_the_result_states_when_nothing_is_similar(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cone = engine.normalize(rng.normal(size=(40, 8)) * 0.3 + 1)
    items = [Item(n, f"{n}.wav") for n in range(40)]
    generation.publish(tmp_path, Header(encoder="Cone", dim=8), cone, rows_of(np.arange(40)), items)
    with Nearest(tmp_path) as nearest:
        assert nearest.query(ByVector([-1.0] * 8), 3).nothing_similar
        assert not nearest.query(ByVector(cone[3]), 3).nothing_similar
        assert not nearest.query(ByVector(cone[3]), 3, Options(where=field("id") == "none")).nothing_similar


def test_deprecated_options_and_methods_still_work(nearest: Nearest) -> None:
    with pytest.deprecated_call(match="dedup_distance"):
        options = Options(fold_nearer_than=0.05)  # type: ignore[call-arg]
    with pytest.deprecated_call(match="csls"):
        assert Options(set_back_hubs=True) == Options(csls=True)  # type: ignore[call-arg]
    with pytest.deprecated_call(match="user"):
        assert Options(who="ann").user == "ann"  # type: ignore[call-arg]
    with pytest.deprecated_call(match="Options.dedup_distance"):
        assert options.fold_nearer_than == 0.05
    with pytest.deprecated_call(match=r"Nearest.query$"):
        answer = nearest.ask(ByItem(0), 5, options)
    assert answer == nearest.query(ByItem(0), 5, options)
    with pytest.deprecated_call(match="Nearest.query_many"):
        assert nearest.ask_all([ByItem(0)], 5, options) == [answer]
    match = answer.matches[0]
    with pytest.deprecated_call(match="Match.query_start_s"):
        assert match.asked_start_s == match.query_start_s
    with pytest.deprecated_call(match="Match.query_end_s"):
        assert match.asked_end_s == match.query_end_s
