"""Routes of feedback: effect on queries, undoing, errors, scopes, old field names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from postgres import PostgresServer
from pydantic import SecretStr
from serving import assert_problem, publish
from starlette.testclient import TestClient

from boiler.service.app import BoilerApp
from boiler.service.settings import Settings


def add_feedback(client: TestClient, **values: Any) -> Any:
    return client.post("/feedback", json={"query": {"n": 1}, "answer": 2, "like": False} | values)


def query(client: TestClient, **values: Any) -> list[int]:
    """The numbers of the results of a query."""
    response = client.post("/nearest/query", json={"seeds": [{"n": 1}], "k": 5} | values)
    return [row["n"] for row in response.json()["results"]]


def test_feedback_changes_the_results_until_it_is_undone(client: TestClient) -> None:
    before = query(client)
    added = add_feedback(client, answer=before[0], user="ann")
    assert added.status_code == 201
    assert before[0] not in query(client)
    assert query(client, feedback=False) == before
    assert query(client, user="bob") == before
    lines = [json.loads(line) for line in client.get("/feedback").text.splitlines()]
    assert (lines[-1]["judgement"], lines[-1]["like"], lines[-1]["user"]) == (added.json()["id"], False, "ann")
    assert client.delete(f"/feedback/{added.json()['id']}").status_code == 204
    assert query(client) == before
    assert assert_problem(client.delete(f"/feedback/{added.json()['id']}"), 404) == "unknown-judgement"
    assert json.loads(client.get("/feedback").text.splitlines()[-1])["undone_at"]


def test_invalid_feedback(client: TestClient) -> None:
    assert assert_problem(add_feedback(client, answer=9999), 404) == "unknown-item"
    assert assert_problem(add_feedback(client, query={}), 422) == "invalid-request"
    assert assert_problem(add_feedback(client, like="yes"), 422) == "invalid-request"
    assert assert_problem(add_feedback(client, user=""), 422) == "invalid-request"
    assert assert_problem(client.delete("/feedback/0"), 422) == "invalid-request"
    assert assert_problem(client.delete("/feedback/..%2f..%2fetc"), 404) == "not-found"


def test_old_field_names_are_accepted(client: TestClient) -> None:
    before = query(client)
    old = {"question": {"n": 1}, "answer": before[0], "like": False, "who": "cid"}
    added = client.post("/feedback", json=old)
    assert added.status_code == 201
    line = json.loads(client.get("/feedback").text.splitlines()[-1])
    assert line["user"] == line["who"] == "cid"
    assert query(client, who="bob") == before
    assert query(client, who="cid") == query(client, user="cid") != before
    client.delete(f"/feedback/{added.json()['id']}")


@pytest.mark.parametrize("both", [{"question": {"n": 1}}, {"user": "ann", "who": "bob"}])
def test_old_and_new_name_together_are_refused(client: TestClient, both: dict[str, Any]) -> None:
    refused = add_feedback(client, **both)
    assert assert_problem(refused, 422) == "invalid-request"
    assert "old name of" in refused.json()["detail"]


def test_scopes(model_dir: Path) -> None:
    keys = {scope: f"{scope}-0123456789abcdef" for scope in ("read", "feedback", "admin")}
    settings = Settings(
        model_dir=model_dir, log="none", api_keys=tuple(SecretStr(f"{scope}:{key}") for scope, key in keys.items())
    )
    with TestClient(BoilerApp(settings)) as client:

        def status(method: str, path: str, scope: str | None) -> int:
            headers = {} if scope is None else {"X-API-Key": keys[scope]}
            body = {"query": {"n": 1}, "answer": 2, "like": True} if method == "POST" else None
            return client.request(method, path, json=body, headers=headers).status_code

        table = {
            ("POST", "/feedback"): {None: 401, "read": 403, "feedback": 201, "admin": 201},
            ("DELETE", "/feedback/999999"): {None: 401, "read": 403, "feedback": 404, "admin": 404},
            ("GET", "/feedback"): {None: 401, "read": 403, "feedback": 403, "admin": 200},
        }
        for (method, path), expected in table.items():
            for scope, code in expected.items():
                assert status(method, path, scope) == code, (method, path, scope)


def test_only_admins_undo_the_feedback_of_others(model_dir: Path) -> None:
    feedback, admin = "feedback-0123456789abcdef", "admin-0123456789abcdef"
    other = "feedback-fedcba9876543210"
    keys = (SecretStr(f"feedback:{feedback}"), SecretStr(f"feedback:{other}"), SecretStr(f"admin:{admin}"))
    with TestClient(BoilerApp(Settings(model_dir=model_dir, log="none", api_keys=keys))) as client:
        client.headers["X-API-Key"] = feedback
        of_ann, of_bob, of_nobody = (add_feedback(client, user=user).json()["id"] for user in ("ann", "bob", None))

        def undo(id: int, **params: str) -> int:
            return client.delete(f"/feedback/{id}", params=params).status_code

        # A name proves nothing: what counts is the key.
        client.headers["X-API-Key"] = other
        assert [undo(of_ann), undo(of_ann, user="ann"), undo(of_nobody)] == [404] * 3
        client.headers["X-API-Key"] = feedback
        assert [undo(of_ann, user="bob"), undo(of_nobody, user="ann")] == [404] * 2
        assert [undo(of_ann, user="ann"), undo(of_nobody)] == [204] * 2
        client.headers["X-API-Key"] = admin
        assert [undo(of_bob, user="ann"), undo(of_bob)] == [404, 204]


def test_feedback_is_bounded(tmp_path: Path) -> None:
    publish(tmp_path / "model", 10, 8)
    settings = Settings(model_dir=tmp_path / "model", log="none", max_feedback=2)
    with TestClient(BoilerApp(settings), raise_server_exceptions=False) as client:
        ids = [add_feedback(client).json()["id"] for _ in range(2)]
        assert assert_problem(add_feedback(client), 503) == "feedback-error"
        assert client.delete(f"/feedback/{ids[0]}").status_code == 204  # undone ones are kept, so they count, too
        assert assert_problem(add_feedback(client), 503) == "feedback-error"
        assert len(client.get("/feedback").text.splitlines()) == 2


@pytest.mark.slow
def test_the_file_of_feedback_is_bounded_in_bytes(tmp_path: Path) -> None:
    publish(tmp_path / "model", 10, 8)
    settings = Settings(model_dir=tmp_path / "model", log="none", max_feedback_bytes=40_000)
    with TestClient(BoilerApp(settings), raise_server_exceptions=False) as client:
        codes = [add_feedback(client, user="u" * 200).status_code for _ in range(200)]
        assert codes[0] == 201
        assert codes[-1] == 503
        assert 30_000 < (tmp_path / "model" / "feedback.sqlite").stat().st_size <= 40_000
        assert client.get("/feedback").status_code == 200


def test_unusable_feedback_file_is_reported_without_its_path(tmp_path: Path) -> None:
    publish(tmp_path / "model", 10, 8)
    (tmp_path / "model" / "feedback.sqlite").write_bytes(os.urandom(8192))
    settings = Settings(model_dir=tmp_path / "model", log="none")
    with TestClient(BoilerApp(settings), raise_server_exceptions=False) as client:
        for response in (add_feedback(client), client.get("/feedback")):
            assert assert_problem(response, 503) == "feedback-error"
            assert str(tmp_path) not in response.text


def test_two_hosts_share_feedback_in_postgresql(tmp_path: Path, postgres_server: PostgresServer) -> None:
    publish(tmp_path / "model", 10, 8)
    url = SecretStr(postgres_server.new_database())
    settings = Settings(model_dir=tmp_path / "model", log="none", feedback_url=url, max_feedback=2)
    with (
        TestClient(BoilerApp(settings), raise_server_exceptions=False) as one,
        TestClient(BoilerApp(settings), raise_server_exceptions=False) as other,
    ):
        before = query(one)
        added = add_feedback(one, answer=before[0])
        assert added.status_code == 201
        assert before[0] not in query(other)
        assert add_feedback(other).status_code == 201
        assert assert_problem(add_feedback(other), 503) == "feedback-error"
        assert one.get("/feedback").text == other.get("/feedback").text
        assert other.delete(f"/feedback/{added.json()['id']}").status_code == 204
        postgres_server.kill()
        refused = other.post("/nearest/query", json={"seeds": [{"n": 1}], "k": 5})
        assert assert_problem(refused, 503) == "feedback-error"
        assert str(postgres_server.folder) not in refused.text
        assert other.post("/nearest/query", json={"seeds": [{"n": 1}], "k": 5, "feedback": False}).status_code == 200
        postgres_server.start()
        assert other.get("/feedback").text.count("\n") == 2
    assert not (tmp_path / "model" / "feedback.sqlite").exists()
