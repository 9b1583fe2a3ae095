"""A service under load switches to each new index without a dropped or wrong answer.

`exp/benchmarks/swap.py` measures how long a switch takes.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import nginx
import numpy as np
import pytest
import requests
import serving
from postgres import PostgresServer
from serving import publish, running

from boiler.engine import normalize

DIM, N_ITEMS, K = 16, 300, 5
TAKEN_UP_WITHIN_S = 2.0


@dataclass
class ClientCounts:
    """What the clients counted."""

    answers: int = 0
    wrong: list[str] = field(default_factory=list)
    latest_s: dict[str, float] = field(
        default_factory=dict
    )  # by index: how long after its replacement it was last queried
    names: list[str] = field(default_factory=list)  # the index of each answer


class Indexes:
    """The published indexes, the times of their replacement, and their expected answers."""

    def __init__(self, model_dir: Path) -> None:
        self.model_dir = model_dir
        self.query = np.random.default_rng(99).normal(size=DIM).astype(np.float32)
        self.expected: dict[str, list[int]] = {}
        self.replaced_s: dict[str, float] = {}
        self.last = ""

    def publish(self, seed: int) -> None:
        """Publish an index with other vectors, so that each has other answers."""
        opened = publish(self.model_dir, N_ITEMS, DIM, seed)
        distances = np.linalg.norm(np.asarray(opened.vectors) - normalize(self.query), axis=1)
        self.expected[opened.name] = np.argsort(distances, kind="stable")[:K].tolist()
        self.replaced_s[self.last], self.last = time.monotonic(), opened.name


def send_queries(url: str, indexes: Indexes, stop: threading.Event, counts: ClientCounts) -> None:
    """Send the same query over one connection until `stop` is set."""
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)) as connection:
        _send_queries(connection, indexes, stop, counts)


def _send_queries(
    connection: http.client.HTTPConnection, indexes: Indexes, stop: threading.Event, counts: ClientCounts
) -> None:
    body = json.dumps({"embedding": indexes.query.tolist()})
    while not stop.is_set():
        began = time.monotonic()
        try:
            connection.request("POST", f"/nearest?k={K}", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            rows = json.loads(response.read())
        except (OSError, ValueError, http.client.HTTPException) as error:
            counts.wrong.append(f"dropped: {error!r}")
            return
        name = response.headers["x-boiler-generation"]
        counts.answers += 1
        counts.names.append(name)
        if name is None:
            counts.wrong.append(f"refused: {response.status} {rows}")
            return
        while name not in indexes.expected:  # its expected answer is still being computed
            time.sleep(0.001)
        if response.status != 200 or [row["n"] for row in rows] != indexes.expected[name]:
            counts.wrong.append(f"{name} answered {response.status} {[row['n'] for row in rows]}")
        if name in indexes.replaced_s:
            late_s = began - indexes.replaced_s[name]
            counts.latest_s[name] = max(counts.latest_s.get(name, 0.0), late_s)


def swapped_under_load(model_dir: Path, n_swaps: int, *, workers: int, clients: int, every_s: float) -> ClientCounts:
    """Publish `n_swaps` indexes while several clients query a service."""
    indexes = Indexes(model_dir)
    indexes.publish(0)
    command = ["uvicorn", "boiler.api.web:app", "--port", "0", "--workers", str(workers)]
    total = ClientCounts()
    with running(command, {"BOILER_MODEL_DIR": str(model_dir), "BOILER_LOG": "none"}, workers=workers) as server:
        stop = threading.Event()
        each = [ClientCounts() for _ in range(clients)]
        threads = [threading.Thread(target=send_queries, args=(server.url, indexes, stop, one)) for one in each]
        for thread in threads:
            thread.start()
        for seed in range(1, n_swaps + 1):
            time.sleep(every_s)
            indexes.publish(seed)
        deadline = time.monotonic() + serving.START_S
        before = [one.answers for one in each]
        # Until each client has got 50 answers after the last index was published.
        while any(one.answers < start + 50 for one, start in zip(each, before, strict=True) if not one.wrong):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(every_s)
        stop.set()
        for thread in threads:
            thread.join()
    for one in each:
        total.answers += one.answers
        total.wrong += one.wrong
        for name, late_s in one.latest_s.items():
            total.latest_s[name] = max(total.latest_s.get(name, 0.0), late_s)
    return total


@pytest.mark.slow
def test_no_answer_is_dropped_or_wrong_while_indexes_are_replaced_under_load(tmp_path: Path) -> None:
    counts = swapped_under_load(tmp_path / "m", 6, workers=2, clients=4, every_s=2.5)
    assert counts.wrong == []
    assert counts.answers > 200
    assert counts.latest_s  # indexes were replaced while clients queried


@pytest.mark.slow
def test_hosts_behind_nginx_take_up_new_indexes_one_by_one_without_a_wrong_answer(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    indexes = Indexes(tmp_path / "m")
    indexes.publish(0)
    command = ["boiler.cli.serve", "--port", "0", "--feedback_url", postgres_server.new_database()]
    environment = {"BOILER_MODEL_DIR": str(tmp_path / "m"), "BOILER_LOG": "none"}
    counts, later = ClientCounts(), ClientCounts()
    with (
        running(command, environment | {"BOILER_REFRESH_S": "0.1"}) as one,
        running(command, environment | {"BOILER_REFRESH_S": "2"}) as other,
        nginx.deployed(*(urlsplit(host.url).netloc for host in (one, other))) as url,
        requests.Session() as session,
    ):
        with querying(url, indexes, counts):
            for seed in range(1, 5):
                indexes.publish(seed)
                while any(
                    requests.get(f"{host.url}/health", timeout=60).json()["generation"] != indexes.last
                    for host in (one, other)
                ):
                    time.sleep(0.05)
        changes = sum(name != before for name, before in zip(counts.names[1:], counts.names, strict=False))
        assert changes > 4  # for some time one host answered from the new index, the other one from the old
        # Feedback given to either host is seen by both.
        body = {"query": {"n": 1}, "answer": 2, "like": True}
        ids = [session.post(f"{url}/feedback", json=body, timeout=60).json()["id"] for _ in range(2)]
        assert ids == [1, 2]
        assert {session.get(f"{host.url}/feedback", timeout=60).text.count("\n") for host in (one, other)} == {2}
        other.process.kill()
        other.process.wait()
        with querying(url, indexes, later):
            while later.answers < 100 and not later.wrong:
                time.sleep(0.01)
    assert counts.wrong + later.wrong == []


@contextmanager
def querying(url: str, indexes: Indexes, counts: ClientCounts) -> Iterator[None]:
    """A client that queries during the block."""
    stop = threading.Event()
    client = threading.Thread(target=send_queries, args=(url, indexes, stop, counts))
    client.start()
    try:
        yield
    finally:
        stop.set()
        client.join()
