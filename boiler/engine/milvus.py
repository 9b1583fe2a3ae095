"""Milvus: the vectors are on a server, or on a cluster, and no process of boiler holds them.

An extra: `pip install 'boiler[milvus]'`. The same code runs on two kinds of Milvus:

* Milvus Lite, the default, for an index of one machine. Its database is the folder `milvus.db` of the generation. It
  answers inside of the process that opened it, which works on a copy in its temporary folder: Lite lets one process
  open a database, and writes to it; a generation never changes.
* a server or a cluster, `--engine_option uri=http://host:19530 --engine_option alias=loops`. `MILVUS_URI` replaces the
  address where it is another one for the host that reads, `MILVUS_TOKEN` is user:password; neither is stored.

Each generation is a collection of its own, `ALIAS_<random>`, which never changes once it is built. A reader queries the
collection of its generation, so rows and items always belong together; the alias is for other clients of Milvus, and
leads to the collection of the current generation: it is switched atomically when that is published or rolled back to.
Collections of deleted generations are dropped.

Milvus returns candidates with their vectors; these are ranked by exact distance like those of every engine. With
`index=FLAT` more are fetched until no other row can be among the nearest, ties included, so the result is that of
`exact`. A result with fewer rows than there must be is an error, never a short answer. A server that is away is an
error of each query within some `TIMEOUT_S`; once it is back, queries are answered again: the collection is loaded again
if it has to be, and its rows are counted.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import tempfile
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import grpc
import numpy as np
import pymilvus
from pymilvus import DataType, MilvusClient

from boiler.arrays import Float32Array, Int64Array
from boiler.engine import HostedEngine, Neighbours, empty_neighbours, recall, rerank_candidates
from boiler.engine.exact import Exact
from boiler.errors import ModelDirError

TIMEOUT_S = 10.0
BUILD_TIMEOUT_S = 3_600.0
INDEXES = ("FLAT", "HNSW")
WIDTHS = (64, 128, 256, 512)
"""Tried in this order while an HNSW index is built."""
RECALL_WANTED = 0.99
OVER_FETCH = 6
"""Rows fetched beyond k: usually enough to cover the rounding error of the k-th."""
MAX_ROWS = 16_384
"""Most rows of one search: a limit of Milvus."""
_MAX_FLOATS = 1 << 22  # of vectors in one response
_INSERTED_FLOATS = 1 << 21  # in one request
_TEST_QUERIES, _TEST_K = 200, 10
_FAILURES = (pymilvus.MilvusException, grpc.RpcError)
_POLL_S = 0.2
_NOT_LOADED = 101  # code of Milvus's error, after a restart
_log = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True)
class MilvusParameters:
    """`uri`: of a server; empty: Milvus Lite. `alias`: a server needs it, unique there to this model directory.

    `replicas`: copies of the vectors in memory, each on separate query nodes, so that search survives the loss of one.

    `index`: FLAT is exact, HNSW approximate; of HNSW: `n_links` of a node, `build_width` and `width`, the rows
    considered while building and at least while searching; width None: the first of `WIDTHS` that reaches
    `RECALL_WANTED`.
    """

    uri: str = ""
    alias: str = ""
    replicas: int = 1
    index: str = "FLAT"
    n_links: int = 24
    build_width: int = 160
    width: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.uri and not self.uri.startswith(("http://", "https://")):
            raise ValueError("uri is the address of a Milvus server, like http://host:19530; without it, Milvus Lite")
        if bool(self.uri) != bool(self.alias):
            raise ValueError("a server needs both uri and alias, the name under which other clients find the vectors")
        if self.alias and not re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,99}", self.alias):
            raise ValueError(f"alias is a word of letters, digits and _, not {self.alias!r}")
        if self.index not in INDEXES:
            raise ValueError(f"index is one of {', '.join(INDEXES)}, not {self.index!r}")
        for name, least in (("n_links", 2), ("build_width", 1), ("replicas", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if self.replicas > 1 and not self.uri:
            raise ValueError("replicas need a server: Milvus Lite has one copy")
        if self.width is not None and self.width < 1:
            raise ValueError(f"width must be at least 1, not {self.width}")


class Milvus(HostedEngine):
    """A collection of Milvus."""

    name: ClassVar[str] = "milvus"
    Parameters: ClassVar[type[MilvusParameters]] = MilvusParameters

    def __init__(
        self, client: MilvusClient, collection: str, shape: tuple[int, int], parameters: MilvusParameters
    ) -> None:
        self.parameters = parameters
        self.recall_at_10: float | None = 1.0 if parameters.index == "FLAT" else None
        self._client = client
        self._collection = collection
        self._n_rows, self._dim = shape
        # Of a float32 product of unit vectors, in any order of summation; twice, as two of them are compared.
        self._margin = 2 * (self._dim + 2) * 2.0**-23
        self._database: Path | None = None  # of Milvus Lite

    @classmethod
    def build(cls, vectors: Float32Array, parameters: MilvusParameters) -> Self:
        """Insert the vectors into a new collection, and wait until they can be searched.

        Raises: ModelDirError: the server does not answer.
        """
        built = cls._open(parameters, f"{parameters.alias or 'boiler'}_{uuid.uuid4().hex[:12]}", vectors.shape, None)
        built._call(lambda: built._insert(vectors), retry=False)
        if parameters.index == "FLAT":
            return built
        random = np.random.default_rng(parameters.seed)
        queries = vectors[np.sort(random.choice(len(vectors), min(_TEST_QUERIES, len(vectors)), replace=False))]
        truth = Exact(vectors, once=True).query(queries, _TEST_K)
        for width in WIDTHS if parameters.width is None else (parameters.width,):
            built.parameters = replace(parameters, width=width)
            built.recall_at_10 = recall(built.query(queries, _TEST_K), truth)
            if built.recall_at_10 >= RECALL_WANTED:
                break
        return built

    @classmethod
    def _open(
        cls, parameters: MilvusParameters, collection: str, shape: tuple[int, int], database: Path | None
    ) -> Self:
        """Connect. `database`: of Milvus Lite, to be copied; None: a new one."""
        # Their errors are raised, too; Lite's server logs every method that it has not got.
        for name in ("pymilvus", "milvus_lite", "grpc._server"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        uri, folder = address(parameters), None
        if not uri:
            folder = Path(tempfile.mkdtemp(prefix="boiler-milvus-"))
            uri = str(folder / "milvus.db")
            if database is not None:
                shutil.copytree(database, uri, copy_function=shutil.copyfile)
        opened = cls(_connect(uri), collection, shape, parameters)
        if folder is not None:
            opened._database = Path(uri)
            weakref.finalize(opened, _close_lite, opened._client, folder)
        return opened

    def _insert(self, vectors: Float32Array) -> None:
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("row", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self._dim)
        index = MilvusClient.prepare_index_params()
        of_hnsw = {"M": self.parameters.n_links, "efConstruction": self.parameters.build_width}
        index.add_index(
            field_name="vector",
            index_type=self.parameters.index,
            metric_type="IP",
            params=of_hnsw if self.parameters.index == "HNSW" else {},
        )
        name, client = self._collection, self._client
        # With its index it would be loaded at once, with one replica, which cannot be changed.
        client.create_collection(name, schema=schema, timeout=TIMEOUT_S)
        client.create_index(name, index, timeout=TIMEOUT_S)
        size = max(1, _INSERTED_FLOATS // self._dim)
        for at in range(0, len(vectors), size):
            rows = [{"row": at + i, "vector": one} for i, one in enumerate(np.asarray(vectors[at : at + size]))]
            client.insert(name, rows, timeout=BUILD_TIMEOUT_S)
        client.flush(name, timeout=BUILD_TIMEOUT_S)
        self._wait_for_index()
        self._load()

    def _wait_for_index(self) -> None:
        """Wait until all rows are in the index: a server builds it in the background, and of a collection that is
        loaded before, rows are found less exactly until it is loaded again."""
        end = time.monotonic() + BUILD_TIMEOUT_S
        while self.parameters.index != "FLAT":
            state = self._client.describe_index(self._collection, "vector", timeout=TIMEOUT_S) or {}
            total, pending = (int(state.get(key) or 0) for key in ("total_rows", "pending_index_rows"))
            if not pending and total in (0, self._n_rows):  # 0: Milvus Lite does not say
                return
            if time.monotonic() > end:
                raise ModelDirError(f"{self._where} did not build the index of {self._collection}: see its log")
            time.sleep(_POLL_S)

    def _load(self) -> None:
        """Have the collection loaded, and count its rows."""
        copies = {"replica_number": self.parameters.replicas} if self.parameters.replicas > 1 else {}
        self._client.load_collection(self._collection, timeout=BUILD_TIMEOUT_S, **copies)
        counted = self._client.query(
            self._collection, output_fields=["count(*)"], consistency_level="Strong", timeout=TIMEOUT_S
        )
        if (n_rows := int(counted[0]["count(*)"])) != self._n_rows:
            raise ModelDirError(
                f"the collection {self._collection} of {self._where} has {n_rows} rows, the index {self._n_rows}: run"
                " boiler index again"
            )

    def save(self, path: Path) -> None:
        """Write the name of the collection; of Milvus Lite also the database, to the folder `milvus.db` beside."""
        path.write_text(json.dumps({"collection": self._collection, "uri": self.parameters.uri}) + "\n")
        if self._database is not None:
            target = path.with_name(f"{path.name}.db")
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(self._database, target, ignore=shutil.ignore_patterns("LOCK"))

    @classmethod
    def load(cls, path: Path, vectors: Float32Array, parameters: MilvusParameters) -> Self:
        try:
            collection = str(json.loads(path.read_text(encoding="utf-8"))["collection"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelDirError(f"{path} cannot be read ({error}): run boiler index again") from error
        database = None if parameters.uri else path.with_name(f"{path.name}.db")
        if database is not None and not database.is_dir():
            raise ModelDirError(f"{database} is missing: run boiler index again")
        opened = cls._open(parameters, collection, vectors.shape, database)
        opened._call(opened._load, retry=False)
        return opened

    @classmethod
    def make_current(cls, path: Path, parameters: MilvusParameters) -> None:
        """Switch the alias to the collection of a generation."""
        if not parameters.uri:
            return
        collection = json.loads(path.read_text(encoding="utf-8"))["collection"]
        client = _connect(address(parameters))
        try:
            # Raises for an alias that is new, and switches atomically if it is not.
            client.alter_alias(collection, parameters.alias, timeout=TIMEOUT_S)
        except pymilvus.MilvusException:
            try:
                client.create_alias(collection, parameters.alias, timeout=TIMEOUT_S)
            except pymilvus.MilvusException as error:
                raise ModelDirError(
                    f"the alias {parameters.alias} of Milvus could not be switched to {collection} ({error.message})"
                ) from error
        finally:
            client.close()

    @classmethod
    def drop(cls, path: Path) -> None:
        """Drop the collection of a generation, which is about to be deleted."""
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            if saved["uri"]:
                client = _connect(address(MilvusParameters(uri=saved["uri"], alias="any")))
                client.drop_collection(saved["collection"], timeout=TIMEOUT_S)
                client.close()
        except (OSError, ValueError, KeyError, ModelDirError, pymilvus.MilvusException) as error:
            _log.warning(
                "a collection of Milvus that is not needed any more could not be dropped: %s (%s)", path, error
            )

    # ------------------------------------------------------------------------------------------------ searching

    def query(self, queries: Float32Array, k: int) -> Neighbours:
        return self._nearest(queries, min(k, self._n_rows), None)

    def query_among(self, queries: Float32Array, k: int, among: Int64Array) -> Neighbours:
        return self._nearest(queries, min(k, len(among)), np.asarray(among, np.int64))

    def _nearest(self, queries: Float32Array, k: int, among: Int64Array | None) -> Neighbours:
        """The k nearest rows of each query, among all or these."""
        found = empty_neighbours(len(queries), k)
        if k:
            n = self._n_rows if among is None else len(among)
            for at in range(0, len(queries), size := max(1, _MAX_FLOATS // (min(k + OVER_FETCH, n) * self._dim))):
                some = np.ascontiguousarray(queries[at : at + size], np.float32)
                for i, one in enumerate(self._ranked(some, k, among, n)):
                    found.rows[at + i], found.distances[at + i] = one.rows[0], one.distances[0]
        return found

    def _ranked(self, queries: Float32Array, k: int, among: Int64Array | None, n: int) -> Iterator[Neighbours]:
        wanted = min(k + OVER_FETCH, n)
        if among is not None or wanted > MAX_ROWS:
            yield from self._ranked_in_parts(queries, k, np.arange(n) if among is None else among)
            return
        for query, (rows, vectors) in zip(queries, self._search(queries, wanted, "", n), strict=True):
            if wanted < n and not self._is_complete(query, vectors, k):
                yield from self._ranked_wider(query[None], k, wanted, n)
            else:
                yield _rank(query, rows, vectors, k)

    def _ranked_wider(self, query: Float32Array, k: int, wanted: int, n: int) -> Iterator[Neighbours]:
        """For a query with so many equally near rows that not all of them were fetched."""
        while (wanted := min(4 * wanted, n)) <= MAX_ROWS:
            ((rows, vectors),) = self._search(query, wanted, "", n)
            if wanted == n or self._is_complete(query[0], vectors, k):
                yield _rank(query[0], rows, vectors, k)
                return
        yield from self._ranked_in_parts(query, k, np.arange(n))

    def _ranked_in_parts(self, queries: Float32Array, k: int, among: Int64Array) -> Iterator[Neighbours]:
        """Search as many rows at a time as one search may return, each part by a filter, so that every row of a part
        can be fetched if all are equally near."""
        parts = [among[at : at + MAX_ROWS] for at in range(0, len(among), MAX_ROWS)]
        for query in queries:
            best: list[tuple[Int64Array, Float32Array]] = []
            for part in parts:
                wanted = min(k + OVER_FETCH, len(part))
                while True:
                    ((rows, vectors),) = self._search(query[None], wanted, _filter(part), len(part))
                    if wanted == len(part) or self._is_complete(query, vectors, min(k, len(part))):
                        break
                    wanted = min(4 * wanted, len(part))
                best.append((rows, vectors))
            yield _rank(query, np.concatenate([r for r, _ in best]), np.concatenate([v for _, v in best]), k)

    def _is_complete(self, query: Float32Array, vectors: Float32Array, k: int) -> bool:
        """Whether no row that was not fetched can be among the k nearest. An approximate index makes no such promise,
        so there is nothing to wait for. Shape: vectors [wanted, D], in the order of Milvus"""
        if self.parameters.index != "FLAT":
            return True
        scores = np.sort(vectors @ query)
        return bool(scores[-k] - scores[0] > self._margin)

    def _search(
        self, queries: Float32Array, wanted: int, expression: str, n: int
    ) -> list[tuple[Int64Array, Float32Array]]:
        """Rows and vectors that Milvus finds nearest to each query: exactly `wanted` of `n`.

        Raises: ModelDirError: Milvus does not answer, or with fewer rows.
        """
        width = max(self.parameters.width or wanted, wanted)
        for_index = {"ef": width} if self.parameters.index == "HNSW" else {}

        def search() -> Any:
            return self._client.search(
                self._collection,
                data=list(queries),
                anns_field="vector",
                filter=expression,
                limit=wanted,
                output_fields=["vector"],
                search_params={"metric_type": "IP", "params": for_index},
                timeout=TIMEOUT_S,
            )

        found = []
        for hits in self._call(search):
            rows = np.array([hit.id for hit in hits], np.int64)  # servers before 2.4 do not name the key
            vectors = np.array([hit["entity"]["vector"] for hit in hits], np.float32).reshape(-1, self._dim)
            if len(rows) < wanted and self.parameters.index != "FLAT":
                rows, vectors = self._scan(wanted, expression, n)
            if len(rows) < wanted:
                raise ModelDirError(
                    f"{self._where} returned {len(rows):,} of {wanted:,} rows that {self._collection} has: part of it"
                    " is missing; run boiler index again, or bring its nodes back"
                )
            order = np.argsort(rows)
            found.append((rows[order], vectors[order]))
        return found

    def _scan(self, wanted: int, expression: str, n: int) -> tuple[Int64Array, Float32Array]:
        """All rows that pass a filter, for an approximate index that finds fewer than there are."""
        if n > MAX_ROWS:
            return np.zeros(0, np.int64), np.zeros((0, self._dim), np.float32)
        found = self._call(
            lambda: self._client.query(
                self._collection,
                filter=expression or "row >= 0",
                output_fields=["row", "vector"],
                limit=n,
                timeout=TIMEOUT_S,
            )
        )
        rows = np.array([one["row"] for one in found], np.int64)
        return rows, np.array([one["vector"] for one in found], np.float32).reshape(-1, self._dim)

    @property
    def _where(self) -> str:
        return f"Milvus at {address(self.parameters)}" if self.parameters.uri else "Milvus Lite"

    def _call(self, call: Callable[[], Result], *, retry: bool = True) -> Result:
        """Call Milvus; `retry`: once more after what a restart of the server leaves behind. Nothing is stored twice, as
        only questions are tried again."""
        try:
            try:
                return call()
            except _FAILURES as error:
                if not retry:
                    raise
                if getattr(error, "code", None) != _NOT_LOADED:  # the connection: pymilvus has made a new one
                    try:
                        return call()
                    except pymilvus.MilvusException as again:
                        if again.code != _NOT_LOADED:
                            raise
                self._load()
                return call()
        except _FAILURES as error:
            raise ModelDirError(
                f"{self._where} does not answer ({_reason(error)}): start it, or see its log; queries are answered"
                " again once it is back"
            ) from error


def address(parameters: MilvusParameters) -> str:
    """The URI of the server, which `MILVUS_URI` replaces; empty: Milvus Lite."""
    return parameters.uri and os.environ.get("MILVUS_URI", parameters.uri)


# By default gRPC waits for up to two minutes before it tries a server again that was away, for all of the connections
# of a process that lead there.
_RECONNECT = {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1_000,
}


def _client(uri: str) -> MilvusClient:
    token = os.environ.get("MILVUS_TOKEN", "")
    return MilvusClient(uri=uri, token=token, timeout=TIMEOUT_S, dedicated=True, grpc_options=_RECONNECT)


def _connect(uri: str) -> MilvusClient:
    try:
        return _client(uri)
    except _FAILURES as error:
        raise ModelDirError(f"Milvus at {uri} does not answer ({_reason(error)}): start it, or see its log") from error


def _reason(error: Exception) -> str:
    if isinstance(error, grpc.Call):  # as many of gRPC's errors are, whose text has several lines
        return str(error.details())
    return str(getattr(error, "message", error))


def _close_lite(client: MilvusClient, folder: Path) -> None:
    from milvus_lite.server_manager import server_manager_instance

    client.close()
    server_manager_instance.release_server(str(folder / "milvus.db"))
    shutil.rmtree(folder, ignore_errors=True)


def _filter(rows: Int64Array) -> str:
    first, last = int(rows[0]), int(rows[-1])
    if last - first + 1 == len(rows):
        return f"row >= {first} and row <= {last}"
    return f"row in {rows.tolist()}"


def _rank(query: Float32Array, rows: Int64Array, vectors: Float32Array, k: int) -> Neighbours:
    """The k nearest of rows, which are ascending, so that ties are broken by row number."""
    found = rerank_candidates(np.ascontiguousarray(vectors), query[None], k, None, np.arange(len(rows)))
    return Neighbours(rows[found.rows], found.distances)
