"""Routes that need an encoder or several seeds: uploads, parts of sounds, POST /nearest/query."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import assert_matches, assert_problem, publish
from sounds import tone, write
from starlette.testclient import TestClient

from boiler.audio.synthesis import write_collection
from boiler.errors import WrongEncoderError
from boiler.indexing.pipeline import IndexSettings, index
from boiler.search.nearest import ByVector, Nearest
from boiler.service import playlist, requests, schemas
from boiler.service.app import BoilerApp
from boiler.service.routes import failures
from boiler.service.settings import Settings

PER_KIND = 2


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api") / "sounds"
    write_collection(folder, per_kind=PER_KIND)
    return folder


@pytest.fixture(scope="session")
def model_dir(folder: Path) -> Path:
    made = folder.parent / "model"
    index(IndexSettings(wav_dir=folder, encoder="MFCCStats", model_dir=made, device="cpu"))
    return made


@pytest.fixture(scope="session")
def nearest(model_dir: Path) -> Iterator[Nearest]:
    with Nearest(model_dir) as nearest:
        yield nearest


@pytest.fixture(scope="session")
def client(model_dir: Path) -> Iterator[TestClient]:
    settings = Settings(model_dir=model_dir, log="none", max_upload_s=20.0, max_upload_bytes=2_000_000)
    with TestClient(BoilerApp(settings), raise_server_exceptions=False) as client:
        yield client


def upload(client: TestClient, path: str, sound: bytes, name: str = "sound.wav") -> Any:
    return client.post(path, files={"file": (name, sound)})


# ------------------------------------------------------------------------------------------------- uploads


def test_upload_finds_itself_and_equals_nearest(client: TestClient, nearest: Nearest, folder: Path) -> None:
    for item in nearest.items(limit=100)[::7]:
        response = upload(client, "/nearest/audio?k=5", (folder / item.id).read_bytes())
        rows = response.json()
        assert rows[0]["n"] == item.n
        assert rows[0]["distance"] == pytest.approx(0, abs=2e-3)
        meant = nearest.by_sound(folder / item.id, 5)
        assert [row["n"] for row in rows] == [match.n for match in meant]
        np.testing.assert_allclose([row["distance"] for row in rows], [match.distance for match in meant], atol=1e-5)
        assert response.headers["x-boiler-engine"] == "exact"
        assert response.headers["x-boiler-generation"] == nearest.generation


def test_searching_by_an_embedded_vector_equals_searching_by_its_sound(client: TestClient, folder: Path) -> None:
    path = next(folder.rglob("*.wav"))
    answer = upload(client, "/embed", path.read_bytes()).json()
    schemas.EmbedResponse.model_validate(answer, strict=True)
    [window] = answer["windows"]
    assert len(window["embedding"]) == answer["dim"]
    assert np.linalg.norm(window["embedding"]) == pytest.approx(1, abs=1e-5)
    asked = client.post("/nearest?k=4", json={"embedding": window["embedding"]}).json()
    assert asked == upload(client, "/nearest/audio?k=4", path.read_bytes()).json()
    packed = upload(client, "/embed?encoding=base64", path.read_bytes()).json()["windows"][0]["embedding"]
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(packed), "<f4"), np.float32(window["embedding"]))


def test_times_of_a_part_are_relative_to_the_whole(client: TestClient, tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    sound = np.concatenate([np.zeros(8_000), tone(440.0, 2.0, 16_000), tone(1_500.0, 2.0, 16_000)])
    write(path, sound, 16_000)
    part = upload(client, "/embed?start_s=0.5&end_s=2.5", path.read_bytes()).json()["windows"]
    assert [(one["start_s"], one["end_s"]) for one in part] == [(0.5, 2.5)]
    other = upload(client, "/embed?start_s=2.5", path.read_bytes()).json()["windows"]
    assert [(one["start_s"], one["end_s"]) for one in other] == [(2.5, 4.5)]
    assert part[0]["embedding"] != other[0]["embedding"]


@pytest.mark.parametrize("path", ["/nearest/audio", "/embed"])
@pytest.mark.parametrize(
    ("sound", "status", "expected"),
    [
        (b"", 422, "not-a-sound"),
        (b"x", 422, "not-a-sound"),
        (b"RIFF\xff\xff\xff\xffWAVEfmt ", 422, "not-a-sound"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", 422, "not-a-sound"),
        (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", 422, "not-a-sound"),
        (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=audio 5004 RTP/AVP 0\r\n", 422, "not-a-sound"),
        (b"PK\x03\x04" + b"\0" * 1_000, 422, "not-a-sound"),
        (b"%PDF-1.7 " + bytes(range(256)) * 40, 422, "not-a-sound"),
    ],
)
def test_not_a_sound(client: TestClient, path: str, sound: bytes, status: int, expected: str) -> None:
    response = upload(client, path, sound, "../../../etc/passwd")
    assert assert_problem(response, status) == expected
    assert "passwd" not in response.text
    assert "/" not in response.json()["detail"]


def test_silent_and_too_long_sounds(client: TestClient, tmp_path: Path) -> None:
    write(tmp_path / "silent.wav", np.zeros(16_000), 16_000)
    assert (
        assert_problem(upload(client, "/nearest/audio", (tmp_path / "silent.wav").read_bytes()), 422) == "silent-sound"
    )
    write(tmp_path / "long.wav", np.zeros(16_000 * 25), 16_000)
    assert assert_problem(upload(client, "/nearest/audio", (tmp_path / "long.wav").read_bytes()), 413) == "sound-limit"
    beyond = upload(client, "/nearest/audio?start_s=99", next(tmp_path.glob("silent.wav")).read_bytes())
    assert beyond.status_code == 422


def test_invalid_forms(client: TestClient, folder: Path) -> None:
    sound = next(folder.rglob("*.wav")).read_bytes()
    post = client.post
    assert (
        assert_problem(post("/embed", content=sound, headers={"Content-Type": "audio/wav"}), 415)
        == "unsupported-media-type"
    )
    assert assert_problem(post("/embed", files={"other": ("a.wav", sound)}), 422) == "invalid-request"
    assert assert_problem(post("/embed", data={"file": "text"}, files={"x": b""}), 422) == "invalid-request"
    assert post("/embed", files=[("file", ("a", sound)), ("file", ("b", sound))]).status_code == 400
    assert post("/embed", files=[(f"p{n}", (None, b"x")) for n in range(1_500)]).status_code == 400
    for head in ("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=x"):
        broken = post("/embed", content=b"--y\r\nnonsense", headers={"Content-Type": head})
        assert broken.status_code in (400, 422)
        assert broken.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("name", ["\0.wav", "a" * 4_096, "‮vaw.exe", "", "C:\\x.wav", "\udcff.wav"])
def test_file_name_of_an_upload_is_ignored(client: TestClient, folder: Path, name: str) -> None:
    sound = next(folder.rglob("*.wav")).read_bytes()
    body = io.BytesIO()
    body.write(b'--B\r\nContent-Disposition: form-data; name="file"; filename="')
    body.write(name.encode("utf-8", "surrogateescape") + b'"\r\n\r\n' + sound + b"\r\n--B--\r\n")
    head = {"Content-Type": "multipart/form-data; boundary=B"}
    response = client.post("/embed", content=body.getvalue(), headers=head)
    assert response.status_code == 200 if name else response.status_code in (200, 422)


def test_upload_over_the_limit(client: TestClient) -> None:
    assert assert_problem(upload(client, "/embed", b"x" * 2_100_000), 413) == "too-large"

    def chunks() -> Iterator[bytes]:
        yield b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(40):
            yield b"x" * 65_536

    head = {"Content-Type": "multipart/form-data; boundary=B"}
    assert assert_problem(client.post("/embed", content=chunks(), headers=head), 413) == "too-large"


def test_uploads_over_the_queue_get_503(model_dir: Path, folder: Path) -> None:
    sound = next(folder.rglob("*.wav")).read_bytes()
    settings = Settings(model_dir=model_dir, log="none", max_waiting=0)
    with TestClient(BoilerApp(settings), raise_server_exceptions=False) as client, ThreadPoolExecutor(12) as pool:
        # the first ones also wait for the decoder and the encoder to start
        answers = list(pool.map(lambda _: upload(client, "/embed", sound), range(12)))
        assert {answer.status_code for answer in answers} == {200, 503}
        for answer in answers:
            if answer.status_code == 503:
                assert assert_problem(answer, 503) == "busy"
                assert int(answer.headers["retry-after"]) >= 1
        assert upload(client, "/embed", sound).status_code == 200


def test_upload_without_an_encoder(tmp_path: Path, folder: Path) -> None:
    publish(tmp_path / "model", 20, 8)
    with TestClient(BoilerApp(Settings(model_dir=tmp_path / "model", log="none"))) as client:
        for path in ("/embed", "/nearest/audio"):
            assert assert_problem(upload(client, path, next(folder.rglob("*.wav")).read_bytes()), 422) == "no-encoder"


# ------------------------------------------------------------------------------------------------- queries


def query(client: TestClient, **body: Any) -> Any:
    response = client.post("/nearest/query", json=body)
    if response.status_code == 200:
        schemas.QueryResponse.model_validate_json(response.text)
    return response


def test_old_field_names_of_queries(client: TestClient) -> None:
    old = query(client, seeds=[{"n": 3}], k=6, fold_nearer_than=1.2, set_back_hubs=True, who="ann").json()
    new = query(client, seeds=[{"n": 3}], k=6, dedup_distance=1.2, csls=True, user="ann").json()
    assert old == new
    assert new != query(client, seeds=[{"n": 3}], k=6).json()
    for row in new["results"]:
        assert (row["asked_start_s"], row["asked_end_s"]) == (row["query_start_s"], row["query_end_s"])
    groups = [{"field": "label", name: 1} for name in ("most", "limit")]
    old, new = (query(client, seeds=[{"n": 3}], k=6, per_group=group).json() for group in groups)
    assert old == new
    both = query(client, seeds=[{"n": 3}], csls=True, set_back_hubs=True)
    assert assert_problem(both, 422) == "invalid-request"


def test_query_of_one_item_equals_its_neighbours(client: TestClient) -> None:
    answer = query(client, seeds=[{"n": 3}], k=6)
    plain = client.get("/items/3/nearest?k=6").json()
    assert [row["n"] for row in answer.json()["results"]] == [row["n"] for row in plain]
    assert answer.json()["reason"] is None
    assert answer.json()["generation"] == answer.headers["x-boiler-generation"]
    assert all(0 <= row["closer_than"] <= 1 for row in answer.json()["results"])


def test_filters_group_limits_and_exclusions(client: TestClient, nearest: Nearest) -> None:
    label = nearest.item(5).label
    of_label = query(client, seeds=[{"n": 5}], k=50, where={"label": label}).json()
    assert {row["label"] for row in of_label["results"]} == {label}
    assert len(of_label["results"]) == PER_KIND - 1  # without itself
    assert of_label["reason"]
    capped = query(client, seeds=[{"n": 5}], k=8, per_group={"field": "label", "limit": 1}).json()["results"]
    assert len({row["label"] for row in capped}) == 8
    first = query(client, seeds=[{"n": 5}], k=1).json()["results"][0]["n"]
    assert query(client, seeds=[{"n": 5}], k=1, without=[first]).json()["results"][0]["n"] != first
    assert query(client, seeds=[{"n": 5}], min_similarity=1.0).json()["results"] == []


def test_weighted_seeds_and_a_part_of_an_item(client: TestClient, nearest: Nearest) -> None:
    both = query(client, seeds=[{"n": 2}, {"n": 4, "weight": 0.5}], k=5).json()["results"]
    assert not {2, 4} & {row["n"] for row in both}
    away = query(client, seeds=[{"n": 2}, {"n": both[0]["n"], "weight": -2.0}], k=5).json()["results"]
    assert away[0]["n"] != both[0]["n"]
    item = nearest.item(2)
    part = query(client, seeds=[{"n": 2, "start_s": 0.0, "end_s": item.duration_s / 2}], k=3)
    assert part.status_code == 200
    assert len(part.json()["results"]) == 3


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"seeds": []}, 422),
        ({"seeds": [{}]}, 422),
        ({"seeds": [{"n": 1, "embedding": [1.0]}]}, 422),
        ({"seeds": [{"n": 1, "weight": 0}]}, 422),
        ({"seeds": [{"n": 1, "weight": -1}]}, 422),
        ({"seeds": [{"n": 1}, {"n": 1, "weight": -1}]}, 422),
        ({"seeds": [{"n": 10_000}]}, 404),
        ({"seeds": [{"n": 1}], "without": [10_000]}, 404),
        ({"seeds": [{"n": 1, "start_s": 2.0, "end_s": 1.0}]}, 422),
        ({"seeds": [{"n": 1, "start_s": 900.0, "end_s": 901.0}]}, 422),
        ({"seeds": [{"n": 1}], "k": 0}, 422),
        ({"seeds": [{"n": 1}], "k": 1_001}, 422),
        ({"seeds": [{"n": 1}], "diversity": 2}, 422),
        ({"seeds": [{"n": 1}], "where": {}}, 422),
        ({"seeds": [{"n": 1}], "where": {"nonsense": 1}}, 422),
        ({"seeds": [{"n": 1}], "where": {"label": {"~": "x"}}}, 422),
        ({"seeds": [{"n": 1}], "where": {"label'; DROP TABLE items; --": "x"}}, 422),
        ({"seeds": [{"n": 1}], "where": {"n": 10**30}}, 422),
        ({"seeds": [{"n": 1}], "per_group": {"field": "nonsense"}}, 422),
        ({"seeds": [{"n": 1}], "per_window": True, "dedup_distance": 0.1}, 422),
        ({"seeds": [{"n": 1}], "nonsense": 1}, 422),
        ({"seeds": [{"n": 1}] * 101}, 422),
    ],
)
def test_invalid_queries(client: TestClient, body: dict[str, Any], status: int) -> None:
    response = query(client, **body)
    assert assert_problem(response, status)
    assert len(response.json()["detail"]) > 8


def test_not_a_number_and_deep_filters(client: TestClient) -> None:
    for text in (
        '{"seeds": [{"n": 1}], "where": {"duration_s": NaN}}',
        '{"seeds": [{"n": 1}], "where": {"duration_s": {"<": 1e999}}}',
        '{"seeds": [{"n": 1, "weight": Infinity}]}',
        '{"seeds": [{"n": 1}], "where": ' + '{"not": ' * 150 + '{"label": "x"}' + "}" * 150 + "}",
        '{"seeds": [{"n": 1}], "where": {"label": "\\ud800"}}',
        json.dumps({"seeds": [{"n": 1}], "where": {"label": ["x"] * 20_000}}),
        json.dumps({"seeds": [{"n": 1}], "where": {f"metadata.k{n}": n for n in range(10_000)}}),
    ):
        response = client.post("/nearest/query", content=text, headers={"Content-Type": "application/json"})
        assert response.status_code in (200, 422), text[:80]
        if response.status_code == 422:
            assert_problem(response, 422)


def test_sql_in_a_filter_is_only_a_value(client: TestClient) -> None:
    for text in ("' OR 1=1 --", '"; DROP TABLE items', "%", "_"):
        answer = query(client, seeds=[{"n": 1}], where={"label": text})
        assert answer.json()["results"] == []
        if text != "_":  # which the ids contain
            assert client.get("/items", params={"text": text}).json()["items"] == []
        assert client.get("/items", params={"label": text}).json()["items"] == []
    assert assert_problem(client.get("/items?text=%00"), 422)
    assert len(client.get("/items?limit=100").json()["items"]) > 10


# ------------------------------------------------------------------------------------------------- encoders


def test_vector_of_another_encoder_is_refused(client: TestClient, folder: Path, nearest: Nearest) -> None:
    sound = next(folder.rglob("*.wav")).read_bytes()
    embedded = upload(client, "/embed", sound).json()
    vector, own = embedded["windows"][0]["embedding"], embedded["encoder_sha256"]
    assert own == nearest.header.encoder_sha256 == client.get("/model").json()["encoder_sha256"]
    for known in (own, "MFCCStats", None):
        assert client.post("/nearest", json={"embedding": vector, "encoder": known}).status_code == 200
        seed = {"embedding": vector, "encoder": known}
        assert client.post("/nearest/query", json={"seeds": [seed]}).status_code == 200
        assert nearest.search(vector, encoder=known)[0].distance < 0.01
    for other in ("0" * 64, "JoinedVQVAE", ""):
        wrong = {"embedding": vector, "encoder": other}
        for path, body in (
            ("/nearest", wrong),
            ("/nearest/query", {"seeds": [{"n": 1}, wrong]}),
            ("/nearest/batch", {"queries": [wrong]}),
            ("/feedback", {"query": wrong, "answer": 1, "like": True}),
        ):
            refused = client.post(path, json=body)
            assert assert_problem(refused, 409) == "wrong-encoder"
            assert f"MFCCStats (sha256 {own})" in refused.json()["detail"]
        with pytest.raises(WrongEncoderError, match=own):
            nearest.search(vector, encoder=other)
        with pytest.raises(WrongEncoderError, match=own):
            nearest.query(ByVector(vector, encoder=other))


# ------------------------------------------------------------------------------------------------- sounds as seeds


def test_query_by_sounds_items_and_ids_with_options(client: TestClient, folder: Path, nearest: Nearest) -> None:
    path = sorted(folder.rglob("*.wav"))[0]
    item = nearest.item(path.relative_to(folder).as_posix())
    sound = path.read_bytes()
    options = {"k": 5, "where": {"not": {"label": item.label}}, "per_group": {"field": "label", "limit": 1}}
    expected = client.post("/nearest/query", json={"seeds": [{"n": item.n}], **options}).json()["results"]
    assert len({row["label"] for row in expected} - {item.label}) == 5
    by_id = {"seeds": [{"id": item.id}], **options}
    in_json = {"seeds": [{"sound": base64.b64encode(sound).decode()}], **options}
    answers = [client.post("/nearest/query", json=body) for body in (by_id, in_json)]
    form = {"query": json.dumps({"seeds": [{"upload": "mine"}], **options})}
    answers.append(client.post("/nearest/query", data=form, files={"mine": ("x.wav", sound)}))
    for answer in answers:
        rows = assert_matches(answer, schemas.QueryResponse)["results"]
        assert [row["n"] for row in rows] == [row["n"] for row in expected]
    batch = {"queries": [{"upload": "a"}, {"id": item.id}, {"n": item.n}], "k": 2}
    files = {"a": ("a.wav", sound)}
    lists = client.post("/nearest/batch", data={"query": json.dumps(batch)}, files=files).json()["results"]
    assert lists[0][0]["n"] == item.n
    assert lists[1] == lists[2]
    part = {"seeds": [{"upload": "a", "start_s": 0.1, "end_s": 0.3}, {"n": item.n, "weight": -0.5}]}
    answer = client.post("/nearest/query", data={"query": json.dumps(part)}, files=files)
    assert_matches(answer, schemas.QueryResponse)


def test_sounds_of_a_query_that_cannot_be_used(client: TestClient) -> None:
    def post(seed: dict[str, Any], files: dict[str, bytes] | None = None) -> Any:
        if files is None:
            return client.post("/nearest/query", json={"seeds": [seed]})
        form = {name: (name, content) for name, content in files.items()}
        return client.post("/nearest/query", data={"query": json.dumps({"seeds": [seed]})}, files=form)

    assert "base64" in post({"sound": "?"}).json()["detail"]
    assert post({"upload": "a"}).json()["errors"][0]["pointer"] == "/seeds/0/upload"
    assert post({"upload": "a"}, {"b": b"x"}).status_code == 422
    assert assert_problem(post({"upload": "a"}, {"a": b"noise"}), 422) == "not-a-sound"
    assert assert_problem(post({"id": "no/such.wav"}), 404) == "unknown-item"
    assert "give one of" in post({"n": 1, "id": "a"}).json()["detail"]
    assert "give one of" in post({}).json()["detail"]
    assert post({"n": 1}, {f"f{n}": b"x" for n in range(requests.MAX_SOUNDS + 1)}).status_code == 400
    no_query = client.post("/nearest/query", files={"a": ("a", b"x")})
    assert assert_problem(no_query, 422) == "invalid-request"
    many = {"queries": [{"sound": "AAAA"}] * (requests.MAX_SOUNDS + 1)}
    assert "at most" in client.post("/nearest/batch", json=many).json()["detail"]
    # A form may be as large as an upload, JSON may not.
    large = client.post("/nearest/query", content=b"{}", headers={"Content-Length": "1500000"})
    assert assert_problem(large, 413) == "too-large"
    assert assert_problem(post({"upload": "a"}, {"a": bytes(1_500_000)}), 422) == "not-a-sound"


def test_query_says_when_nothing_is_similar(client: TestClient, nearest: Nearest) -> None:
    vector = nearest.query_vector(1)
    near = client.post("/nearest/query", json={"seeds": [{"embedding": vector.tolist()}], "k": 3}).json()
    assert near["nothing_similar"] is False
    unlike = np.eye(nearest.dim)[-1]  # no encoder uses its last number for these sounds
    far = client.post("/nearest/query", json={"seeds": [{"embedding": unlike.tolist()}], "k": 3}).json()
    assert far["nothing_similar"] is nearest.query(ByVector(unlike), 3).nothing_similar is True


def test_any_answer_as_a_playlist(client: TestClient, nearest: Nearest) -> None:
    accept = {"Accept": playlist.PLAYLIST}
    vector = nearest.query_vector(1).tolist()
    for method, path, body in (
        ("POST", "/nearest?k=3", {"embedding": vector}),
        ("POST", "/nearest/query", {"seeds": [{"n": 1}], "k": 3}),
        ("POST", "/nearest/batch", {"queries": [{"n": 1}, {"n": 2}], "k": 3}),
        ("GET", "/items/1/nearest?k=3", None),
        ("GET", "/items?limit=3", None),
        ("GET", "/path?from_n=1&to_n=9&steps=3", None),
    ):
        plain = client.request(method, path, json=body)
        answer = client.request(method, path, json=body, headers=accept)
        assert (answer.status_code, answer.headers["content-type"]) == (200, playlist.PLAYLIST), path
        assert answer.headers.get("x-boiler-generation") == plain.headers.get("x-boiler-generation")
        rows = (
            plain.json() if isinstance(plain.json(), list) else plain.json().get("results", plain.json().get("items"))
        )
        rows = [row for part in rows for row in (part if isinstance(part, list) else [part])]
        numbers = list(dict.fromkeys(row["n"] for row in rows))
        lines = answer.text.splitlines()
        assert lines[0] == "#EXTM3U"
        assert lines[2::2] == [f"http://testserver/items/{n}/audio" for n in numbers]
        assert all(re.match(r"#EXTINF:[1-9]\d*,", line) for line in lines[1::2])
        assert client.get(lines[2]).status_code == 200
    # What lists no sounds, and errors, stay what they are.
    assert client.get("/model", headers=accept).json() == client.get("/model").json()
    assert_problem(client.get("/items/99999", headers=accept), 404)
    assert_problem(client.post("/nearest", json={"embedding": [1.0]}, headers=accept), 422)


def test_items_by_filter_and_by_id(client: TestClient, nearest: Nearest) -> None:
    items = nearest.items(limit=100)
    where = json.dumps({"label": items[0].label})
    page = assert_matches(client.get("/items", params={"where": where, "limit": 100}), schemas.ItemPage)
    assert [row["n"] for row in page["items"]] == [item.n for item in items if item.label == items[0].label]
    for wrong in ("", "x", "[]", '{"nosuch": 1}', '{"duration_s": {"?": 1}}', "1" * 20_001):
        assert_problem(client.get("/items", params={"where": wrong}), 422)
    found = assert_matches(client.get("/items/by-id", params={"id": items[3].id}), schemas.ItemRow)
    assert found["n"] == items[3].n
    assert_problem(client.get("/items/by-id", params={"id": "no such"}), 404)
    assert_problem(client.get("/items/by-id"), 422)


def test_failures_are_listed_in_pages(tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    write(tmp_path / "sounds" / "good.wav", tone(440, 1.0, 16_000), 16_000)
    for n in range(3):
        (tmp_path / "sounds" / f"bad{n}.wav").write_bytes(b"noise" * n)
    model_dir = tmp_path / "model"
    index(IndexSettings(wav_dir=tmp_path / "sounds", encoder="MFCCStats", model_dir=model_dir, device="cpu"))
    with TestClient(BoilerApp(Settings(model_dir=model_dir, log="none"))) as client:
        whole = assert_matches(client.get("/failures"), failures.FailuresResponse)
        assert [row["id"] for row in whole["failures"]] == ["bad0.wav", "bad1.wav", "bad2.wav"]
        assert all(row["reason"] and str(tmp_path) not in row["reason"] for row in whole["failures"])
        pages = [client.get("/failures", params={"offset": at, "limit": 2}).json() for at in (0, 2)]
        assert [row for page in pages for row in page["failures"]] == whole["failures"]
        assert [page["more"] for page in pages] == [True, False]
