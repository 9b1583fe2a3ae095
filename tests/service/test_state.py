"""The state of a worker: what takes long has its own thread, and searches by vector do not wait for it."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from serving import publish
from starlette.testclient import TestClient

from boiler.service import requests, state
from boiler.service.app import BoilerApp
from boiler.service.settings import Settings

DIM = 8
VECTOR = [1.0] * DIM
LONG = {"content": json.dumps({"embedding": VECTOR}).ljust(requests.MAX_BODY_ON_LOOP + 1)}
JSON = {"headers": {"Content-Type": "application/json"}}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("state") / "model"
    publish(folder, 150, DIM)
    return folder


@pytest.fixture
def client(model_dir: Path) -> Iterator[TestClient]:
    app = BoilerApp(Settings(model_dir=model_dir, log="none", max_queued=100))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


HEAVY: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/nearest/query", {"json": {"seeds": [{"n": 1}]}}),
    ("POST", "/nearest/batch", {"json": {"queries": [{"n": 1}]}}),
    ("POST", f"/nearest?k={state.MAX_K_ON_LOOP + 1}", {"json": {"embedding": VECTOR}}),
    ("POST", "/nearest", LONG | JSON),
    ("GET", "/items?limit=1000", {}),
    ("GET", "/items/1/nearest", {}),
]


def test_searches_by_vector_and_probes_do_not_wait_for_heavy_requests(client: TestClient) -> None:
    service = client.app.state.service  # type: ignore[attr-defined]
    begun, release = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        assert release.wait(60)

    with ThreadPoolExecutor(len(HEAVY) + 1) as pool:
        holding = pool.submit(client.portal.call, service.run_heavy, hold)  # type: ignore[union-attr]
        assert begun.wait(60)
        waiting = [pool.submit(client.request, method, path, **more) for method, path, more in HEAVY]
        for _ in range(3):
            assert len(client.post("/nearest?k=100", json={"embedding": VECTOR}).json()) == 100
            assert client.get("/livez").status_code == 200
        assert [one.done() for one in waiting] == [False] * len(HEAVY)
        release.set()
        holding.result(60)
        assert [one.result(60).status_code for one in waiting] == [200] * len(HEAVY)


def test_large_and_small_bodies_are_answered_alike(client: TestClient) -> None:
    small = client.post("/nearest", json={"embedding": VECTOR})
    assert client.post("/nearest", **LONG, **JSON).json() == small.json()
    assert client.post("/nearest?k=101", json={"embedding": VECTOR}).json()[:10] == small.json()
    wrong = client.post("/nearest", content=b"[" * 70_000, **JSON)
    assert (wrong.status_code, wrong.json()["type"]) == (422, "urn:boiler:problem:invalid-json")


def test_the_first_of_many_faults_is_reported(client: TestClient) -> None:
    many = {"seeds": [{"n": "x"}] * 90, "without": ["x"] * 5_000}
    problem = client.post("/nearest/query", json=many).json()
    assert [one["pointer"] for one in problem["errors"]] == ["/seeds/0/n", "/without/0"]
    vector = client.post("/nearest", json={"embedding": ["x"] * 10_000}).json()
    assert [one["pointer"] for one in vector["errors"]] == ["/embedding/0"]


def test_threads_switch_quickly_while_the_service_runs(model_dir: Path) -> None:
    before = sys.getswitchinterval()
    with TestClient(BoilerApp(Settings(model_dir=model_dir, log="none"))):
        assert sys.getswitchinterval() == pytest.approx(state.SWITCH_INTERVAL_S)
    assert sys.getswitchinterval() == before
