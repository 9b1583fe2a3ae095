"""Rankings of items from those of rows: the best row counts, ties are sorted by number, and k items are found."""

from __future__ import annotations

import gc
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wording import publish_with_words

from boiler import engine
from boiler.arrays import Float32Array
from boiler.catalog.items import Item
from boiler.engine.exact import Exact
from boiler.errors import ModelDirError, QueryError, SilentSoundError, UnknownItemError, UnknownNameError
from boiler.search.snapshot import MAX_CACHED_NAMES, Snapshot
from boiler.store import generation
from boiler.store.generation import Header, rows_of

DIM = 6


def published(folder: Path, counts: list[int], vectors: Float32Array) -> Snapshot:
    """Publish items 0, 3, 6 ... with the given numbers of rows."""
    numbers = np.repeat(3 * np.arange(len(counts)), counts)
    items = [Item(3 * i, f"f{i % 4}/s{i}.wav", label=f"l{i % 3}", silent=not count) for i, count in enumerate(counts)]
    generation.publish(folder, Header(encoder="none", dim=DIM), vectors, rows_of(numbers), items)
    return Snapshot.open(folder)


def brute_force(snapshot: Snapshot, queries: Float32Array, without: set[int]) -> list[tuple[float, int]]:
    apart = snapshot.vectors[None].astype(np.float64) - queries[:, None].astype(np.float64)
    distances = np.sqrt((apart**2).sum(-1)).astype(np.float32).min(axis=0)
    best: dict[int, float] = {}
    for number, distance in zip(snapshot.numbers.tolist(), distances.tolist(), strict=True):
        best[number] = min(best.get(number, 9.0), distance)
    return sorted((distance, number) for number, distance in best.items() if number not in without)


@settings(max_examples=20, deadline=None)
@given(
    counts=st.lists(st.sampled_from([0, 1, 1, 2, 30]), min_size=1, max_size=12),
    k=st.integers(1, 15),
    n_queries=st.sampled_from([1, 2, 9]),
    n_without=st.integers(0, 3),
    coarse=st.booleans(),
    seed=st.integers(0, 999),
)
def test_items_are_ranked_as_by_brute_force(
    tmp_path_factory: pytest.TempPathFactory,
    counts: list[int],
    k: int,
    n_queries: int,
    n_without: int,
    coarse: bool,
    seed: int,
) -> None:
    random = np.random.default_rng(seed)
    n = sum(counts)
    vectors = engine.normalize(random.integers(1, 3, (n, DIM)) if coarse else random.normal(size=(n, DIM)))
    snapshot = published(tmp_path_factory.mktemp("snapshot") / "model", counts, vectors)
    queries = engine.normalize(random.integers(1, 3, (n_queries, DIM)))
    without = set(range(0, 3 * n_without, 3))
    found = snapshot.nearest_items(queries, k, without=without)
    true = brute_force(snapshot, queries, without)[:k]
    assert found.distances.tolist() == pytest.approx([distance for distance, _ in true], abs=3e-7)
    assert found.numbers.tolist() == [number for _, number in true] or not coarse
    assert (snapshot.numbers[found.rows] == found.numbers).all()
    own = np.linalg.norm(snapshot.vectors[found.rows] - queries[found.query_index], axis=1)
    np.testing.assert_allclose(own, found.distances, atol=1e-6)


def near(direction: int, angles: Float32Array) -> Float32Array:
    """Unit vectors at these angles from the axis `direction`, towards the next axis."""
    vectors = np.zeros((len(angles), DIM), np.float32)
    vectors[:, direction] = np.cos(angles)
    vectors[:, direction + 1] = np.sin(angles)
    return vectors


