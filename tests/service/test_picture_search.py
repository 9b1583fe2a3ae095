"""Search with a picture over HTTP."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pretrained_files import write_efficientnet
from serving import assert_problem
from starlette.testclient import TestClient
from wording import publish_with_words

from boiler.crossmodal.picture_query import SeenPicture
from boiler.search.context import SearchContext
from boiler.service import schemas
from boiler.service.app import BoilerApp
from boiler.service.settings import Settings
from boiler.vision import frame_pool


def png(width: int = 60, height: int = 40) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (width, height), "orange").save(data, "PNG")
    return data.getvalue()


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model_dir = tmp_path_factory.mktemp("pictures") / "index"
    publish_with_words(model_dir, np.eye(6, dtype=np.float32)[np.arange(30) % 6])
    write_efficientnet(model_dir.parent / "net.safetensors", ["violin", "hound, dog"], 1)
    return model_dir


@pytest.fixture(scope="module")
def client(model_dir: Path) -> Iterator[TestClient]:
    settings = Settings(model_dir=model_dir, image_model=model_dir.parent / "net.safetensors", log="none")
    with TestClient(BoilerApp(settings), raise_server_exceptions=False) as client:
        yield client


def test_what_a_picture_shows_finds_sounds_and_is_said(client: TestClient) -> None:
    response = client.post("/nearest/picture?k=4", files={"file": png()})
    assert response.status_code == 200, response.text
    answer = schemas.QueryResponse.model_validate_json(response.text)
    assert [row.n % 6 for row in answer.results] == [0] * 4
    (understood,) = answer.understood
    assert understood.seen[0].name == "hound"
    assert understood.wanted_classes[0].name == "dog"
    assert answer.results[0].words[0].name == "dog"


def query(
    client: TestClient, *seeds: dict[str, object], files: dict[str, bytes] | None = None, **options: object
) -> Any:
    body = {"seeds": seeds, "k": 3, **options}
    if files is None:
        return client.post("/nearest/query", json=body)
    return client.post("/nearest/query", data={"query": json.dumps(body)}, files=files)


def test_pictures_words_and_sounds_are_seeds_together_and_filters_count(client: TestClient) -> None:
    rain, where = {"text": "rain -violin", "weight": 0.1}, {"n": {">": 10}}
    in_base64 = {"picture": base64.b64encode(png()).decode()}
    responses = [
        query(client, in_base64, rain, {"n": 12, "weight": 0.1}, where=where),
        query(client, {"upload": "photo"}, rain, {"n": 12, "weight": 0.1}, files={"photo": png()}, where=where),
    ]
    answers = [schemas.QueryResponse.model_validate_json(response.text) for response in responses]
    assert answers[0] == answers[1]
    assert [row.n for row in answers[0].results[:2]] == [18, 24]  # without 12, which is a seed
    picture, words = answers[0].understood
    assert (picture.seen[0].name, picture.wanted_classes[0].name) == ("hound", "dog")
    assert (words.wanted, words.unwanted, words.seen) == (["rain"], ["violin"], [])
    away = query(client, {"text": "rain"}, in_base64 | {"weight": -1.0}).json()["results"]
    assert [row["n"] % 6 for row in away] == [2] * 3
    batch = {"queries": [in_base64, {"text": "violin"}], "k": 2}
    lists = client.post("/nearest/batch", json=batch).json()["results"]
    assert [[row["n"] % 6 for row in rows] for rows in lists] == [[0, 0], [4, 4]]


def test_large_pictures_are_scaled_down(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes, see = [], SearchContext.seen

    def seen(context: SearchContext, picture: np.ndarray) -> SeenPicture:
        shapes.append(picture.shape)
        return see(context, picture)

    monkeypatch.setattr(SearchContext, "seen", seen)
    assert client.post("/nearest/picture", files={"file": png(1_024, 100)}).status_code == 200
    assert shapes == [(50, 512, 3)]


def test_seeds_that_are_no_pictures_are_problems(client: TestClient) -> None:
    assert "/seeds/0/picture" in query(client, {"picture": "?"}).text
    assert assert_problem(query(client, {"picture": "AAAA"}), 422) == "unreadable-picture"
    assert assert_problem(query(client, {"upload": "a"}, files={"a": png()[:60]}), 422) == "unreadable-picture"
    assert "give one of" in query(client, {"picture": "AAAA", "text": "dog"}).json()["detail"]
    assert "at most 8 sounds and pictures" in query(client, *[{"picture": "AAAA"}] * 9).json()["detail"]
    like = {"query": {"picture": base64.b64encode(png()).decode()}, "answer": 2, "like": True}
    assert_problem(client.post("/feedback", json=like), 422)


def test_what_is_no_picture_is_a_problem(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert assert_problem(client.post("/nearest/picture", files={"file": b"text"}), 422) == "unreadable-picture"
    assert_problem(client.post("/nearest/picture", content=png()), 415)
    assert_problem(client.post("/nearest/picture?k=0", files={"file": png()}), 422)
    monkeypatch.setattr(frame_pool, "MAX_UPLOAD_PIXELS", 1_000)
    response = client.post("/nearest/picture", files={"file": png(50, 21)})
    assert assert_problem(response, 422) == "unreadable-picture"
    assert "1,000 are allowed" in response.json()["detail"]


def test_a_service_without_a_network_says_so(model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    app = BoilerApp(Settings(model_dir=model_dir, log="none"))
    with TestClient(app, raise_server_exceptions=False) as client:
        alone = client.post("/nearest/picture", files={"file": png()})
        seed = query(client, {"text": "dog"}, {"upload": "a"}, files={"a": png()})
        batch = {"queries": [{"picture": base64.b64encode(png()).decode()}]}
        for response in (alone, seed, client.post("/nearest/batch", json=batch)):
            assert assert_problem(response, 422) == "no-image-model"
            assert str(tmp_path) not in response.text


def test_a_network_that_may_not_be_run_is_as_none(model_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "net.pt"  # code, whose hash a service is not given
    file.write_bytes(b"")
    file.with_suffix(".txt").write_text("dog\n")
    with TestClient(
        BoilerApp(Settings(model_dir=model_dir, image_model=file, log="none")), raise_server_exceptions=False
    ) as client:
        response = client.post("/nearest/picture", files={"file": png()})
    assert assert_problem(response, 422) == "no-image-model"
