"""Routes of tags: of items, of uploads, by hand, and counts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr, TypeAdapter
from serving import assert_problem
from starlette.testclient import TestClient

from boiler.service.app import BoilerApp
from boiler.service.routes.tags import TagCountRow, TagRow
from boiler.service.settings import Settings

ROWS = TypeAdapter(list[TagRow])


@pytest.fixture(scope="module")
def tagging(tagged: Path) -> Iterator[TestClient]:
    with TestClient(BoilerApp(Settings(model_dir=tagged, log="none")), raise_server_exceptions=False) as client:
        yield client


def test_an_item_has_the_tags_of_its_row(tagging: TestClient) -> None:
    rows = ROWS.validate_python(tagging.get("/items/1/tags").json(), strict=True)
    item = tagging.get("/items/1").json()
    assert {row.tag: row.probability for row in rows} == item["tags"]
    assert item["tags_by_hand"] == {}
    assert_problem(tagging.get("/items/999/tags"), 404)


def test_an_upload_gets_the_tags_of_the_same_sound_in_the_index(tagging: TestClient) -> None:
    sound = tagging.get("/items/1/audio")
    answer = tagging.post("/tags?k=3", files={"file": ("a.wav", sound.content)})
    assert answer.status_code == 200
    rows = ROWS.validate_python(answer.json(), strict=True)
    assert len(rows) == 3
    stored = tagging.get("/items/1").json()["tags"]
    for row in rows:
        assert row.probability is not None
        assert row.probability == pytest.approx(stored.get(row.tag, 0), abs=0.01)
    events = tagging.post("/tags", files={"file": ("a.wav", sound.content)}, headers={"Accept": "text/event-stream"})
    assert '"stage":"tagging"' in events.text
    assert "event: result" in events.text
    assert_problem(tagging.post("/tags", files={"file": ("a.wav", b"nothing")}), 422)
    assert_problem(tagging.post("/tags?k=0", files={"file": ("a.wav", sound.content)}), 422)


def test_a_tag_by_hand_is_shown_at_once_until_it_is_undone(tagging: TestClient) -> None:
    added = tagging.post("/items/1/tags", json={"tag": "siren"})
    assert added.status_code == 201
    first = tagging.get("/items/1/tags").json()[0]
    assert first == {"tag": "siren", "probability": None, "by_hand": True, "has": True}
    assert tagging.delete(f"/tags/by-hand/{added.json()['id']}").status_code == 204
    assert "siren" not in [row["tag"] for row in tagging.get("/items/1/tags").json()]
    assert_problem(tagging.delete(f"/tags/by-hand/{added.json()['id']}"), 404)
    assert_problem(tagging.post("/items/999/tags", json={"tag": "siren"}), 404)
    for wrong in ({"tag": ""}, {"tag": 1}, {"tag": "a", "has": "yes"}, {"tag": "a\n"}, {}):
        assert_problem(tagging.post("/items/1/tags", json=wrong), 422)


def test_counts_and_filters_agree(tagging: TestClient) -> None:
    rows = TypeAdapter(list[TagCountRow]).validate_python(tagging.get("/tags").json(), strict=True)
    assert rows
    for row in rows:
        where = f'{{"tags.{row.tag}": {{">=": {row.threshold}}}}}'
        page = tagging.get("/items", params={"where": where, "limit": 1000}).json()
        assert len(page["items"]) == row.n_items


def test_an_index_without_a_tag_model_says_so(client: TestClient) -> None:
    assert client.get("/tags").json() == []
    assert client.get("/items/1/tags").json() == []
    sound = client.get("/items/1/audio").content
    detail = client.post("/tags", files={"file": ("a.wav", sound)}).json()["detail"]
    assert "no tag model" in detail


def test_only_keys_with_the_scope_feedback_may_tag(tagged: Path) -> None:
    keys = {scope: f"{scope}-0123456789abcdef" for scope in ("read", "feedback")}
    given = tuple(SecretStr(f"{scope}:{key}") for scope, key in keys.items())
    with TestClient(BoilerApp(Settings(model_dir=tagged, log="none", api_keys=given))) as client:
        for scope, codes in {"read": [200, 403, 403], "feedback": [200, 201, 404]}.items():
            client.headers["X-API-Key"] = keys[scope]
            answers = [
                client.get("/items/1/tags"),
                client.post("/items/1/tags", json={"tag": "siren", "has": False}),
                client.delete("/tags/by-hand/999999"),
            ]
            assert [answer.status_code for answer in answers] == codes


def test_only_its_key_and_admins_undo_a_tag_by_hand(tagged: Path) -> None:
    keys = [f"{scope}-0123456789abcde{n}" for n, scope in enumerate(("feedback", "feedback", "admin"))]
    given = tuple(SecretStr(f"{key.split('-')[0]}:{key}") for key in keys)
    with TestClient(BoilerApp(Settings(model_dir=tagged, log="none", api_keys=given))) as client:

        def undo(id: int, key: str) -> int:
            return client.delete(f"/tags/by-hand/{id}", headers={"X-API-Key": key}).status_code

        first, second = (
            client.post("/items/1/tags", json={"tag": "siren"}, headers={"X-API-Key": keys[0]}).json()["id"]
            for _ in range(2)
        )
        assert [undo(first, key) for key in (keys[1], keys[0])] == [404, 204]
        assert undo(second, keys[2]) == 204


def test_tags_by_hand_are_bounded_as_feedback_is(tagged: Path, tmp_path: Path) -> None:
    shutil.copytree(tagged, tmp_path / "model", symlinks=True)
    (tmp_path / "model" / "labels.sqlite").unlink(missing_ok=True)
    settings = Settings(model_dir=tmp_path / "model", log="none", max_feedback=1)
    with TestClient(BoilerApp(settings), raise_server_exceptions=False) as client:
        assert client.post("/items/1/tags", json={"tag": "siren"}).status_code == 201
        refused = client.post("/items/1/tags", json={"tag": "siren"})
        assert assert_problem(refused, 503) == "feedback-error"
        assert str(tmp_path) not in refused.text
