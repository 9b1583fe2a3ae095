"""Reranking, compiled and in numpy: both agree with brute force and each other; invalid arguments are refused."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boiler import engine
from boiler.engine import normalize, rerank_numpy

Numbers = Any
rerank: Any = engine.rerank


needs_compiled = pytest.mark.skipif(engine.RERANK != "compiled", reason="rerank.c is not compiled here")
both = pytest.mark.parametrize(
    "module",
    [pytest.param(rerank, id="compiled", marks=needs_compiled), pytest.param(rerank_numpy, id="numpy")],
)


def truth(vectors: Numbers, query: Numbers, k: int, candidates: Numbers) -> tuple[Numbers, Numbers]:
    apart = vectors[candidates].astype(np.float64) - query.astype(np.float64)
    distances = np.sqrt((apart * apart).sum(axis=1)).astype(np.float32)
    order = np.lexsort((candidates, distances))[:k]
    return candidates[order], distances[order]


def made(n: int, dim: int, seed: int, coarse: bool) -> Numbers:
    random = np.random.default_rng(seed)
    return normalize(random.integers(1, 3, (n, dim)) if coarse else random.normal(size=(n, dim)))


def empty(n_queries: int, k: int) -> tuple[Numbers, Numbers]:
    return np.full((n_queries, k), -7, np.int64), np.full((n_queries, k), np.nan, np.float32)


@both
@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 300),
    st.integers(1, 20),
    st.integers(1, 4),
    st.integers(1, 40),
    st.integers(0, 10_000),
    st.booleans(),
)
def test_the_nearest_candidates_equal_those_of_brute_force(
    module: Any, n: int, dim: int, n_queries: int, k: int, seed: int, coarse: bool
) -> None:
    random = np.random.default_rng(seed)
    k = min(k, n)
    vectors, queries = made(n, dim, seed, coarse), made(n_queries, dim, seed + 1, coarse)
    own = [random.permutation(n)[: random.integers(k, n + 1)] for _ in range(n_queries)]
    query_of = np.repeat(np.arange(n_queries), [len(one) for one in own])
    rows, distances = empty(n_queries, k)
    module.nearest(vectors, queries, query_of, np.concatenate(own), rows, distances)
    for at in range(n_queries):
        true_rows, true_distances = truth(vectors, queries[at], k, own[at])
        np.testing.assert_allclose(distances[at], true_distances, rtol=1e-6, atol=1e-7)
        if coarse or dim > 3:  # otherwise two sums may differ only in the order of addition
            np.testing.assert_array_equal(rows[at], true_rows)
    one = empty(1, k)
    module.nearest(vectors, queries[:1], None, own[0], *one)
    assert np.array_equal(one[0][0], rows[0])
    assert np.array_equal(one[1][0], distances[0])


@both
@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 3_000),
    st.integers(1, 90),
    st.integers(1, 3),
    st.floats(0, 0.5),
    st.booleans(),
    st.booleans(),
    st.integers(0, 10_000),
)
def test_rows_within_the_slack_are_reranked(
    module: Any, n: int, k: int, n_queries: int, noise: float, whole: bool, coarse: bool, seed: int
) -> None:
    """Errors of the scores up to half of the slack do not change the answer."""
    k = min(k, n)
    vectors, queries = made(n, 6, seed, coarse), made(n_queries, 6, seed + 1, coarse)
    scores = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    scores += np.random.default_rng(seed).uniform(-noise, noise, scores.shape)
    slack = np.full(n_queries, 2 * noise + 1e-5)
    if whole:
        scores, slack = np.rint(scores * 1e5).astype(np.int32), slack * 1e5 + 2
    else:
        scores = scores.astype(np.float32)
    rows, distances = empty(n_queries, k)
    module.nearest_scored(vectors, queries, scores, slack, rows, distances)
    every = empty(n_queries, k)
    query_of, candidates = np.repeat(np.arange(n_queries), n), np.tile(np.arange(n), n_queries)
    module.nearest(vectors, queries, query_of, candidates, *every)
    np.testing.assert_array_equal(rows, every[0])
    np.testing.assert_array_equal(distances, every[1])


@both
@given(st.integers(1, 5), st.integers(1, 40), st.floats(1e-6, 1e3), st.floats(0, 1), st.integers(0, 1_000))
def test_the_slack_is_the_rounding_error(module: Any, n: int, dim: int, step: float, lost: float, seed: int) -> None:
    queries = made(n, dim, seed, False)
    whole, slack = np.empty((n, dim), np.int8), np.empty(n)
    module.rounded(queries, step, lost, 1e-6, whole, slack)
    own = np.abs(queries).max(axis=1, keepdims=True).astype(np.float64) / 127
    np.testing.assert_array_equal(whole, np.rint(queries / own))
    apart = np.linalg.norm(queries - own * whole, axis=1)
    np.testing.assert_allclose(slack * step * own[:, 0], 2 * (lost + (1 + lost) * apart) + 1e-6, rtol=1e-9)


@both
@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_never_near(module: Any, strange: float) -> None:
    queries = made(2, 4, 0, False)
    queries[1, 2] = strange
    whole, slack = np.empty((2, 4), np.int8), np.empty(2)
    module.rounded(queries, 0.01, 0.0, 1e-6, whole, slack)
    assert np.isfinite(slack[0])
    assert not np.isfinite(slack[1])
    with pytest.raises(ValueError, match="slack"):
        module.nearest_scored(*(arguments_of("nearest_scored") | {"slack": np.array([1.0, np.nan])}).values())
    with pytest.raises(ValueError, match="slack"):
        module.nearest_scored(*(arguments_of("nearest_scored") | {"slack": np.array([-1.0, 1.0])}).values())
    with pytest.raises(ValueError, match="scores"):
        module.nearest_scored(
            *(arguments_of("nearest_scored") | {"scores": np.full((2, 20), np.nan, np.float32)}).values()
        )


@both
def test_the_message_names_the_expected_type(module: Any) -> None:
    fitting = arguments_of("nearest_scored")
    with pytest.raises(ValueError, match=r"^scores: .* 2 dimensions of int32 or float32 .* of the format 'd'$"):
        module.nearest_scored(*(fitting | {"scores": np.zeros((2, 20))}).values())
    off = np.zeros(2 * 20 * 4 + 1, np.uint8)[1:].view(np.float32).reshape(2, 20)
    with pytest.raises(ValueError, match=r"^scores: an aligned array"):
        module.nearest_scored(*(fitting | {"scores": off}).values())


def arguments_of(name: str) -> dict[str, Numbers]:
    """Correct arguments of each function."""
    vectors, queries = made(20, 4, 0, False), made(2, 4, 1, False)
    rows, distances = empty(2, 3)
    if name == "nearest":
        which = {"query_of": np.repeat([0, 1], 5), "candidates": np.tile(np.arange(5), 2)}
    elif name == "nearest_scored":
        which = {"scores": queries @ vectors.T, "slack": np.ones(2)}
    else:
        numbers = {"step": 0.1, "lost": 0.01, "margin": 1e-6}
        return {"queries": queries, **numbers, "whole": np.empty((2, 4), np.int8), "slack": np.empty(2)}
    return {"vectors": vectors, "queries": queries, **which, "rows": rows, "distances": distances}


def calls() -> list[Any]:
    wrong = []
    for name in ("nearest", "nearest_scored", "rounded"):
        for word, value in arguments_of(name).items():
            if isinstance(value, np.ndarray):
                wrong += [
                    pytest.param(name, word, value[:-1], ValueError, id=f"{name}: shorter {word}"),
                    pytest.param(name, word, value[None], ValueError, id=f"{name}: deeper {word}"),
                    pytest.param(
                        name, word, np.zeros(value.shape, np.complex64), ValueError, id=f"{name}: other {word}"
                    ),
                    pytest.param(name, word, value.repeat(2, -1)[..., ::2], BufferError, id=f"{name}: strided {word}"),
                    pytest.param(name, word, "no array", TypeError, id=f"{name}: text as {word}"),
                ]
    return [*wrong, ("rounded", "step", 0.0, ValueError), ("rounded", "margin", "1", TypeError)]


@both
@pytest.mark.parametrize(("name", "word", "value", "error"), calls())
def test_wrong_shapes_and_types_are_refused(
    module: Any, name: str, word: str, value: Any, error: type[Exception]
) -> None:
    fitting = arguments_of(name)
    getattr(module, name)(*fitting.values())
    if word == "vectors" and name == "nearest" and np.shape(value) == (19, 4):
        return  # fewer rows than the limit are allowed
    with pytest.raises((error, ValueError)):
        getattr(module, name)(*(fitting | {word: value}).values())


@both
@pytest.mark.parametrize(
    ("query_of", "candidates", "error"),
    [
        ([0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 4, 20], IndexError),
        ([0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 4, -1], IndexError),
        ([0, 0, 0, 1, 1, 2], [0, 1, 2, 3, 4, 5], IndexError),
        ([0, 1, 0, 1, 1, 0], [0, 1, 2, 3, 4, 5], IndexError),
        ([-1, 0, 0, 1, 1, 1], [0, 1, 2, 3, 4, 5], IndexError),
        ([0, 0, 0, 0, 1, 1], [0, 1, 2, 3, 4, 5], ValueError),
        ([], [], ValueError),
    ],
)
def test_a_candidate_that_is_not_a_row_is_refused(
    module: Any, query_of: list[int], candidates: list[int], error: type[Exception]
) -> None:
    fitting = arguments_of("nearest") | {
        "query_of": np.array(query_of, np.int64),
        "candidates": np.array(candidates, np.int64),
    }
    with pytest.raises(error):
        module.nearest(*fitting.values())


@both
def test_read_only_results_are_refused(module: Any) -> None:
    fitting = arguments_of("nearest_scored")
    fitting["rows"].setflags(write=False)
    with pytest.raises(ValueError, match="read-only"):
        module.nearest_scored(*fitting.values())
    with pytest.raises(TypeError, match="argument"):
        module.nearest_scored(*list(fitting.values())[:-1])


@both
def test_many_threads_at_once(module: Any) -> None:
    vectors, queries = made(3_000, 8, 0, False), made(64, 8, 1, False)
    scores, slack = queries @ vectors.T, np.full(64, 1e-5)

    def search(_: int) -> Numbers:
        rows, distances = empty(64, 10)
        module.nearest_scored(vectors, queries, scores, slack, rows, distances)
        return rows

    with ThreadPoolExecutor(8) as threads:
        first, *others = threads.map(search, range(100))
    assert all(np.array_equal(first, one) for one in others)


@needs_compiled
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2_500), st.integers(1, 60), st.sampled_from([1, 7, 64]), st.booleans(), st.integers(0, 10_000))
def test_compiled_and_numpy_return_the_same(n: int, k: int, dim: int, coarse: bool, seed: int) -> None:
    k = min(k, n)
    vectors, queries = made(n, dim, seed, coarse), made(2, dim, seed + 1, coarse)
    found = []
    for module in (rerank, rerank_numpy):
        whole, slack = np.empty((2, dim), np.int8), np.empty(2)
        module.rounded(queries, 0.01, 0.05, 1e-6, whole, slack)
        scores = np.rint(queries @ vectors.T / 0.01 * 127).astype(np.int32)
        one, other = empty(2, k), empty(2, k)
        module.nearest_scored(vectors, queries, scores, slack, *one)
        module.nearest_scored(vectors, queries, scores.astype(np.float32), slack, *other)
        found.append((whole, slack, *one, *other))
    for at, (compiled, plain) in enumerate(zip(*found, strict=True)):
        if compiled.dtype == np.int64:  # rows may swap if their distances differ in the last bit
            same = (compiled == plain) | (np.abs(found[0][at + 1] - found[1][at + 1]) <= 1e-6)
            assert same.all()
        else:
            np.testing.assert_allclose(compiled, plain, rtol=1e-6, atol=1e-6)


def test_without_the_compiled_module_numpy_reranks() -> None:
    code = """
import sys
sys.modules["boiler.engine.rerank"] = None
import numpy as np
from boiler import engine
from boiler.engine.exact import Exact
vectors = engine.normalize(np.random.default_rng(0).normal(size=(3_000, 24)))
found = Exact(vectors).query(vectors[:40:4], 5)
assert engine.RERANK == "numpy"
assert found.rows[:, 0].tolist() == list(range(0, 40, 4)), found.rows[:, 0]
assert not found.distances[:, 0].any()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
