"""Uploads and links are identified: tags, nearest items, progress, and a cache by content."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from link_server import LinkServer, link_server
from serving import assert_matches, assert_problem
from starlette.testclient import TestClient

from boiler.service.app import BoilerApp
from boiler.service.routes.identify import IdentifyResponse
from boiler.service.settings import Settings
from boiler.service.uploads import UploadEmbedder

EVENTS = {"Accept": "text/event-stream"}


@pytest.fixture(scope="module")
def linking(tagged: Path) -> Iterator[TestClient]:
    """A service that follows links, also to this machine."""
    settings = Settings(model_dir=tagged, log="none", links=True, links_private=True, max_link_s=20.0)
    with TestClient(BoilerApp(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def server(linking: TestClient) -> Iterator[LinkServer]:
    with link_server(item_wav=linking.get("/items/1/audio").content) as server:
        yield server


def events_of(text: str) -> list[tuple[str, dict[str, object]]]:
    """The events of a response: name and content of each."""
    lines = [block.splitlines() for block in text.strip().split("\n\n") if block.startswith("event:")]
    return [(first.removeprefix("event: "), json.loads(rest[0].removeprefix("data: "))) for first, *rest in lines]


@pytest.mark.slow
def test_a_link_is_identified_as_the_upload_of_its_file(linking: TestClient, server: LinkServer) -> None:
    content = server.files["item.wav"][1]
    uploaded = assert_matches(
        linking.post("/identify?k=3&n_tags=2", files={"file": ("a.wav", content)}), IdentifyResponse
    )
    linked = assert_matches(
        linking.post("/identify/link?k=3&n_tags=2", json={"url": f"{server.url}/item.wav"}), IdentifyResponse
    )
    assert linked == uploaded
    assert uploaded["results"][0]["n"] == 1
    assert len(uploaded["results"]) == 3
    stored = linking.get("/items/1/tags").json()
    assert uploaded["n_predicted"] == sum(row["has"] for row in stored)
    rows = linking.post("/tags?k=2", files={"file": ("a.wav", content)}).json()
    assert uploaded["tags"] == rows


def test_every_stage_of_a_link_is_reported_as_it_happens(linking: TestClient, server: LinkServer) -> None:
    answer = linking.post(f"/identify/link?k={7}", json={"url": f"{server.url}/item.wav"}, headers=EVENTS)
    events = events_of(answer.text)
    stages = [str(data["stage"]) for name, data in events if name == "progress"]
    assert list(dict.fromkeys(stages)) == ["fetching", "waiting", "decoding", "embedding", "tagging", "searching"]
    fetched = [data for name, data in events if name == "progress" and data["stage"] == "fetching"]
    size = len(server.files["item.wav"][1])
    assert (fetched[0]["done"], fetched[-1]["done"], fetched[-1]["total"]) == (0, size, size)
    assert events[-1][0] == "result"
    assert len(events[-1][1]["results"]) == 7  # type: ignore[arg-type]


def test_results_are_cached_by_content(
    linking: TestClient, server: LinkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["copy.wav"] = server.files["item.wav"]
    first = linking.post("/identify/link?k=5", json={"url": f"{server.url}/item.wav"}).json()
    monkeypatch.delattr(UploadEmbedder, "embed")  # a second embedding would fail
    assert linking.post("/identify/link?k=5", json={"url": f"{server.url}/copy.wav"}).json() == first
    upload = {"file": ("a.wav", server.files["item.wav"][1])}
    assert linking.post("/identify?k=5", files=upload).json() == first
    assert linking.post("/identify?k=6", files=upload).status_code == 500


@pytest.mark.parametrize(
    ("path", "status"),
    [("nothing", 422), ("redirect?file:///etc/passwd", 422), ("page", 422)],
)
def test_links_that_cannot_be_used_are_problems(
    linking: TestClient, server: LinkServer, path: str, status: int
) -> None:
    server.files["page"] = ("audio/wav", b"<html>no sound</html>")
    slug = assert_problem(linking.post("/identify/link", json={"url": f"{server.url}/{path}"}), status)
    assert slug == ("not-a-sound" if path == "page" else "link-error")


def test_links_are_checked_before_the_response_begins(linking: TestClient) -> None:
    for url in ("file:///etc/passwd", "dog.wav", "http://me:secret@127.0.0.1/"):
        assert assert_problem(linking.post("/identify/link", json={"url": url}, headers=EVENTS), 422) == "link-error"
    assert_problem(linking.post("/identify/link", json={"url": ""}), 422)
    assert_problem(linking.post("/identify/link?k=0", json={"url": "https://example.org/"}), 422)


def test_links_are_off_by_default_and_do_not_reach_this_machine(tagged: Path) -> None:
    with link_server() as server:
        body = {"url": f"{server.url}/dog.wav"}
        with TestClient(BoilerApp(Settings(model_dir=tagged, log="none"))) as client:
            assert assert_problem(client.post("/identify/link", json=body), 403) == "links-disabled"
        with TestClient(BoilerApp(Settings(model_dir=tagged, log="none", links=True))) as client:
            answer = client.post("/identify/link", json=body)
            assert assert_problem(answer, 422) == "link-error"
            assert "no public address" in answer.json()["detail"]
        assert server.paths == []


def test_without_a_tag_model_the_nearest_items_are_found(client: TestClient) -> None:
    sound = client.get("/items/1/audio").content
    found = assert_matches(client.post("/identify", files={"file": ("a.wav", sound)}), IdentifyResponse)
    assert (found["tags"], found["n_predicted"]) == ([], None)
    assert found["results"][0]["n"] == 1
    assert_problem(client.post("/identify", files={"file": ("a.wav", b"nothing")}), 422)
