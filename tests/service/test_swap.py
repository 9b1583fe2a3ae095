"""A service under load switches to each new index without a dropped or wrong answer.

`exp/benchmarks/swap.py` measures how long a switch takes.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import serving
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
