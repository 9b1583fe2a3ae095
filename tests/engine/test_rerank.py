"""The last word of every search, against numpy's; and that it refuses what does not fit, before it touches it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boiler.engine import normalize, rerank

Numbers = Any


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


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 300),
    st.integers(1, 20),
    st.integers(1, 4),
    st.integers(1, 40),
    st.integers(0, 10_000),
    st.booleans(),
)
def test_the_nearest_of_candidates_are_those_of_numpy(
    n: int, dim: int, n_queries: int, k: int, seed: int, coarse: bool
) -> None:
    random = np.random.default_rng(seed)
    k = min(k, n)
    vectors, queries = made(n, dim, seed, coarse), made(n_queries, dim, seed + 1, coarse)
    own = [random.permutation(n)[: random.integers(k, n + 1)] for _ in range(n_queries)]
    asked = np.repeat(np.arange(n_queries), [len(one) for one in own])
    rows, distances = empty(n_queries, k)
    rerank.nearest(vectors, queries, asked, np.concatenate(own), rows, distances)
    for at in range(n_queries):
        true_rows, true_distances = truth(vectors, queries[at], k, own[at])
        np.testing.assert_allclose(distances[at], true_distances, rtol=1e-6, atol=1e-7)
        if coarse or dim > 3:  # else two may be equal but for the order in which they are added up
            np.testing.assert_array_equal(rows[at], true_rows)
    one = empty(1, k)
    rerank.nearest(vectors, queries[:1], None, own[0], *one)
    assert np.array_equal(one[0][0], rows[0])
    assert np.array_equal(one[1][0], distances[0])


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
def test_whatever_is_within_the_slack_is_looked_at(
    n: int, k: int, n_queries: int, noise: float, whole: bool, coarse: bool, seed: int
) -> None:
    """Scores that are wrong by up to half of the slack do not change the answer."""
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
    rerank.nearest_scored(vectors, queries, scores, slack, rows, distances)
    every = empty(n_queries, k)
    asked, candidates = np.repeat(np.arange(n_queries), n), np.tile(np.arange(n), n_queries)
    rerank.nearest(vectors, queries, asked, candidates, *every)
    np.testing.assert_array_equal(rows, every[0])
    np.testing.assert_array_equal(distances, every[1])


@given(st.integers(1, 5), st.integers(1, 40), st.floats(1e-6, 1e3), st.floats(0, 1), st.integers(0, 1_000))
def test_what_rounding_loses_is_told(n: int, dim: int, step: float, lost: float, seed: int) -> None:
    queries = made(n, dim, seed, False)
    whole, slack = np.empty((n, dim), np.int8), np.empty(n)
    rerank.rounded(queries, step, lost, 1e-6, whole, slack)
    own = np.abs(queries).max(axis=1, keepdims=True).astype(np.float64) / 127
    np.testing.assert_array_equal(whole, np.rint(queries / own))
    apart = np.linalg.norm(queries - own * whole, axis=1)
    np.testing.assert_allclose(slack * step * own[:, 0], 2 * (lost + (1 + lost) * apart) + 1e-6, rtol=1e-9)


@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf])
def test_of_what_is_no_number_nothing_is_told_to_be_near(strange: float) -> None:
    queries = made(2, 4, 0, False)
    queries[1, 2] = strange
    whole, slack = np.empty((2, 4), np.int8), np.empty(2)
    rerank.rounded(queries, 0.01, 0.0, 1e-6, whole, slack)
    assert np.isfinite(slack[0])
    assert not np.isfinite(slack[1])
    with pytest.raises(ValueError, match="slack"):
        rerank.nearest_scored(*(given_to("nearest_scored") | {"slack": np.array([1.0, np.nan])}).values())
    with pytest.raises(ValueError, match="slack"):
        rerank.nearest_scored(*(given_to("nearest_scored") | {"slack": np.array([-1.0, 1.0])}).values())
    with pytest.raises(ValueError, match="scores"):
        rerank.nearest_scored(*(given_to("nearest_scored") | {"scores": np.full((2, 20), np.nan, np.float32)}).values())


def test_what_is_wanted_instead_is_said() -> None:
    fitting = given_to("nearest_scored")
    with pytest.raises(ValueError, match=r"^scores: .* 2 dimensions of int32 or float32 .* of the format 'd'$"):
        rerank.nearest_scored(*(fitting | {"scores": np.zeros((2, 20))}).values())
    off = np.zeros(2 * 20 * 4 + 1, np.uint8)[1:].view(np.float32).reshape(2, 20)
    with pytest.raises(ValueError, match=r"^scores: an aligned array"):
        rerank.nearest_scored(*(fitting | {"scores": off}).values())


def given_to(name: str) -> dict[str, Numbers]:
    """What fits, for each of the three."""
    vectors, queries = made(20, 4, 0, False), made(2, 4, 1, False)
    rows, distances = empty(2, 3)
    if name == "nearest":
        which = {"asked": np.repeat([0, 1], 5), "candidates": np.tile(np.arange(5), 2)}
    elif name == "nearest_scored":
        which = {"scores": queries @ vectors.T, "slack": np.ones(2)}
    else:
        numbers = {"step": 0.1, "lost": 0.01, "margin": 1e-6}
        return {"queries": queries, **numbers, "whole": np.empty((2, 4), np.int8), "slack": np.empty(2)}
    return {"vectors": vectors, "queries": queries, **which, "rows": rows, "distances": distances}


def calls() -> list[Any]:
    wrong = []
    for name in ("nearest", "nearest_scored", "rounded"):
        for word, value in given_to(name).items():
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


@pytest.mark.parametrize(("name", "word", "value", "error"), calls())
def test_what_does_not_fit_is_refused(name: str, word: str, value: Any, error: type[Exception]) -> None:
    fitting = given_to(name)
    getattr(rerank, name)(*fitting.values())
    if word == "vectors" and name == "nearest" and np.shape(value) == (19, 4):
        return  # fewer rows than there could be are none too few
    with pytest.raises((error, ValueError)):
        getattr(rerank, name)(*(fitting | {word: value}).values())


@pytest.mark.parametrize(
    ("asked", "candidates", "error"),
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
def test_a_candidate_that_is_none_is_refused(asked: list[int], candidates: list[int], error: type[Exception]) -> None:
    fitting = given_to("nearest") | {"asked": np.array(asked, np.int64), "candidates": np.array(candidates, np.int64)}
    with pytest.raises(error):
        rerank.nearest(*fitting.values())


def test_an_answer_that_may_not_be_written_is_not() -> None:
    fitting = given_to("nearest_scored")
    fitting["rows"].setflags(write=False)
    with pytest.raises(ValueError, match="read-only"):
        rerank.nearest_scored(*fitting.values())
    with pytest.raises(TypeError, match="6 arguments"):
        rerank.nearest_scored(*list(fitting.values())[:-1])


def test_many_threads_ask_at_once() -> None:
    vectors, queries = made(3_000, 8, 0, False), made(64, 8, 1, False)
    scores, slack = queries @ vectors.T, np.full(64, 1e-5)

    def ask(_: int) -> Numbers:
        rows, distances = empty(64, 10)
        rerank.nearest_scored(vectors, queries, scores, slack, rows, distances)
        return rows

    with ThreadPoolExecutor(8) as threads:
        first, *others = threads.map(ask, range(100))
    assert all(np.array_equal(first, one) for one in others)
