"""A real Milvus server under queries: `python -m exp.stress.milvus_server --rows 100000 --kills 5`.

The server is that of the package `milvus` (tests/milvus_server.py), one process on this machine. Compared with exact
search are a flat index, without and with filters, and an HNSW one. Then the server is killed with SIGKILL, `--kills`
times at random moments while a thread queries, and started again; and indexes are published while two readers query
the alias. Every answer is right, or an error. Prints a table in Markdown; exits with 1 at a wrong answer.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from pymilvus import MilvusException

from boiler import engine
from boiler.arrays import Float32Array
from boiler.engine.exact import Exact
from boiler.engine.milvus import Milvus, MilvusParameters
from boiler.engine.selection import EngineChoice
from boiler.errors import ModelDirError

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from milvus_server import StandaloneMilvus
from serving import publish

K, N_QUERIES, PUBLISHED_DIM, PUBLISHED_ROWS = 10, 100, 16, 300


def unit(n: int, dim: int, seed: int) -> Float32Array:
    return engine.normalize(np.random.default_rng(seed).normal(size=(n, dim)))


def row(what: str, found: str) -> None:
    print(f"| {what} | {found} |", flush=True)


def n_equal(found: engine.Neighbours, true: engine.Neighbours) -> int:
    """Queries whose rows and distances are those of exact search."""
    return int(((found.rows == true.rows) & (found.distances == true.distances)).all(axis=1).sum())


@contextmanager
def querying(built: Milvus, queries: Float32Array, right: engine.Neighbours) -> Iterator[Counter[str]]:
    """Query one after another in a thread, and count what comes back."""
    counts, stop = Counter[str](), threading.Event()

    def run() -> None:
        n = 0
        while not stop.is_set():
            n = (n + 1) % len(queries)
            try:
                found = built.query(queries[n : n + 1], K)
            except ModelDirError as error:
                counts["errors" if "does not answer" in str(error) else "wrong"] += 1
                time.sleep(0.05)
            else:
                counts["right" if found.rows[0].tolist() == right.rows[n].tolist() else "wrong"] += 1

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield counts
    finally:
        stop.set()
        thread.join()


def kill_under_queries(
    server: StandaloneMilvus, built: Milvus, queries: Float32Array, right: engine.Neighbours, kills: int, seed: int
) -> int:
    """Prints what the queries met. Returns the wrong answers."""
    chance, recovered = random.Random(seed), list[float]()
    with querying(built, queries, right) as counts:
        for _ in range(kills):
            time.sleep(chance.uniform(0.5, 5))
            server.kill()
            time.sleep(chance.uniform(0, 3))
            before = counts["right"]
            server.start()
            began = time.monotonic()
            while counts["right"] <= before and time.monotonic() - began < 120:
                time.sleep(0.05)
            recovered.append(time.monotonic() - began)
        time.sleep(1)
    row(f"{kills} kills under queries", f"{counts['right']} right, {counts['errors']} errors, {counts['wrong']} wrong")
    row("answered again, of the server's start", f"{min(recovered):.0f} to {max(recovered):.0f} s")
    return counts["wrong"] + sum(each >= 120 for each in recovered)


def switch_alias(server: StandaloneMilvus, model_dir: Path, switches: int) -> int:
    """Prints what two readers of the alias met. Returns the wrong answers."""
    query, right, stop = unit(1, PUBLISHED_DIM, 99), set[tuple[int, ...]](), threading.Event()
    counts = Counter[str]()

    def published(seed: int) -> None:
        vectors = np.random.default_rng(seed).normal(size=(PUBLISHED_ROWS, PUBLISHED_DIM)).astype(np.float32)
        vectors = engine.normalize(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        right.add(tuple(Exact(vectors).query(query, 5).rows[0].tolist()))
        choice = EngineChoice("milvus", {"uri": server.uri, "alias": "switched"})
        publish(model_dir, PUBLISHED_ROWS, PUBLISHED_DIM, seed, engine=choice)

    def search() -> None:
        with closing(server.client()) as client:
            while not stop.is_set():
                try:
                    rows = tuple(client.search("switched", data=list(query), limit=5)[0].ids)
                except MilvusException:  # of a query that met the switch
                    counts["errors"] += 1
                else:
                    counts["right" if rows in right else "wrong"] += 1

    published(0)
    readers = [threading.Thread(target=search) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for seed in range(1, switches + 1):
            published(seed)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    answers = f"{counts['right']} right, {counts['errors']} errors, {counts['wrong']} wrong"
    row(f"{switches} switches of the alias under 2 readers", answers)
    return counts["wrong"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--switches", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    vectors, queries = unit(args.rows, args.dim, 0), unit(N_QUERIES, args.dim, 1)
    true = Exact(vectors).query(queries, K)
    with tempfile.TemporaryDirectory() as top:
        began = time.monotonic()
        server = StandaloneMilvus(Path(top) / "milvus")
        try:
            with closing(server.client()) as client:
                print(f"| {args.rows:,} rows of {args.dim}, {client.get_server_version()} | |\n| --- | --- |")
            row("start", f"{time.monotonic() - began:.0f} s")
            began = time.monotonic()
            flat = Milvus.build(vectors, MilvusParameters(uri=server.uri, alias="flat"))
            row("FLAT: insert, flush, load", f"{time.monotonic() - began:.1f} s")
            began = time.monotonic()
            equal = n_equal(flat.query(queries, K), true)
            each_ms = 1_000 * (time.monotonic() - began) / N_QUERIES
            row(f"FLAT: {N_QUERIES} queries equal to exact search", f"{equal}, {each_ms:.0f} ms each")
            among = np.arange(args.rows // 20, args.rows, 13)
            filtered = n_equal(flat.query_among(queries[:20], K, among), Exact(vectors).query(queries[:20], K, among))
            row(f"FLAT: 20 queries among {len(among):,} rows", f"{filtered} equal")
            began = time.monotonic()
            hnsw = Milvus.build(vectors, MilvusParameters(uri=server.uri, alias="hnsw", index="HNSW"))
            row("HNSW: insert, build, load, choose the width", f"{time.monotonic() - began:.1f} s")
            recall = engine.recall(hnsw.query(queries, K), true)
            row(f"HNSW: recall of {N_QUERIES} other queries", f"{recall:.3f}, width {hnsw.parameters.width}")
            wrong = (N_QUERIES - equal) + (20 - filtered) + (recall < 0.98)
            wrong += kill_under_queries(server, flat, queries, true, args.kills, args.seed)
            wrong += switch_alias(server, Path(top) / "m", args.switches)
        finally:
            server.kill()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
