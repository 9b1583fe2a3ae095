"""Every engine agrees with brute force in float64, also in edge cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boiler import engine
from boiler.arrays import Float32Array
from boiler.engine.exact import Exact
from boiler.engine.hnsw import HNSW, RECALL_WANTED, HNSWParameters
from boiler.errors import ModelDirError, UnknownNameError

DIM = 24


def bags(n: int, dim: int = DIM, seed: int = 0) -> Float32Array:
    """Clustered, non-negative rows, many of them similar, as bags of codes are."""
    random = np.random.default_rng(seed)
    centres = random.gamma(0.3, size=(max(n // 50, 1), dim))
    return engine.normalize(random.poisson(4 * centres[random.integers(0, len(centres), n)]) + 1e-3)


def build(kind: type[engine.Engine], vectors: Float32Array, **options: Any) -> Any:
    return kind.build(vectors, engine.parse_parameters(kind, options))


def truth(vectors: Float32Array, queries: Float32Array, k: int) -> engine.Neighbours:
    """Brute force: all distances in float64, sorted by distance and row."""
    apart = vectors[None].astype(np.float64) - queries[:, None].astype(np.float64)
    distances = np.sqrt((apart**2).sum(-1)).astype(np.float32)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return engine.Neighbours(order, np.take_along_axis(distances, order, axis=1))


def assert_same(found: engine.Neighbours, true: engine.Neighbours) -> None:
    np.testing.assert_allclose(found.distances, true.distances, atol=2e-7)
    differ = found.rows != true.rows
    # Sums of the same numbers may round to adjacent float32 values: only then may rows swap.
    assert (np.abs(found.distances - true.distances)[differ] <= 2e-7).all()
    assert differ.mean() < 0.01


# Each test with Milvus starts a server of Milvus Lite.
@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] * (name == "milvus")) for name in engine.ENGINES])
def kind(request: pytest.FixtureRequest) -> type[engine.Engine]:
    return engine.find_engine(request.param)


@pytest.mark.parametrize("n_queries", [1, 3, 40])
@pytest.mark.parametrize("k", [1, 10, 150, 400, 1000])
def test_every_engine_agrees_with_brute_force(kind: type[engine.Engine], k: int, n_queries: int) -> None:
    vectors = bags(400)
    queries = engine.normalize(bags(n_queries, seed=1))
    found = build(kind, vectors).query(queries, k)
    assert found.rows.shape == found.distances.shape == (n_queries, min(k, 400))
    assert (found.rows.dtype, found.distances.dtype) == (np.int64, np.float32)
    true = truth(vectors, queries, k)
    if kind is Exact:
        assert_same(found, true)
        return
    as_near = found.distances <= true.distances[:, -1:] + 1e-6
    assert as_near.mean() >= 0.99


def test_no_rows_or_no_queries_give_no_answers(kind: type[engine.Engine]) -> None:
    empty = build(kind, np.zeros((0, DIM), np.float32))
    assert empty.query(bags(2), 5).rows.shape == (2, 0)
    assert build(kind, bags(30)).query(np.zeros((0, DIM), np.float32), 5).rows.shape == (0, 5)


def test_a_row_is_at_distance_zero_from_itself(kind: type[engine.Engine]) -> None:
    vectors = np.unique(bags(300), axis=0)
    found = build(kind, vectors).query(vectors, 1)
    assert found.rows[:, 0].tolist() == list(range(len(vectors)))
    assert found.distances.max() == 0.0


def test_identical_vectors_are_returned_in_the_order_of_rows(kind: type[engine.Engine]) -> None:
    vectors = engine.normalize(np.ones((500, DIM)))
    found = build(kind, vectors).query(vectors[:1], 500)
    assert found.rows[0].tolist() == list(range(500))
    assert not found.distances.any()


def test_rows_of_equal_distance_are_returned_in_the_order_of_rows(kind: type[engine.Engine]) -> None:
    vectors = engine.normalize(np.eye(DIM))
    found = build(kind, vectors).query(engine.normalize(np.ones((1, DIM))), DIM)
    assert found.rows[0].tolist() == list(range(DIM))
    opposite = build(kind, engine.normalize(np.stack([np.ones(DIM), -np.ones(DIM)])))
    found = opposite.query(engine.normalize(np.ones((1, DIM))), 2)
    np.testing.assert_allclose(found.distances, [[0.0, 2.0]], atol=1e-6)


def test_a_loaded_engine_gives_the_same_answers(kind: type[engine.Engine], tmp_path: Path) -> None:
    vectors = bags(300)
    built = build(kind, vectors)
    built.save(tmp_path / "index")
    loaded = kind.load(tmp_path / "index", vectors, built.parameters)
    before, after = built.query(vectors[:20], 7), loaded.query(vectors[:20], 7)
    assert np.array_equal(before.rows, after.rows)
    assert np.array_equal(before.distances, after.distances)


def test_a_file_of_other_vectors_is_refused(kind: type[engine.Engine], tmp_path: Path) -> None:
    if kind is Exact:
        pytest.skip("exact search has no file")
    built = build(kind, bags(300))
    built.save(tmp_path / "index")
    with pytest.raises(ModelDirError, match="300 rows, the index 200"):
        kind.load(tmp_path / "index", bags(200), built.parameters)
    with pytest.raises(ModelDirError, match="index again"):
        kind.load(tmp_path / "nowhere", bags(200), built.parameters)


def test_exact_search_among_some_rows_equals_search_of_only_those_rows() -> None:
    vectors = bags(2_000)
    among = np.flatnonzero(np.random.default_rng(2).random(2_000) < 0.3)
    for n_queries in (1, 20):
        queries = bags(n_queries, seed=3)
        found = Exact(vectors).query(queries, 12, among)
        alone = Exact(vectors[among]).query(queries, 12)
        assert np.array_equal(found.rows, among[alone.rows])
        assert np.array_equal(found.distances, alone.distances)
        assert Exact(vectors).query(queries, 12, among[:5]).rows.shape == (n_queries, 5)
        assert Exact(vectors).query(queries, 12, among[:0]).rows.shape == (n_queries, 0)


def test_exact_search_among_identical_rows_returns_the_first() -> None:
    vectors = engine.normalize(np.repeat(np.eye(4), 500, axis=0))
    among = np.arange(501, 2_000, 3)
    found = Exact(vectors).query(vectors[[700]], 12, among)
    assert found.rows[0].tolist() == among[:12].tolist()
    assert not found.distances.any()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 310), st.integers(1, 12), st.integers(0, 10_000), st.booleans())
def test_exact_search_is_exact_on_few_distinct_values(n: int, k: int, n_queries: int, seed: int, coarse: bool) -> None:
    """Coarse vectors have many equal distances, the hardest case for a bound."""
    random = np.random.default_rng(seed)
    raw = random.integers(1, 3, (n, 4)) if coarse else random.normal(size=(n, 4))
    vectors = engine.normalize(raw)
    queries = engine.normalize(random.integers(1, 3, (n_queries, 4)))
    found = Exact(vectors).query(queries, k)
    true = truth(vectors, queries, k)
    np.testing.assert_array_equal(found.rows, true.rows)


def test_single_queries_and_a_batch_agree() -> None:
    vectors, queries = bags(3_000), bags(64, seed=5)
    exact = Exact(vectors)
    together = exact.query(queries, 10)
    alone: list[Any] = [exact.query(query[None], 10) for query in queries]
    assert np.array_equal(together.rows, np.concatenate([one.rows for one in alone]))
    assert np.array_equal(together.distances, np.concatenate([one.distances for one in alone]))


def test_normalize_keeps_the_direction_of_any_vector() -> None:
    vector = np.array([1.0, -2.0, 3.0])
    for scale in (1e-300, 1e-30, 1.0, 1e300):
        np.testing.assert_array_equal(engine.normalize(vector * scale), engine.normalize(vector))
    assert engine.normalize(np.zeros((2, 3))).tolist() == [[0.0] * 3] * 2
    assert engine.normalize(np.zeros((0, 3))).shape == (0, 3)
    assert engine.normalize(np.ones((2, 3, 4))).dtype == np.float32


def test_an_unknown_engine_lists_the_known() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'exact'"):
        engine.find_engine("exakt")
    for name in engine.ENGINES:
        assert engine.find_engine(name).name == name


def test_a_few_queries_of_a_small_index_are_compared_in_int8() -> None:
    vectors = engine.normalize(np.random.default_rng(0).normal(size=(500, 16)))
    kept, once = Exact(vectors), Exact(vectors, once=True)
    for exact in (kept, once):
        exact.query(vectors[:1], 5)
    assert kept._int8 is not None
    assert once._int8 is None  # for a single query a copy is not worth it
    small = Exact(vectors[:20])
    small.query(vectors[:1], 10)
    assert small._int8 is None  # nor if a matrix product is faster


@settings(max_examples=80, deadline=None)
@given(
    st.integers(100, 6_000),
    st.integers(1, 40),
    st.sampled_from([1, 2, 7, 64, 130]),
    st.integers(0, 10_000),
    st.sampled_from(["normal", "coarse", "one large number", "bags", "nearly one place", "steep"]),
)
def test_int8_comparison_loses_none_of_the_nearest(n: int, k: int, dim: int, seed: int, kind: str) -> None:
    random = np.random.default_rng(seed)
    raw = random.normal(size=(n + 3, dim))
    if kind == "coarse":
        raw = np.sign(raw)
    elif kind == "one large number":  # leaves only a few int8 steps for all other rows
        raw[:, 0] = 40.0
    elif kind == "bags":
        raw = random.poisson(0.3, raw.shape) + 1e-3
    elif kind == "nearly one place":
        raw = 1.0 + 1e-4 * raw
    elif kind == "steep":
        raw *= 10.0 ** -np.arange(dim)[None].clip(max=30)
    vectors = engine.normalize(raw)
    exact = Exact(vectors[:n])
    beyond = engine.normalize(np.eye(1, dim))  # larger than int8 can represent
    queries = np.concatenate([vectors[n:], beyond])
    true = truth(exact.vectors, queries, k)
    assert_same(exact.query(queries, k), true)
    for at in range(len(queries)):
        assert_same(exact.query(queries[[at]], k), engine.Neighbours(true.rows[[at]], true.distances[[at]]))


def test_few_rows_are_reranked() -> None:
    """The bound is tight: of 10,000 rows only dozens are within it."""
    vectors = bags(10_000, 64)
    queries = np.concatenate([vectors[5:8], engine.normalize(np.eye(1, 64))])  # the last points where no row does
    products, slack = Exact(vectors)._int8_rows.products(queries, 1e-6)
    scores = np.asarray(products)
    within = (scores >= np.sort(scores)[:, -10, None] - slack[:, None]).sum(axis=1)
    assert within.min() >= 10
    assert within.max() < 300


def test_rows_equal_in_int8_are_distinguished() -> None:
    """Thousands of rows nearer to each other than one int8 step."""
    random = np.random.default_rng(3)
    vectors = engine.normalize(np.ones(DIM) + 1e-5 * random.normal(size=(3_000, DIM)))
    queries = engine.normalize(np.ones(DIM) + 1e-3 * random.normal(size=(5, DIM)))
    exact = Exact(vectors)
    for query in queries:
        assert_same(exact.query(query[None], 12), truth(vectors, query[None], 12))
    assert_same(exact.query(queries, 12), truth(vectors, queries, 12))
    far = Exact(np.concatenate([vectors, engine.normalize(random.normal(size=(9_000, DIM)))]))
    assert_same(far.query(queries[:1], 12), truth(far.vectors, queries[:1], 12))
    some = Exact(np.concatenate([vectors[:900], engine.normalize(random.normal(size=(11_000, DIM)))]))
    assert_same(some.query(queries, 12), truth(some.vectors, queries, 12))


def test_the_graph_tunes_its_width_on_held_out_rows() -> None:
    vectors = bags(6_000, 48)
    graph = build(HNSW, vectors)
    assert graph.recall_at_10 >= RECALL_WANTED
    queries = engine.normalize(np.random.default_rng(9).permutation(bags(6_000, 48))[:200] + 0.02)
    kth = Exact(vectors, once=True).query(queries, 10).distances[:, -1:]
    assert (graph.query(queries, 10).distances <= kth + 1e-6).mean() >= 0.98


def test_the_graph_finds_rows_that_were_added_in_sorted_order() -> None:
    """As rows of an index are, folder by folder."""
    vectors = bags(3_000, 48)
    vectors = vectors[np.lexsort(vectors.T)]
    graph = build(HNSW, vectors)
    found = graph.query(vectors, 1)
    assert (found.rows[:, 0] == np.arange(3_000)).mean() > 0.99
    assert graph.recall_at_10 >= RECALL_WANTED


@pytest.mark.parametrize("spread", [0.03, 0.003])
def test_the_graph_distinguishes_rows_equal_in_int8(spread: float) -> None:
    """Distant clusters, whose rows are nearer to each other than one int8 step."""
    random = np.random.default_rng(0)
    clumps = engine.normalize(np.abs(random.normal(size=(10, 64))))
    vectors = engine.normalize(clumps[random.integers(0, 10, 2_000)] + spread / 8 * random.normal(size=(2_000, 64)))
    graph = build(HNSW, vectors)
    assert graph.recall_at_10 >= RECALL_WANTED
    queries = engine.normalize(vectors[::20] + spread / 16 * random.normal(size=(100, 64)))
    kth = Exact(vectors, once=True).query(queries, 10).distances[:, -1:]
    assert (graph.query(queries, 10).distances <= kth + 1e-6).mean() >= 0.98


def test_a_graph_of_an_older_index_can_be_searched(tmp_path: Path) -> None:
    """A graph file without ids."""
    vectors = bags(300)
    index = faiss.IndexHNSWFlat(DIM, 8)
    index.add(vectors)
    faiss.write_index(index, str(tmp_path / "index"))
    assert HNSW.load(tmp_path / "index", vectors, HNSWParameters()).query(vectors[[7]], 3).distances[0, 0] == 0.0


def test_an_invalid_graph_file_is_refused(tmp_path: Path) -> None:
    vectors = bags(300)
    index = faiss.IndexFlatIP(DIM)
    index.add(vectors)
    faiss.write_index(index, str(tmp_path / "index"))
    with pytest.raises(ModelDirError, match="index again"):
        HNSW.load(tmp_path / "index", vectors, HNSWParameters())


def test_the_old_name_of_find_engine_works() -> None:
    with pytest.deprecated_call(match="find_engine"):
        assert engine.find("exact") is engine.find_engine("exact")
