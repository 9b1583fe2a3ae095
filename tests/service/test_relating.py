"""How sounds relate, over HTTP: explanations, ways, near-duplicates, the map, places; and what was judged."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr, TypeAdapter
from serving import publish
from starlette.testclient import TestClient

from boiler.audio.synthesis import write_collection
from boiler.indexing.pipeline import IndexSettings, index
from boiler.search.nearest import ByItem, Nearest
from boiler.service.app import Web
from boiler.service.routes import relating
from boiler.service.settings import Settings
from boiler.service.state import Kept


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection with a copy in it, and a recording that holds one of the sounds."""
    folder = tmp_path_factory.mktemp("relating")
    write_collection(folder / "sounds", per_kind=1)
    sounds = sorted((folder / "sounds").rglob("*.wav"))
    shutil.copy(sounds[0], folder / "sounds" / "copy.wav")
    with wave.open(str(sounds[1])) as read:
        rate = read.getframerate()
        short = np.frombuffer(read.readframes(read.getnframes()), "<i2")
        assert (read.getnchannels(), read.getsampwidth()) == (1, 2)
    long = 300 * np.random.default_rng(0).normal(size=20 * rate)
    long[7 * rate : 7 * rate + len(short)] += short
    with wave.open(str(folder / "sounds" / "long.wav"), "wb") as written:
        written.setparams((1, 2, rate, 0, "NONE", ""))
        written.writeframes(long.clip(-32_768, 32_767).astype("<i2").tobytes())
    index(IndexSettings(wav_dir=folder / "sounds", encoder="MFCCStats", model_dir=folder / "model", device="cpu"))
    return folder / "model"


@pytest.fixture(scope="module")
def client(model_dir: Path) -> Iterator[TestClient]:
    settings = Settings(model_dir=model_dir, log="none")
    with TestClient(Web(settings), raise_server_exceptions=False) as client:
        yield client


def number(client: TestClient, text: str) -> int:
    return int(client.get("/items", params={"text": text}).json()["items"][0]["n"])


def assert_form(response: Any, form: Any) -> Any:
    """That the answer is of this form, and holds nothing that the form does not tell of."""
    assert response.status_code == 200, response.text
    known = TypeAdapter(form).validate_json(response.text)
    assert json.loads(TypeAdapter(form).dump_json(known)) == response.json()
    return response.json()


def slug(response: Any, status: int) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return str(response.json()["type"].rsplit(":", 1)[1])


def test_an_explanation_covers_both_sounds(client: TestClient, model_dir: Path) -> None:
    why = assert_form(client.get("/explain?n=1&answer=2"), relating.Explanation)
    true = Nearest(model_dir).explain(ByItem(1), 2)
    assert why["similarity"] == pytest.approx(true.similarity, abs=1e-5)
    assert why["query_course"][0]["start_s"] == why["answer_course"][0]["start_s"] == 0.0
    assert len(why["answer_course"]) == len(true.answer_course)
    assert slug(client.get("/explain?n=1&answer=9999"), 404) == "unknown-item"
    assert slug(client.get("/explain?n=1"), 422) == "invalid-request"
    assert slug(client.get("/explain?n=1&answer=2&start_s=3&end_s=2"), 422) == "invalid-request"


def test_what_must_be_embedded_for_an_explanation_is_bounded(model_dir: Path) -> None:
    settings = Settings(model_dir=model_dir, log="none", max_upload_s=5)
    with TestClient(Web(settings), raise_server_exceptions=False) as client:
        n = number(client, "long.wav")  # of 20 s
        for part in ("start_s=0.01", "start_s=1&end_s=6.1", "start_s=1&end_s=1e8"):
            refused = client.get(f"/explain?n={n}&answer=1&{part}")
            assert slug(refused, 422) == "invalid-request"
            assert "at most 5 s" in refused.json()["detail"]
        assert client.get(f"/explain?n={n}&answer=1&start_s=15.5").status_code == 200
        assert client.get(f"/explain?n={n}&answer=1").status_code == 200


def test_a_way_leads_from_one_to_the_other(client: TestClient) -> None:
    answer = assert_form(client.get("/path?from_n=1&to_n=5&steps=4"), relating.JourneyAnswer)
    found = [row["n"] for row in answer["results"]]
    assert len(set(found)) == 4
    assert not {1, 5} & set(found)
    assert slug(client.get("/path?from_n=1&to_n=5&steps=101"), 422) == "invalid-request"


def test_copies_are_one_group(client: TestClient) -> None:
    answer = assert_form(client.get("/duplicates?nearer_than=0.01"), relating.DuplicatesAnswer)
    assert answer["total"] == 1
    assert "copy.wav" in answer["groups"][0]["ids"]
    assert answer["groups"][0]["widest"] < 1e-3
    assert client.get("/duplicates?nearer_than=0.01&offset=1").json()["groups"] == []
    assert slug(client.get("/duplicates?nearer_than=2.5"), 422) == "invalid-request"


