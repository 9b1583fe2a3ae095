"""GET /duplicates."""

from __future__ import annotations

from pathlib import Path

from serving import assert_matches, assert_problem, publish, refreshed_during
from starlette.testclient import TestClient

from boiler.service.app import BoilerApp
from boiler.service.routes import duplicates
from boiler.service.settings import Settings


def test_copies_are_one_group(client: TestClient) -> None:
    answer = assert_matches(client.get("/duplicates?max_distance=0.01"), duplicates.DuplicatesResponse)
    assert answer["total"] == 1
    assert "copy.wav" in answer["groups"][0]["ids"]
    assert answer["groups"][0]["max_distance"] < 1e-3
    assert answer["groups"][0]["widest"] == answer["groups"][0]["max_distance"]


def test_old_name_of_max_distance(client: TestClient) -> None:
    old, new, default = (
        client.get(f"/duplicates?{query}").json() for query in ("nearer_than=1.9", "max_distance=1.9", "limit=50")
    )
    assert old == new != default


def test_pages(client: TestClient) -> None:
    assert client.get("/duplicates?max_distance=0.01&offset=1").json()["groups"] == []
    assert assert_problem(client.get("/duplicates?max_distance=2.5"), 422) == "invalid-request"


def test_groups_are_of_the_generation_in_the_header(tmp_path: Path) -> None:
    """Also if a newer index is opened during the search."""
    publish(tmp_path / "model", 10, 8)
    with TestClient(BoilerApp(Settings(model_dir=tmp_path / "model", log="none", refresh_s=2))) as client:
        nearest = client.app.state.service.nearest  # type: ignore[attr-defined]
        refreshed_during(nearest, "duplicates", lambda: publish(tmp_path / "model", 30, 8, seed=2))
        answer = client.get("/duplicates?max_distance=2").json()
        assert answer["generation"] == nearest.generation
        assert sum(len(group["ids"]) for group in answer["groups"]) == 30
