"""The service keeps looking for newer indexes after errors."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from serving import START_S, publish
from starlette.testclient import TestClient

from boiler.service.app import BoilerApp
from boiler.service.settings import Settings


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
        assert "Input/output error" in client.get("/health").text
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
