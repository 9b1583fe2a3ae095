"""Search in words over HTTP: alone, and among the seeds of a query."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from serving import assert_problem
from starlette.testclient import TestClient
from wording import publish_with_words

from boiler.service import schemas
from boiler.service.app import BoilerApp
from boiler.service.settings import Settings


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    model_dir = tmp_path_factory.mktemp("words") / "index"
    publish_with_words(model_dir, np.eye(6, dtype=np.float32)[np.arange(30) % 6])
    with TestClient(BoilerApp(Settings(model_dir=model_dir, log="none")), raise_server_exceptions=False) as client:
        yield client


def test_words_find_sounds_and_what_was_understood_is_said(client: TestClient) -> None:
    response = client.post("/nearest/text", json={"text": "hound -violin barkign", "k": 4})
    assert response.status_code == 200
    answer = schemas.QueryResponse.model_validate_json(response.text)
    assert [row.n % 6 for row in answer.results] == [0] * 4
    assert answer.results[0].words[0].name == "dog"
    (understood,) = answer.understood
    assert (understood.wanted, understood.unwanted) == (["hound"], ["violin"])
    assert understood.unknown == {"barkign": ["barking"]} or "barking" in understood.unknown["barkign"]
    assert understood.wanted_classes[0].name == "dog"
    assert understood.unwanted_classes[0].name == "violin"


def test_words_are_seeds_among_others(client: TestClient) -> None:
    seeds = [{"text": "rain"}, {"n": 3, "weight": 0.1}]
    body = {"seeds": seeds, "k": 3, "where": {"n": {">": 10}}}
    answer = schemas.QueryResponse.model_validate_json(client.post("/nearest/query", json=body).text)
    assert {row.n % 6 for row in answer.results} == {2}
    assert all(row.n > 10 for row in answer.results)
    batch = client.post("/nearest/batch", json={"queries": [{"text": "violin"}, {"n": 0}], "k": 2}).json()["results"]
    assert [row["n"] % 6 for row in batch[0]] == [4, 4]


@pytest.mark.parametrize("body", [{}, {"text": ""}, {"text": "xyzzyx"}, {"text": "dog", "k": 0}, {"text": "x" * 501}])
def test_what_cannot_be_searched_with_is_a_problem(client: TestClient, body: dict[str, object]) -> None:
    assert_problem(client.post("/nearest/text", json=body), 422)


def test_likes_need_a_sound(client: TestClient) -> None:
    body = {"query": {"text": "dog"}, "answer": 2, "like": True}
    assert_problem(client.post("/feedback", json=body), 422)


def test_an_index_without_words_says_so(tmp_path: Path) -> None:
    from serving import publish

    publish(tmp_path / "index")
    with TestClient(BoilerApp(Settings(model_dir=tmp_path / "index", log="none"))) as client:
        response = client.post("/nearest/text", json={"text": "dog"})
        assert_problem(response, 422)
        assert "cannot be searched in words" in response.json()["detail"]