def test_the_map_is_compressed_and_not_sent_twice(client: TestClient, model_dir: Path) -> None:
    packed = client.get("/map", headers={"Accept-Encoding": "gzip"})
    plain = client.get("/map", headers={"Accept-Encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert int(packed.headers["content-length"]) < len(plain.content)
    answer = assert_form(plain, relating.MapAnswer)
    assert packed.json() == answer
    drawn = Nearest(model_dir).map()
    assert drawn is not None
    assert answer["n"] == drawn.n.tolist()
    np.testing.assert_allclose(answer["x"], drawn.xy[:, 0], atol=1e-5)
    again = client.get("/map", headers={"If-None-Match": plain.headers["etag"], "Accept-Encoding": "identity"})
    assert (again.status_code, again.content) == (304, b"")
    assert plain.headers["etag"] != packed.headers["etag"]
    refused = client.get("/map", headers={"Accept-Encoding": "gzip;q=0, identity"})
    assert "content-encoding" not in refused.headers


def test_map_and_duplicates_are_of_the_index_that_they_name(tmp_path: Path) -> None:
    """A newer index is taken up while the answer is made."""
    publish(tmp_path / "model", 10, 8)
    with TestClient(Web(Settings(model_dir=tmp_path / "model", log="none", refresh_s=2))) as client:
        nearest = client.app.state.service.nearest  # type: ignore[attr-defined]

        def during(method: str, n_items: int, seed: int) -> None:
            true = getattr(nearest, method)

            def slow(*arguments: Any) -> Any:
                delattr(nearest, method)
                found = true(*arguments)
                publish(tmp_path / "model", n_items, 8, seed)
                nearest.refresh()
                return found

            setattr(nearest, method, slow)

        during("map", 20, 1)
        page = client.get("/map", headers={"Accept-Encoding": "identity"})
        assert len(page.json()["n"]) == 20
        assert page.headers["etag"] == f'"{page.json()["generation"]}-plain"'
        assert page.json()["generation"] == nearest.generation
        during("duplicates", 30, 2)
        answer = client.get("/duplicates?nearer_than=2").json()
        assert answer["generation"] == nearest.generation
        assert sum(len(group["ids"]) for group in answer["groups"]) == 30


def test_a_sound_is_found_inside_another(client: TestClient, model_dir: Path) -> None:
    holder = number(client, "long.wav")
    ids = [item["id"] for item in client.get("/items").json()["items"]]
    inside = sorted(one for one in ids if "/" in one)[1]
    n = number(client, inside)
    sound = client.get(f"/items/{n}/audio").content
    for response in (
        client.post("/locate", params={"within": holder}, files={"file": sound}),
        client.get(f"/items/{n}/places", params={"within": holder}),
    ):
        answer = assert_form(response, relating.PlacesAnswer)
        assert answer["results"][0]["id"] == "long.wav"
        assert answer["results"][0]["start_s"] == pytest.approx(7.0, abs=0.02)
        assert answer["complete"]
    assert slug(client.post("/locate?most_s=0", files={"file": sound}), 422) == "invalid-request"
    assert slug(client.post("/locate", files={"file": b"no sound"}), 422) == "not-a-sound"


def test_sounds_that_are_gone_are_said_to_be_without_paths(tmp_path: Path) -> None:
    publish(tmp_path / "model", 10, 8)
    (tmp_path / "sounds" / "kind0").mkdir(parents=True)
    sound = sound_of(np.random.default_rng(0).normal(size=16_000))
    (tmp_path / "sounds" / "kind0" / "s00000.wav").write_bytes(sound)
    settings = Settings(model_dir=tmp_path / "model", wav_dir=tmp_path / "sounds", log="none")
    with TestClient(Web(settings), raise_server_exceptions=False) as client:
        for response in (
            client.post("/locate?within=1&within=2", files={"file": sound}),
            client.get("/items/0/places?within=1"),
            client.get("/items/1/places"),
            client.get("/explain?n=0&answer=1"),
        ):
            assert slug(response, 404) == "no-sound"
            assert str(tmp_path) not in response.text
        found = client.post("/locate", files={"file": sound})
        assert (found.json()["results"][0]["n"], found.json()["complete"]) == (0, False)
        assert str(tmp_path) not in found.text
        # There is no encoder that could say where to look first.
        assert slug(client.post("/locate?most_s=10", files={"file": sound}), 422) == "no-encoder"


def test_a_sound_that_kills_its_decoder_does_not_kill_the_service(tmp_path: Path, hostile: None) -> None:
    write_collection(tmp_path / "sounds", per_kind=1)
    dice = np.random.default_rng(0)
    for name in ("crash.wav", "whole.wav"):
        (tmp_path / "sounds" / name).write_bytes(sound_of(dice.normal(size=40_000)))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "boiler.index",
            str(tmp_path / "sounds"),
            "MFCCStats",
            "--model_dir",
            str(tmp_path / "model"),
        ],
        check=True,
        capture_output=True,
    )
    with TestClient(Web(Settings(model_dir=tmp_path / "model", log="none")), raise_server_exceptions=False) as client:
        crash, whole = number(client, "crash.wav"), number(client, "whole.wav")
        for path in (
            f"/explain?n={whole}&answer={crash}",
            f"/explain?n={crash}&answer={whole}&start_s=0.5&end_s=1",
            f"/items/{crash}/places",
        ):
            refused = client.get(path)
            assert slug(refused, 422) == "sound-error", path
            assert "SIGSEGV" in refused.json()["detail"]
        found = client.get(f"/items/{whole}/places").json()
        assert (found["complete"], found["unread"]) == (False, ["crash.wav"])
        assert client.get(f"/explain?n={whole}&answer=1").status_code == 200


