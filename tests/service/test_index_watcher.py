"""The service keeps looking for newer indexes after errors."""

from __future__ import annotations

import re
import shutil
import time
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from serving import START_S, publish
from starlette.testclient import TestClient

from boiler.service.app import BoilerApp
from boiler.service.settings import Settings
from boiler.service.state import Retries


def test_watcher_survives_a_failing_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    publish(tmp_path / "model", 10, 8)
    metrics, hidden = tmp_path / "metrics", tmp_path / "hidden"
    metrics.mkdir()
    settings = Settings(model_dir=tmp_path / "model", metrics_dir=metrics, refresh_s=0.05, log="none")
    with TestClient(BoilerApp(settings)) as client:
        service = client.app.state.service  # type: ignore[attr-defined]
        original = service.nearest.refresh
        calls: list[str] = []

        def failing() -> bool:
            calls.append("failed")
            raise OSError(5, "Input/output error")

        service.nearest.refresh = failing
        shutil.move(metrics, hidden)
        deadline = time.monotonic() + START_S
        while len(calls) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert (
            client.get("/health").json()["refused"].endswith("cannot be opened (OSError); the service's log says why")
        )
        assert "Input/output error" in caplog.text
        service.nearest.refresh = original
        made = publish(tmp_path / "model", 20, 8, seed=1)
        while client.get("/model").json()["generation"] != made.name:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert "cannot be shared" in caplog.text
        shutil.move(hidden, metrics)
        while not any(b'"items":20' in file.read_bytes() for file in metrics.glob("*.json")):
            assert time.monotonic() < deadline
            time.sleep(0.01)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + START_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    publish(tmp_path / "model", 10, 8)
    with TestClient(BoilerApp(Settings(model_dir=tmp_path / "model", refresh_s=0.05, log="none"))) as client:
        yield client


def damage(file: Path) -> None:
    """Overwrite all but the beginning, in the copy of a generation that nobody has opened."""
    data = file.read_bytes()
    file.write_bytes(data[:4096] + b"\xaa" * (len(data) - 4096))


def test_damaged_index_is_refused_and_the_next_one_opened(client: TestClient, tmp_path: Path) -> None:
    model_dir, first = tmp_path / "model", client.get("/health").json()["generation"]
    # Published elsewhere, damaged there, and then made current, as a copy over a bad network does.
    other = tmp_path / "other"
    for n_items in (10, 30):
        made = publish(other, n_items, 8, seed=2)
    damage(made.path / "meta.sqlite")
    shutil.copytree(made.path, model_dir / "versions" / made.name)
    (model_dir / "current").unlink()
    (model_dir / "current").symlink_to(f"versions/{made.name}")
    wait_until(lambda: client.get("/health").json()["refused"])
    health = client.get("/health").json()
    assert (health["generation"], health["n_items"]) == (first, 10)
    assert health["refused"] == f"the index {made.name} is damaged; the service's log says why"
    assert client.get("/items/3").status_code == client.get("/readyz").status_code == 200
    assert re.search(r"^boiler_indexes_refused_total [1-9]", client.get("/metrics").text, re.MULTILINE)
    newest = publish(model_dir, 20, 8, seed=1)
    wait_until(lambda: client.get("/health").json()["generation"] == newest.name)
    wait_until(lambda: client.get("/health").json()["refused"] is None)  # said a moment later


def test_watcher_survives_any_exception(client: TestClient, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    service = client.app.state.service  # type: ignore[attr-defined]

    def failing() -> bool:
        del service.nearest.refresh
        raise tokenize.TokenError("unexpected end of a header")

    service.nearest.refresh = failing
    wait_until(lambda: client.get("/health").json()["refused"])
    assert str(tmp_path) not in client.get("/health").text
    assert "unexpected end of a header" in caplog.text
    newest = publish(tmp_path / "model", 20, 8, seed=1)
    wait_until(lambda: client.get("/health").json()["generation"] == newest.name)


def test_service_that_starts_with_a_damaged_index_serves_the_last_good_one_and_says_so(tmp_path: Path) -> None:
    good, bad = (publish(tmp_path / "model", n_items, 8) for n_items in (10, 20))
    damage(bad.path / "meta.sqlite")
    with TestClient(BoilerApp(Settings(model_dir=tmp_path / "model", refresh_s=0.05, log="none"))) as client:
        for _ in range(3):
            health = client.get("/health").json()
            assert health["generation"] == good.name
            assert health["refused"] == f"the index {bad.name} is damaged; the service's log says why"
            time.sleep(0.1)


def test_refused_index_is_tried_again_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr("boiler.service.state.time.monotonic", lambda: now_s)
    retries, tried = Retries(1.0, longest_s=4.0), []
    for _ in range(20):
        if retries.is_due("a"):
            tried.append(now_s - 100)
            retries.failed("a")
        now_s += 1
    assert tried == [0, 1, 3, 7, 11, 15, 19]
    assert retries.is_due("b")
    retries.succeeded()
    assert retries.is_due("a")


def test_health_says_whether_the_sounds_are_there(client: TestClient, tmp_path: Path) -> None:
    assert client.get("/health").json()["sounds"] == "missing"
    (tmp_path / "sounds").mkdir()
    settings = Settings(model_dir=tmp_path / "model", wav_dir=tmp_path / "sounds", refresh_s=0.05, log="none")
    with TestClient(BoilerApp(settings)) as with_sounds:
        assert with_sounds.get("/health").json()["sounds"] == "available"
        (tmp_path / "sounds").rmdir()
        wait_until(lambda: with_sounds.get("/health").json()["sounds"] == "missing")
