"""GET /map: coordinates, compression, caching."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from serving import assert_matches, assert_problem, publish, refreshed_during
from starlette.testclient import TestClient
from wording import publish_with_words

from boiler.search.nearest import Nearest
from boiler.service.app import BoilerApp
from boiler.service.routes import map
from boiler.service.settings import Settings
from boiler.service.state import LatestCache


def test_coordinates_equal_those_of_nearest(client: TestClient, model_dir: Path) -> None:
    answer = assert_matches(client.get("/map"), map.MapResponse)
    drawn = Nearest(model_dir).map()
    assert drawn is not None
    assert answer["n"] == drawn.n.tolist()
    np.testing.assert_allclose(answer["x"], drawn.xy[:, 0], atol=1e-5)
    np.testing.assert_allclose(answer["y"], drawn.xy[:, 1], atol=1e-5)


def test_words_are_landmarks_where_the_index_has_them(client: TestClient, tmp_path: Path) -> None:
    assert client.get("/map").json()["landmarks"] == []
    publish_with_words(tmp_path / "index", np.eye(6, dtype=np.float32)[np.arange(60) % 6])
    with TestClient(BoilerApp(Settings(model_dir=tmp_path / "index", log="none"))) as words_client:
        answer = assert_matches(words_client.get("/map"), map.MapResponse)
    found = Nearest(tmp_path / "index").landmarks()
    assert [(one["name"], one["x"], one["n_items"]) for one in answer["landmarks"]] == [
        (one.name, one.x, one.n_items) for one in found
    ]
    assert {one.name for one in found} == {"dog", "bark", "rain", "rain on surface", "violin", "sneeze"}


def test_compressed_if_the_client_accepts_gzip(client: TestClient) -> None:
    packed = client.get("/map", headers={"Accept-Encoding": "gzip"})
    plain = client.get("/map", headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert int(packed.headers["content-length"]) < len(plain.content)
    assert packed.json() == plain.json()
    assert plain.headers["etag"] != packed.headers["etag"]
    refused = client.get("/map", headers={"Accept-Encoding": "gzip;q=0, identity"})
    assert "content-encoding" not in refused.headers
    with client.stream("GET", "/map", headers={"Accept-Encoding": "gzip"}) as response:
        raw = b"".join(response.iter_raw())
    assert json.loads(gzip.decompress(raw)) == plain.json()


def test_not_modified(client: TestClient) -> None:
    headers = {"Accept-Encoding": "identity"}
    etag = client.get("/map", headers=headers).headers["etag"]
    again = client.get("/map", headers={"If-None-Match": etag, **headers})
    assert (again.status_code, again.content) == (304, b"")


def test_map_is_of_the_generation_in_the_header(tmp_path: Path) -> None:
    """Also if a newer index is opened while the map is rendered."""
    publish(tmp_path / "model", 10, 8)
    with TestClient(BoilerApp(Settings(model_dir=tmp_path / "model", log="none", refresh_s=2))) as client:
        nearest = client.app.state.service.nearest  # type: ignore[attr-defined]
        refreshed_during(nearest, "map", lambda: publish(tmp_path / "model", 20, 8, seed=1))
        page = client.get("/map", headers={"Accept-Encoding": "identity"})
        assert len(page.json()["n"]) == 20
        assert page.headers["etag"] == f'"{page.json()["generation"]}-plain"'
        assert page.json()["generation"] == nearest.generation


def test_index_without_map_is_404(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Nearest, "map", lambda self: None)  # as of an index built before there were maps
    service = client.app.state.service  # type: ignore[attr-defined]
    monkeypatch.setattr(service, "map_cache", LatestCache())
    assert assert_problem(client.get("/map"), 404) == "no-map"
