"""CPU time and latency of a request: boiler's service, a plain one and an empty route, loaded by wrk on loopback.

    python -m exp.benchmarks.service --seconds 1 --rounds 7

Three services answer the same queries (12 neighbours of a vector of 64, 10,000 rows): `boiler serve` with keys, metrics
and access log on (also without each of them, and run by uvicorn directly); a minimal FastAPI service (async def, annoy
with 100 trees and its default search_k, list of dicts, asyncio and h11); and an empty FastAPI route, the overhead of the
framework. All are started first and then loaded in short turns over many rounds, so that changes in the speed of the
machine affect all of them; a figure is the median over rounds, a ratio the median of the ratios within a round. CPU time
is that of the service's processes in /proc, divided by the requests that wrk counted. wrk must be installed; nothing
else should run on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from boiler.store import generation
from boiler.store.generation import Header, Item, rows_of
from exp.common.loopback import Running, running
from exp.common.process_monitor import processor_s, tree

ROWS, DIM, K = 10_000, 64, 12
KEY = "benchmark-0123456789"

LUA = """
local bodies = {}
for line in io.lines("%s") do bodies[#bodies + 1] = line end
local at = 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["X-API-Key"] = "%s"
request = function()
  at = at %% #bodies + 1
  return wrk.format(nil, "/nearest?k=12", nil, bodies[at])
end
"""

PLAIN = """
import json, os
from annoy import AnnoyIndex
from fastapi import FastAPI
from pydantic import BaseModel
app = FastAPI()
index = AnnoyIndex(64, "angular")
index.load(os.environ["BENCH_ANNOY"])
items = json.load(open(os.environ["BENCH_ITEMS"]))
class Query(BaseModel):
    embedding: list[float]
@app.post("/nearest")
async def nearest(query: Query, k: int = 10) -> list[dict]:
    numbers, distances = index.get_nns_by_vector(query.embedding, k, include_distances=True)
    return [{**items[n], "distance": d, "similarity": 1 - d * d / 2} for n, d in zip(numbers, distances)]
"""

EMPTY = """
from fastapi import FastAPI
app = FastAPI()
@app.post("/nearest")
async def nearest():
    return {}
"""


def prepare(folder: Path) -> None:
    """Write a model directory of clustered vectors, an annoy index with 100 trees, the queries, and both other services."""
    import annoy

    random = np.random.default_rng(0)
    centres = random.normal(size=(200, DIM))
    vectors = centres[random.integers(200, size=ROWS)] + 0.7 * random.normal(size=(ROWS, DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    items = [
        Item(n, f"kind{n % 50}/sound{n:05}.wav", url=f"https://example.org/{n}", label=f"kind{n % 50}")
        for n in range(ROWS)
    ]
    generation.publish(folder / "model", Header(encoder="random", dim=DIM), vectors, rows_of(np.arange(ROWS)), items)
    index = annoy.AnnoyIndex(DIM, "angular")
    index.set_seed(1)
    for n, vector in enumerate(vectors):
        index.add_item(n, vector)
    index.build(100)
    index.save(str(folder / "annoy"))
    rows = [
        {"id": one.id, "n": one.n, "url": one.url, "label": one.label, "start_s": 0.0, "end_s": 8.192} for one in items
    ]
    (folder / "items.json").write_text(json.dumps(rows))
    queries = vectors[random.integers(ROWS, size=500)] + 0.05 * random.normal(size=(500, DIM))
    (folder / "bodies").write_text(
        "".join(json.dumps({"embedding": query.round(6).tolist()}) + "\n" for query in queries)
    )
    (folder / "load.lua").write_text(LUA % (folder / "bodies", KEY))
    (folder / "plain.py").write_text(PLAIN)
    (folder / "empty.py").write_text(EMPTY)


def services(folder: Path) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Name, command without workers and port, environment."""
    base = {"BOILER_MODEL_DIR": str(folder / "model")}
    full = base | {"BOILER_API_KEYS": f"read:{KEY}"}
    serve = ["boiler.cli.serve", str(folder / "model")]
    app_dir = ["--app-dir", str(folder)]
    return {
        "boiler": (serve, full),
        "boiler, bare uvicorn": (["uvicorn", "boiler.api.web:app", "--no-access-log"], full),
        "boiler, no keys": (serve, base),
        "boiler, no metrics": (serve, full | {"BOILER_METRICS": "0"}),
        "boiler, no log": (serve, full | {"BOILER_LOG": "none"}),
        "plain": (
            ["uvicorn", "plain:app", "--loop", "asyncio", "--http", "h11", *app_dir],
            {"BENCH_ANNOY": str(folder / "annoy"), "BENCH_ITEMS": str(folder / "items.json")},
        ),
        "empty route": (["uvicorn", "empty:app", "--no-access-log", *app_dir], {}),
    }


def load(port: int, folder: Path, connections: int, seconds: int) -> tuple[int, float, float, float]:
    """Load the service with wrk; return requests, requests per second, p50 and p99 in ms."""
    output = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(folder / "load.lua"), f"http://127.0.0.1:{port}"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"not every request was answered:\n{output}")
    per_s = {"us": 1e-3, "ms": 1.0, "s": 1e3}

    def quantile(name: str) -> float:
        match = re.search(rf"{name}%\s+([\d.]+)(us|ms|s)", output)
        assert match is not None
        return float(match[1]) * per_s[match[2]]

    requests = re.search(r"(\d+) requests in", output)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", output)
    assert requests is not None
    assert rate is not None
    return int(requests[1]), float(rate[1]), quantile("50"), quantile("99")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=1, help="duration of each turn in seconds")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", nargs="+", help="measure only these services")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    figures = []
    with tempfile.TemporaryDirectory(prefix="boiler-bench-") as made:
        folder = Path(made)
        prepare(folder)
        chosen = {name: one for name, one in services(folder).items() if not args.only or name in args.only}
        print(
            f"{'service':<22}{'workers':>8}{'conns':>7}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'cpu us/req':>12}{'of plain':>10}{'of empty':>10}"
        )
        for workers in args.workers:
            with ExitStack() as stack:
                ready = {
                    name: stack.enter_context(running([*command, "--workers", str(workers)], environment))
                    for name, (command, environment) in chosen.items()
                }
                for service in ready.values():
                    load(service.port, folder, 8, 1)  # warm-up
                for connections in args.connections:
                    turns: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in ready}
                    for _ in range(args.rounds):
                        for name, service in ready.items():
                            turns[name].append(turn(service, folder, connections, args.seconds))
                    for name in ready:
                        figures.append(
                            {"service": name, "workers": workers, "connections": connections, **summary(turns, name)}
                        )
                        print(line(figures[-1]), flush=True)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(
            json.dumps({"rows": ROWS, "dim": DIM, "k": K, "load": os.getloadavg(), "figures": figures}, indent=1) + "\n"
        )
    return 0


