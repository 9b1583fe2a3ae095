"""GET /path."""

from __future__ import annotations

from serving import assert_matches, assert_problem
from starlette.testclient import TestClient

from boiler.service.routes import paths


def test_path_has_the_steps_without_its_ends(client: TestClient) -> None:
    answer = assert_matches(client.get("/path?from_n=1&to_n=5&steps=4"), paths.PathResponse)
    numbers = [row["n"] for row in answer["results"]]
    assert len(set(numbers)) == 4
    assert not {1, 5} & set(numbers)


def test_number_of_steps_is_limited(client: TestClient) -> None:
    assert client.get(f"/path?from_n=1&to_n=5&steps={paths.MAX_STEPS}").status_code == 200
    for steps in (0, paths.MAX_STEPS + 1):
        assert assert_problem(client.get(f"/path?from_n=1&to_n=5&steps={steps}"), 422) == "invalid-request"
