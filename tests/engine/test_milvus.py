"""Milvus gives the answers of exact search, and none rather than half of one; what every engine does is in
test_engine.py."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from milvus_lite_server import MilvusServer
from milvus_server import StandaloneMilvus, package
from serving import publish, running

from boiler import engine
from boiler.arrays import Float32Array
from boiler.engine import milvus
from boiler.engine.exact import Exact
from boiler.engine.milvus import Milvus, MilvusParameters
from boiler.engine.selection import EngineChoice
from boiler.errors import EngineError, ModelDirError
from boiler.search.filters import field
from boiler.search.nearest import ByItem, Nearest, Options
from boiler.store import generation

DIM = 16


def unit(n: int, dim: int = DIM, seed: int = 0) -> Float32Array:
    return engine.normalize(np.random.default_rng(seed).normal(size=(n, dim)))


def assert_exact(found: engine.Neighbours, vectors: Float32Array, queries: Float32Array, k: int, *among: Any) -> None:
    true = Exact(vectors).query(queries, k, *among)
    np.testing.assert_array_equal(found.rows, true.rows)
    np.testing.assert_array_equal(found.distances, true.distances)


@pytest.mark.parametrize(
    "options",
    [
        {"uri": "localhost:19530", "alias": "a"},
        {"uri": "http://127.0.0.1:1"},
        {"alias": "loops"},
        {"uri": "http://127.0.0.1:1", "alias": "no-dash"},
        {"index": "IVF"},
        {"replicas": 0},
        {"replicas": 2},
        {"n_links": 1},
        {"width": 0},
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match="the engine milvus: "):
        engine.parse_parameters(Milvus, options)


def test_a_server_that_is_away_is_an_error_that_names_it() -> None:
    with pytest.raises(ModelDirError, match=r"Milvus at http://127\.0\.0\.1:1 does not answer"):
        Milvus.build(unit(3), MilvusParameters(uri="http://127.0.0.1:1", alias="a"))


def test_the_address_of_a_server_can_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILVUS_URI", "http://here:1")
    assert milvus.address(MilvusParameters(uri="http://there:1", alias="a")) == "http://here:1"
    assert milvus.address(MilvusParameters()) == ""


@pytest.mark.slow
def test_flat_is_exact_on_100_000_rows() -> None:
    vectors = unit(100_000)
    vectors[5_000:5_040] = vectors[77]  # more ties than are fetched at first
    queries = np.concatenate([vectors[70:80], unit(10, seed=1)])
    built = Milvus.build(vectors, MilvusParameters())
    for k in (1, 10, 50):
        assert_exact(built.query(queries, k), vectors, queries, k)
    for among in (np.arange(4_990, 30_000), np.arange(77, 100_000, 13)):
        assert_exact(built.query_among(queries, 10, among), vectors, queries, 10, among)


@pytest.mark.slow
def test_flat_is_exact_where_more_rows_are_tied_than_one_search_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milvus, "MAX_ROWS", 100)
    vectors = unit(1_000)
    vectors[300:650] = vectors[10]
    queries = vectors[[10, 20]]
    built = Milvus.build(vectors, MilvusParameters())
    for k in (1, 5, 200, 360, 1_000):
        assert_exact(built.query(queries, k), vectors, queries, k)
    # Milvus promises no order of ties.
    search = built._client.search
    monkeypatch.setattr(built._client, "search", lambda *args, **named: [hits[::-1] for hits in search(*args, **named)])
    assert_exact(built.query(queries, 5), vectors, queries, 5)
    among = np.flatnonzero(np.random.default_rng(0).random(1_000) < 0.5)
    for k in (5, 150, 1_000):
        assert_exact(built.query_among(queries, k, among), vectors, queries, k, among)


@pytest.mark.slow
def test_hnsw_finds_nearly_all_and_delivers_what_a_filter_leaves() -> None:
    vectors, queries = unit(20_000, 32), unit(100, 32, seed=1)
    built = Milvus.build(vectors, MilvusParameters(index="HNSW"))
    assert built.recall_at_10 is not None
    assert built.recall_at_10 >= 0.98
    assert built.parameters.width in milvus.WIDTHS
    found = built.query(queries, 10)
    assert engine.recall(found, Exact(vectors).query(queries, 10)) >= 0.98
    among = np.sort(np.random.default_rng(2).choice(20_000, 25, replace=False))
    few = built.query_among(queries[:5], 25, among)
    assert np.sort(few.rows, axis=1).tolist() == [among.tolist()] * 5


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusServer]:
    server = MilvusServer(tmp_path_factory.mktemp("milvus") / "data")
    yield server
    server.kill()


@pytest.mark.slow
def test_a_killed_server_is_an_error_and_answers_again_by_itself(
    server: MilvusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus, "TIMEOUT_S", 2.0)
    vectors = unit(3_000)
    built = Milvus.build(vectors, MilvusParameters(uri=server.uri, alias="killed"))
    for _ in range(2):
        server.kill()
        with pytest.raises(ModelDirError, match="does not answer"):
            built.query(vectors[:1], 5)
        server.start()
        assert_exact(built.query(vectors[:3], 5), vectors, vectors[:3], 5)


@pytest.mark.slow
@pytest.mark.parametrize("index", milvus.INDEXES)
def test_half_an_answer_is_an_error(server: MilvusServer, tmp_path: Path, index: str) -> None:
    vectors = unit(300)
    parameters = MilvusParameters(uri=server.uri, alias="half", index=index)
    built = Milvus.build(vectors, parameters)
    built.save(tmp_path / "milvus")
    with closing(server.client()) as client:
        client.delete(built._collection, filter="row < 20")
    with pytest.raises(ModelDirError, match="returned 280 of 300 rows"):
        built.query(vectors[:1], 300)
    with pytest.raises(ModelDirError, match="280 rows, the index 300"):
        Milvus.load(tmp_path / "milvus", vectors, built.parameters)


def publish_on(
    server: MilvusServer, model_dir: Path, alias: str, seed: int, n_items: int = 300
) -> generation.Generation:
    return publish(model_dir, n_items, DIM, seed, engine=EngineChoice("milvus", {"uri": server.uri, "alias": alias}))


@pytest.mark.slow
def test_the_alias_is_switched_under_load_without_a_wrong_answer(server: MilvusServer, tmp_path: Path) -> None:
    query, right, wrong = unit(1, seed=99), dict[tuple[int, ...], str](), list[Any]()
    stop, seen = threading.Event(), list[str]()

    def published(seed: int) -> str:
        # Known before it is published.
        expected = Exact(unit_rows(seed)).query(query, 5).rows[0]
        right[tuple(expected.tolist())] = str(seed)
        return publish_on(server, tmp_path / "m", "loops", seed).name

    def search() -> None:
        with closing(server.client()) as client:
            while not stop.is_set():
                rows = tuple(client.search("loops", data=list(query), limit=5)[0].ids)
                if (name := right.get(rows)) is None:
                    wrong.append(rows)
                else:
                    seen.append(name)

    names = [published(0)]
    readers = [threading.Thread(target=search) for _ in range(2)]
    for reader in readers:
        reader.start()
    names += [published(seed) for seed in range(1, 5)]
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert len(seen) > 50
    assert seen[-1] in ("3", "4")
    with closing(server.client()) as client:

        def collection(name: str) -> str:
            saved = tmp_path / "m" / "versions" / name / "milvus"
            return str(json.loads(saved.read_text())["collection"])

        def current() -> str:
            return str(client.describe_alias("loops")["collection_name"])

        ours = {name for name in client.list_collections() if name.startswith("loops_")}
        assert ours == {collection(names[-2]), collection(names[-1])}  # those of deleted indexes are dropped
        assert current() == collection(names[-1])
        generation.rollback(tmp_path / "m")
        assert current() == collection(names[-2])
        generation.undo_rollback(tmp_path / "m")
        assert current() == collection(names[-1])


def unit_rows(seed: int) -> Float32Array:
    """The vectors of `publish`."""
    vectors = np.random.default_rng(seed).normal(size=(300, DIM)).astype(np.float32)
    return engine.normalize(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@pytest.mark.slow
def test_the_service_holds_no_vectors_and_outlives_the_server(server: MilvusServer, tmp_path: Path) -> None:
    opened = publish_on(server, tmp_path / "m", "served", 0, 4_000)
    assert (opened.path / "vectors.npy").stat().st_size > 250_000
    vectors, queries = np.asarray(opened.vectors), unit(20, seed=5)
    expected = Exact(vectors).query(queries, 7).rows.tolist()
    environment = {"BOILER_MODEL_DIR": str(tmp_path / "m"), "BOILER_LOG": "none"}
    with (
        running(["boiler.cli.serve", "--port", "0"], environment) as service,
        closing(http.client.HTTPConnection(urlsplit(service.url).netloc, timeout=120)) as connection,
    ):

        def ask(path: str, body: Any) -> tuple[int, Any, str | None]:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read()), response.headers["x-boiler-engine"]

        def numbers(query: Float32Array) -> tuple[int, list[int], str | None]:
            status, rows, name = ask("/nearest?k=7", {"embedding": query.tolist()})
            return status, [row["n"] for row in rows] if status == 200 else [], name

        assert [numbers(query) for query in queries] == [(200, rows, "milvus") for rows in expected]
        filtered = {"seeds": [{"embedding": queries[0].tolist()}], "k": 7, "where": {"label": "kind3"}}
        status, found, name = ask("/nearest/query", filtered)
        assert (status, name) == (200, "milvus")
        among = np.arange(3, 4_000, 10)
        assert [one["n"] for one in found["results"]] == Exact(vectors).query(queries[:1], 7, among).rows[0].tolist()
        # The kernel maps some pages around the first row, which is searched at the start.
        assert mapped_kib(service.process.pid, "vectors.npy") <= 64
        server.kill()
        assert numbers(queries[0])[0] == 503
        server.start()
        assert [numbers(query) for query in queries] == [(200, rows, "milvus") for rows in expected]


def mapped_kib(pid: int, name: str) -> int:
    """How much of a mapped file is in the memory of a process."""
    smaps = Path(f"/proc/{pid}/smaps").read_text()
    found = re.findall(rf"^[0-9a-f]+-[0-9a-f]+ .*/{re.escape(name)}\n(?:.*\n)*?Rss: +(\d+) kB", smaps, re.MULTILINE)
    assert found
    return sum(map(int, found))


@pytest.mark.slow
def test_an_index_of_milvus_lite_answers_like_an_exact_one(tmp_path: Path) -> None:
    publish(tmp_path / "exact", 300, DIM)
    opened = publish(tmp_path / "lite", 300, DIM, engine=EngineChoice("milvus", {}))
    assert any(name.startswith("milvus.db/") for name in opened.files)
    (tmp_path / "lite").rename(tmp_path / "moved")  # a model directory is portable
    with (
        Nearest(tmp_path / "exact") as exact,
        Nearest(tmp_path / "moved") as lite,
        Nearest(tmp_path / "moved") as twice,
    ):
        assert lite.engine_name == "milvus"
        for options in (
            Options(),
            Options(where=field("label") == "kind4"),
            Options(dedup_distance=0.1, diversity=0.3),
            Options(csls=True),
        ):
            results = [one.query(ByItem(5), 20, options) for one in (exact, lite, twice)]
            assert len({tuple((match.n, match.distance) for match in result.matches) for result in results}) == 1
    generation.check(tmp_path / "moved")
    database = next((tmp_path / "moved" / "current" / "milvus.db").rglob("*.parquet"))
    data = bytearray(database.read_bytes())
    data[len(data) // 2] ^= 1
    database.write_bytes(data)
    with pytest.raises(ModelDirError, match="its bytes have changed"):
        generation.open(tmp_path / "moved")


@pytest.mark.slow
@pytest.mark.skipif(package() is None, reason="needs a real server: pip install milvus==2.3.5")
def test_a_real_server_gives_exact_answers_and_again_after_it_was_killed(tmp_path: Path) -> None:
    vectors, queries, among = unit(3_000), unit(5, seed=1), np.arange(7, 3_000, 3)
    server = StandaloneMilvus(tmp_path / "milvus")
    try:
        built = Milvus.build(vectors, MilvusParameters(uri=server.uri, alias="real"))
        assert_exact(built.query(queries, 10), vectors, queries, 10)
        assert_exact(built.query_among(queries, 10, among), vectors, queries, 10, among)
        with pytest.raises(ModelDirError, match=r"does not answer .*(replica|node|resource)"):  # there is one node
            Milvus.build(vectors, MilvusParameters(uri=server.uri, alias="two", replicas=2))
        server.kill()
        with pytest.raises(ModelDirError, match="does not answer"):
            built.query(queries, 10)
        server.start()
        end = time.monotonic() + 120
        while True:  # it loads the collection again, for half a minute
            try:
                found = built.query(queries, 10)
                break
            except ModelDirError as error:
                assert "does not answer" in str(error)  # noqa: PT017
                assert time.monotonic() < end
        true = Exact(vectors).query(queries, 10)
        assert found.rows.tolist() == true.rows.tolist()
    finally:
        server.kill()