@pytest.fixture(scope="module")
def long_item(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Item 0 has 200 windows near axis 0, item 3 is the next nearest to it, items 6 to 90 are near axis 3."""
    vectors = [near(0, np.linspace(0, 0.05, 200)), near(0, np.array([0.2])), near(3, np.linspace(0.5, 1.0, 29))]
    folder = tmp_path_factory.mktemp("long_item") / "model"
    return published(folder, [200] + 30 * [1], np.concatenate(vectors).astype(np.float32))


def test_other_items_are_found_behind_200_windows_of_one(long_item: Snapshot) -> None:
    query = near(0, np.array([0.0]))
    found = long_item.nearest_items(query, 5, without={0})
    assert found.numbers.tolist() == [number for _, number in brute_force(long_item, query, {0})[:5]]
    assert found.numbers[0] == 3
    assert len(long_item.nearest_items(query, 5).numbers) == 5


def test_with_several_queries_an_item_behind_200_windows_is_not_missed(long_item: Snapshot) -> None:
    """All rows found for the first query are windows of item 0; item 3, the next, is nearer than any of the second."""
    queries = np.concatenate([near(0, np.array([0.0])), near(3, np.array([0.0]))])
    expected = [number for _, number in brute_force(long_item, queries, set())[:5]]
    assert expected[:2] == [0, 3]
    assert long_item.nearest_items(queries, 5).numbers.tolist() == expected
    (batched,) = long_item.nearest_items_many([(queries, ())], 5)
    assert batched.numbers.tolist() == expected


def test_a_search_among_rows_returns_only_their_items(tmp_path: Path) -> None:
    vectors = engine.normalize(np.random.default_rng(0).normal(size=(60, DIM)))
    snapshot = published(tmp_path / "model", [2] * 30, vectors)
    among = np.arange(10, 20)
    found = snapshot.nearest_items(vectors[:1], 100, among=among)
    assert sorted(found.numbers.tolist()) == [15, 18, 21, 24, 27]
    assert len(snapshot.nearest_items(vectors[:1], 2, among=among, without=[15, 18, 21, 24]).numbers) == 1
    assert len(snapshot.nearest_items(vectors[:1], 2, among=among[:0]).numbers) == 0


def test_the_best_by_a_known_similarity_are_those_of_a_full_sort(
    long_item: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("boiler.search.snapshot._SAMPLED", 20)
    n_rows, step = len(long_item.rows), len(long_item.rows) // 20 + 1
    random = np.random.default_rng(0)
    for best in (slice(0, n_rows, step), slice(1, n_rows, step)):  # where samples are taken, and where none is
        similarity = random.uniform(-1, 0, n_rows).astype(np.float32)
        similarity[best] += 1
        order = np.argsort(-similarity, kind="stable")
        by_item = order[np.sort(np.unique(long_item.numbers[order], return_index=True)[1])]
        for k in (1, 8, 20, 31):
            found = long_item.best_items(similarity, k)
            assert found.rows.tolist() == by_item[:k].tolist()
            np.testing.assert_allclose(1 - found.distances**2 / 2, similarity[by_item[:k]], atol=1e-6)
            assert long_item.best_items(similarity, k, per_window=True).rows.tolist() == order[:k].tolist()


def test_a_scan_is_faster_where_much_of_the_index_is_wanted(long_item: Snapshot) -> None:
    assert not long_item.scans_faster(1)
    assert long_item.scans_faster(len(long_item.rows) // 2)


def test_the_words_of_a_row_are_those_of_its_scores(tmp_path: Path) -> None:
    vectors = 2 * np.eye(DIM, dtype=np.float32)[[0, 2, 4]] + 0.1
    publish_with_words(tmp_path / "model", vectors)
    snapshot = Snapshot.open(tmp_path / "model")
    assert [snapshot.words_of_rows([row], 1)[0].name for row in range(3)] == ["dog", "rain", "violin"]
    assert {one.name for one in snapshot.words_of_rows([0, 1], 2)} == {"dog", "rain"}


def test_an_index_without_scores_has_no_words(long_item: Snapshot) -> None:
    assert not long_item.has_words
    with pytest.raises(QueryError, match="this index of none cannot be searched in words"):
        _ = long_item.word_model


def test_items_are_found_by_id_and_number(tmp_path: Path) -> None:
    snapshot = published(tmp_path / "model", [2, 0, 1], engine.normalize(np.ones((3, DIM))))
    assert snapshot.item(3) == snapshot.item("f1/s1.wav")
    assert snapshot.rows_of("f0/s0.wav") == snapshot.rows_of(np.int64(0)) == (0, range(2))
    assert snapshot.rows_of(6) == (6, range(2, 3))
    for silent in (3, "f1/s1.wav"):
        with pytest.raises(SilentSoundError, match=r"f1/s1\.wav"):
            snapshot.rows_of(silent)
    for unknown in (1, 9, -1, 2**70, "s0.wav", "", True, 1.0, None):
        with pytest.raises(UnknownItemError):
            snapshot.rows_of(unknown)  # type: ignore[arg-type]
    assert [tuple(name) for name in snapshot.names([6, 0, 6])] == [
        ("f2/s2.wav", "", "l2"),
        ("f0/s0.wav", "", "l0"),
        ("f2/s2.wav", "", "l2"),
    ]


def test_the_cache_of_names_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boiler.search.snapshot.MAX_CACHED_NAMES", 10)
    assert MAX_CACHED_NAMES > 10
    snapshot = published(tmp_path / "model", [1] * 40, engine.normalize(np.ones((40, DIM))))
    for first in range(33):
        assert [name.id for name in snapshot.names([3 * first, 3 * first + 3])] == [
            f"f{i % 4}/s{i}.wav" for i in (first, first + 1)
        ]
        assert len(snapshot._names) <= 10
    assert len(snapshot.names(list(range(0, 120, 3)))) == 40


def test_many_threads_can_look_up_items(tmp_path: Path) -> None:
    vectors = engine.normalize(np.random.default_rng(0).normal(size=(200, DIM)))
    snapshot = published(tmp_path / "model", [1] * 200, vectors)
    wrong: list[object] = []

    def ask(seed: int) -> None:
        try:
            for n in np.random.default_rng(seed).integers(0, 200, 100).tolist():
                assert snapshot.names([3 * n])[0].id == snapshot.item(3 * n).id == f"f{n % 4}/s{n}.wav"
        except BaseException as error:  # reported in the thread of the test
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_file_is_closed_when_the_last_user_is_gone(tmp_path: Path) -> None:
    snapshot = published(tmp_path / "model", [1], engine.normalize(np.ones((1, DIM))))
    closing = snapshot._close
    assert closing.alive
    del snapshot
    gc.collect()
    assert not closing.alive


def test_an_index_that_does_not_find_its_own_rows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published(tmp_path / "model", [1] * 5, engine.normalize(np.random.default_rng(0).normal(size=(5, DIM))))
    monkeypatch.setattr(Exact, "query", lambda self, queries, k: engine.empty_neighbours(len(queries), 0))
    with pytest.raises(ModelDirError, match="does not find its own first row"):
        Snapshot.open(tmp_path / "model")


def test_the_engine_can_be_selected_by_name(tmp_path: Path) -> None:
    published(tmp_path / "model", [1] * 5, engine.normalize(np.random.default_rng(0).normal(size=(5, DIM))))
    for name in ("exact", "annoy"):
        assert Snapshot.open(tmp_path / "model", name).engine.name == name
    with pytest.raises(UnknownNameError, match="exact"):
        Snapshot.open(tmp_path / "model", "fast")
    with pytest.raises(ModelDirError, match="published without hnsw"):
        Snapshot.open(tmp_path / "model", "hnsw")


@pytest.mark.slow
def test_many_rows_are_searched_by_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boiler.engine.selection.EXACT_UP_TO_ROWS", 100)
    vectors = engine.normalize(np.random.default_rng(0).normal(size=(3_000, DIM)))
    snapshot = published(tmp_path / "model", [1, 2] * 1_000, vectors)
    assert snapshot.engine.name == "hnsw"
    assert "3,000 rows" in snapshot.engine_for(None)[1]
    assert snapshot.engine_for(np.arange(5)) == ("exact", "the filter leaves 5 of 3,000 rows")
    right = 0
    for row in range(0, 3_000, 100):
        found = snapshot.nearest_items(vectors[row : row + 1], 10)
        assert len(found.numbers) == 10
        true = [number for _, number in brute_force(snapshot, vectors[row : row + 1], set())[:10]]
        right += len(set(true) & set(found.numbers.tolist()))
    assert right >= 0.97 * 300


def test_local_similarity_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = engine.normalize(np.random.default_rng(0).normal(size=(40, DIM)))
    snapshot = published(tmp_path / "model", [1] * 40, vectors)
    cosines = np.sort(vectors @ vectors.T - 2 * np.eye(40), axis=1)
    expected = cosines[:, -10:].mean(axis=1)
    query_counts: list[int] = []
    query = Exact.query

    def counting(self: Exact, queries: Float32Array, k: int) -> engine.Neighbours:
        query_counts.append(len(queries))
        return query(self, queries, k)

    monkeypatch.setattr(Exact, "query", counting)
    for rows in ([3, 5, 3], [5, 7], [7, 3]):
        np.testing.assert_allclose(snapshot.mean_neighbour_similarity(np.array(rows)), expected[rows], atol=1e-6)
    assert query_counts == [2, 1]


def test_a_single_row_has_no_local_similarity(tmp_path: Path) -> None:
    snapshot = published(tmp_path / "model", [1], engine.normalize(np.ones((1, DIM))))
    assert snapshot.mean_neighbour_similarity(np.array([0])).tolist() == [0.0]


def test_an_empty_index_gives_no_results(tmp_path: Path) -> None:
    snapshot = published(tmp_path / "model", [0], np.zeros((0, DIM), np.float32))
    assert len(snapshot.nearest_items(engine.normalize(np.ones((1, DIM))), 5).numbers) == 0
    assert np.isnan(snapshot.closer_than(np.array([0.5], np.float32))).all()
    assert not snapshot.has_background


def test_with_few_pairs_of_sounds_no_share_is_claimed(tmp_path: Path) -> None:
    few = published(tmp_path / "few", [1] * 4, engine.normalize(np.random.default_rng(0).normal(size=(4, DIM))))
    assert not few.has_background
    assert np.isnan(few.closer_than(np.array([0.5], np.float32))).all()


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Four items; the id of one has a combining accent (NFD), of another a backslash."""
    folder = tmp_path_factory.mktemp("named")
    ids = ["drums/kick.wav", "drums/snare.wav", "cafe\u0301/a.wav", "back\\slash.wav"]
    items = [Item(n, id) for n, id in enumerate(ids)]
    generation.publish(folder, Header("none", 4), np.eye(4, dtype=np.float32), rows_of(np.arange(4)), items)
    return Snapshot.open(folder)


@pytest.mark.parametrize(
    ("id", "n"),
    [
        ("drums/kick.wav", 0),
        ("./drums/kick.wav", 0),
        ("drums\\kick.wav", 0),
        ("drums//x/../snare.wav", 1),
        ("caf\u00e9/a.wav", 2),
        ("cafe\u0301/a.wav", 2),
        ("back\\slash.wav", 3),
    ],
)
def test_an_id_is_found_however_the_path_is_written(named: Snapshot, id: str, n: int) -> None:
    assert named.item(id).n == named.rows_of(id)[0] == n


@pytest.mark.parametrize(
    ("id", "hint"),
    [
        ("kick.wav", "did you mean 'drums/kick.wav'?"),
        ("snares/kick.wav", "did you mean 'drums/kick.wav'?"),
        ("drums/kik.wav", "did you mean 'drums/kick.wav'"),
        ("nothing at all", "has the id 'nothing at all'"),
    ],
)
def test_an_unknown_id_is_refused_with_similar_ids_of_this_index(named: Snapshot, id: str, hint: str) -> None:
    with pytest.raises(UnknownItemError, match=re.escape(hint)):
        named.item(id)
    assert named.find_record(id) is None