def sound_of(samples: Any) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setparams((1, 2, 16_000, 0, "NONE", ""))
        written.writeframes((3_000 * samples).clip(-32_768, 32_767).astype("<i2").tobytes())
    return file.getvalue()


# ------------------------------------------------------------------------------------------------- feedback


def judged(client: TestClient, **values: Any) -> Any:
    return client.post("/feedback", json={"question": {"n": 1}, "answer": 2, "like": False} | values)


def test_what_is_judged_moves_the_next_answer_until_it_is_taken_back(client: TestClient) -> None:
    query = {"seeds": [{"n": 1}], "k": 5}

    def answers(**more: Any) -> list[int]:
        return [row["n"] for row in client.post("/nearest/query", json=query | more).json()["results"]]

    before = answers()
    made = judged(client, answer=before[0], who="ann")
    assert made.status_code == 201
    assert before[0] not in answers()
    assert answers(feedback=False) == before
    assert answers(who="bob") == before
    lines = [json.loads(line) for line in client.get("/feedback").text.splitlines()]
    assert (lines[-1]["judgement"], lines[-1]["like"], lines[-1]["who"]) == (made.json()["id"], False, "ann")
    assert client.delete(f"/feedback/{made.json()['id']}").status_code == 204
    assert answers() == before
    assert slug(client.delete(f"/feedback/{made.json()['id']}"), 404) == "unknown-judgement"
    assert json.loads(client.get("/feedback").text.splitlines()[-1])["undone_at"]


def test_a_wrong_judgement_is_said_to_a_person(client: TestClient) -> None:
    assert slug(judged(client, answer=9999), 404) == "unknown-item"
    assert slug(judged(client, question={}), 422) == "invalid-request"
    assert slug(judged(client, like="yes"), 422) == "invalid-request"
    assert slug(judged(client, who=""), 422) == "invalid-request"
    assert slug(client.delete("/feedback/0"), 422) == "invalid-request"
    assert slug(client.delete("/feedback/..%2f..%2fetc"), 404) == "not-found"


def test_judging_needs_its_scope_and_reading_all_another(model_dir: Path) -> None:
    keys = {scope: f"{scope}-0123456789abcdef" for scope in ("read", "feedback", "admin")}
    settings = Settings(
        model_dir=model_dir, log="none", api_keys=tuple(SecretStr(f"{scope}:{key}") for scope, key in keys.items())
    )
    with TestClient(Web(settings)) as client:

        def status(method: str, path: str, scope: str | None) -> int:
            headers = {} if scope is None else {"X-API-Key": keys[scope]}
            body = {"question": {"n": 1}, "answer": 2, "like": True} if method == "POST" else None
            return client.request(method, path, json=body, headers=headers).status_code

        table = {
            ("POST", "/feedback"): {None: 401, "read": 403, "feedback": 201, "admin": 201},
            ("DELETE", "/feedback/999999"): {None: 401, "read": 403, "feedback": 404, "admin": 404},
            ("GET", "/feedback"): {None: 401, "read": 403, "feedback": 403, "admin": 200},
        }
        for (method, path), wanted in table.items():
            for scope, expected in wanted.items():
                assert status(method, path, scope) == expected, (method, path, scope)


def test_where_nothing_can_be_kept_it_is_said_without_paths(tmp_path: Path) -> None:
    publish(tmp_path / "model", 10, 8)
    (tmp_path / "model" / "feedback.sqlite").write_bytes(os.urandom(8192))
    with TestClient(Web(Settings(model_dir=tmp_path / "model", log="none")), raise_server_exceptions=False) as client:
        for response in (judged(client), client.get("/feedback")):
            assert slug(response, 503) == "feedback-error"
            assert str(tmp_path) not in response.text


def test_an_index_without_a_map_says_so(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Nearest, "map", lambda self: None)  # as of an index from before there were maps
    service = client.app.state.service  # type: ignore[attr-defined]
    monkeypatch.setattr(service, "map_page", Kept())
    assert slug(client.get("/map"), 404) == "no-map"


def test_gzip_pages_are_gzip(client: TestClient) -> None:
    with client.stream("GET", "/map", headers={"Accept-Encoding": "gzip"}) as response:
        raw = b"".join(response.iter_raw())
    assert json.loads(gzip.decompress(raw))["n"]