def turn(service: Running, folder: Path, connections: int, seconds: int) -> tuple[float, float, float, float]:
    """Load the service once; return requests per second, p50 and p99 in ms, and CPU microseconds per request."""
    before = processor_s(tree(service.pid))
    requests, rate, p50_ms, p99_ms = load(service.port, folder, connections, seconds)
    return rate, p50_ms, p99_ms, (processor_s(tree(service.pid)) - before) / requests * 1e6


def summary(turns: dict[str, list[tuple[float, float, float, float]]], name: str) -> dict[str, float]:
    """Medians over the rounds, and medians of the ratios of CPU time within each round."""
    rate, p50_ms, p99_ms, cpu_us = (statistics.median(column) for column in zip(*turns[name], strict=True))
    of = {
        f"of_{short}": statistics.median(
            own[3] / other[3] for own, other in zip(turns[name], turns[whole], strict=True)
        )
        for short, whole in (("plain", "plain"), ("empty", "empty route"))
        if whole in turns
    }
    return {"requests_per_s": rate, "p50_ms": p50_ms, "p99_ms": p99_ms, "cpu_us": round(cpu_us, 1), **of}


def line(one: dict[str, Any]) -> str:
    ratios = "".join(f"{one[name]:>10.2f}" if name in one else f"{'':>10}" for name in ("of_plain", "of_empty"))
    return (
        f"{one['service']:<22}{one['workers']:>8}{one['connections']:>7}{one['requests_per_s']:>9.0f}{one['p50_ms']:>9.2f}"
        f"{one['p99_ms']:>9.2f}{one['cpu_us']:>12.0f}{ratios}"
    )


if __name__ == "__main__":
    sys.exit(main())
