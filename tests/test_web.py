"""The service as a client sees it: the rows of POST /nearest, and every mistake answered as a problem, never a 500."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies
from pydantic import TypeAdapter
from serving import publish
from starlette.testclient import TestClient

from boiler import generation
from boiler.api import answering, models
from boiler.api.nearest import Nearest
from boiler.api.web import Web
from boiler.errors import ModelDirError
from boiler.settings import Settings

DIM = 16
N = 200
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("web") / "model"
    publish(folder, N, DIM)
    return folder


@pytest.fixture(scope="module")
def client(model_dir: Path) -> Iterator[TestClient]:
    with TestClient(Web(Settings(model_dir=model_dir, log="none")), raise_server_exceptions=False) as client:
        yield client


def assert_problem(response: Any, status: int, slug: str | None = None) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    models.ProblemDetails.model_validate(problem, strict=True)
    assert problem["status"] == status
    assert problem["request_id"] == response.headers["x-request-id"]
    assert len(problem["detail"]) > 8
    if slug is not None:
        assert problem["type"] == f"urn:boiler:problem:{slug}"
    return problem


# ------------------------------------------------------------------------------------------------- the answer


def test_nearest_answers_a_bare_list_nearest_first_with_engine_and_generation_in_the_head(
    client: TestClient, model_dir: Path
) -> None:
    opened = generation.open(model_dir)
    query = np.random.default_rng(1).normal(size=DIM)
    response = client.post("/nearest?k=12", json={"embedding": query.tolist()})
    assert response.status_code == 200
    rows = response.json()
    assert [list(row) for row in rows] == [
        ["id", "n", "url", "label", "start_s", "end_s", "distance", "similarity"]
    ] * 12
    cosine = opened.vectors @ query / np.linalg.norm(query)
    truth = np.argsort(-cosine, kind="stable")[:12]
    assert [row["n"] for row in rows] == truth.tolist()
    np.testing.assert_allclose([row["similarity"] for row in rows], cosine[truth], atol=2e-6)
    np.testing.assert_allclose([row["distance"] for row in rows], np.sqrt(2 - 2 * cosine[truth]), atol=2e-6)
    first = rows[0]
    assert (first["url"], first["end_s"]) == (f"https://sounds.example/{first['n']}", 5.0)
    assert response.headers["x-boiler-engine"] == "exact"
    assert response.headers["x-boiler-generation"] == opened.name


def test_the_rows_rendered_at_once_are_those_rendered_one_by_one(client: TestClient, model_dir: Path) -> None:
    query = np.random.default_rng(3).normal(size=DIM)
    plain = answering.rows(Nearest(model_dir).search(query, 40))
    for _ in range(2):  # rows rendered anew, and rows that are ready
        response = client.post("/nearest?k=40", json={"embedding": query.tolist()})
        assert response.json() == plain
        assert int(response.headers["content-length"]) == len(response.content)


def test_the_length_of_a_vector_counts_for_nothing(client: TestClient) -> None:
    query = np.random.default_rng(2).normal(size=DIM)
    answers = [
        client.post("/nearest", json={"embedding": (query * scale).tolist()}).json()
        for scale in (1.0, 1e-30, 1e30, 1e300)
    ]
    assert all([row["n"] for row in answer] == [row["n"] for row in answers[0]] for answer in answers)


@pytest.mark.parametrize(("k", "expected"), [(None, 10), (1, 1), (N, N), (1000, N)])
def test_as_many_rows_as_asked_and_there_are(client: TestClient, k: int | None, expected: int) -> None:
    response = client.post("/nearest" if k is None else f"/nearest?k={k}", json={"embedding": [1.0] * DIM})
    assert len(response.json()) == expected


def test_whole_numbers_are_numbers(client: TestClient) -> None:
    assert client.post("/nearest", json={"embedding": [1] * DIM}).status_code == 200


def test_an_item_is_asked_by_its_number_and_left_out(client: TestClient, model_dir: Path) -> None:
    opened = generation.open(model_dir)
    rows = client.get("/items/7/nearest?k=5").json()
    truth = [n for n in np.argsort(-(opened.vectors @ opened.vectors[7]), kind="stable").tolist() if n != 7]
    assert [row["n"] for row in rows] == truth[:5]


def test_a_batch_answers_what_single_questions_do(client: TestClient) -> None:
    vector = [float(value) for value in range(1, DIM + 1)]
    response = client.post("/nearest/batch", json={"queries": [{"embedding": vector}, {"n": 3}], "k": 4})
    answer = response.json()
    assert answer["results"][0] == client.post("/nearest?k=4", json={"embedding": vector}).json()
    assert answer["results"][1] == client.get("/items/3/nearest?k=4").json()
    assert answer["engine"] == response.headers["x-boiler-engine"]


def test_items_come_in_pages_that_meet(client: TestClient) -> None:
    seen, offset = [], 0
    while True:
        page = client.get("/items", params={"offset": offset, "limit": 75}).json()
        seen += [item["n"] for item in page["items"]]
        offset += len(page["items"])
        if not page["more"]:
            break
    assert seen == list(range(N))
    assert {item["label"] for item in client.get("/items?label=kind3").json()["items"]} == {"kind3"}
    assert [item["n"] for item in client.get("/items?text=s00042").json()["items"]] == [42]


def test_answers_are_of_the_forms_that_the_description_promises(client: TestClient) -> None:
    for path, form in {
        "/health": models.Health,
        "/readyz": models.Health,
        "/livez": models.Alive,
        "/model": models.Model,
        "/items?limit=3": models.ItemPage,
        "/items/0": models.Item,
        "/items/0/nearest": list[models.Neighbour],
    }.items():
        response = client.get(path)
        assert response.status_code == 200
        known = TypeAdapter(form).validate_json(response.text)
        # nothing is answered that the description does not tell of
        assert json.loads(TypeAdapter(form).dump_json(known)) == response.json()


def test_no_answer_holds_a_path_of_this_machine(client: TestClient, model_dir: Path) -> None:
    paths = ["/health", "/model", "/items", "/items/0", "/items/0/audio", "/items/0/waveform", "/openapi.json"]
    for path in paths:
        assert str(model_dir.parent) not in client.get(path).text


# ------------------------------------------------------------------------------------------------- the mistakes


@pytest.mark.parametrize(
    ("body", "slug"),
    [
        (b"", "invalid-json"),
        (b"{", "invalid-json"),
        (b"null", "invalid-request"),
        (b"[]", "invalid-request"),
        (b"{}", "invalid-request"),
        (b'{"embedding": null}', "invalid-request"),
        (b'{"embedding": "1,2,3"}', "invalid-request"),
        (b'{"embedding": []}', "invalid-request"),
        (b'{"embedding": [NaN]}', "invalid-request"),
        (b'{"embedding": [Infinity, 1]}', "invalid-request"),
        (b'{"embedding": [-Infinity]}', "invalid-request"),
        (b'{"embedding": [1e999]}', "invalid-request"),
        (b'{"embedding": [' + b"9" * 5000 + b"]}", "invalid-json"),
        (b'{"embedding": [true]}', "invalid-request"),
        (b'{"embedding": ["1"]}', "invalid-request"),
        (b'{"embedding": [[1]]}', "invalid-request"),
        (b'{"embedding": ["\\ud800"]}', "invalid-json"),
        (b'{"\\ud800": 1}', "invalid-json"),
        (b'{"embedding": [1], "\\u0000": 1}', "invalid-request"),
        (b'{"embedding": [1, 2, 3]}', "wrong-length"),
        (b'{"embedding": ' + json.dumps([0] * DIM).encode() + b"}", "zero-vector"),
        (b'{"embedding": ' + json.dumps([1] * DIM).encode() + b', "k": 3}', "invalid-request"),
        (b"\xff\xfe{", "invalid-json"),
        (b'{"embedding": ' + b"[" * 100_000, "invalid-json"),
    ],
)
def test_a_wrong_body_is_said_to_a_person(client: TestClient, body: bytes, slug: str) -> None:
    problem = assert_problem(client.post("/nearest", content=body, headers=JSON), 422, slug)
    assert len(json.dumps(problem)) < 2_000


def test_the_message_names_both_lengths(client: TestClient) -> None:
    problem = assert_problem(client.post("/nearest", json={"embedding": [1.0, 2.0, 3.0]}), 422)
    assert problem["detail"] == f"the vector has 3 numbers, this index has {DIM}"
    assert problem["errors"] == [{"pointer": "/embedding", "detail": problem["detail"]}]


def test_a_wrong_vector_is_not_sent_back(client: TestClient) -> None:
    response = client.post("/nearest", json={"embedding": ["secret"] * 20_000})
    assert_problem(response, 422)
    assert "secret" not in response.text
    assert len(response.content) < 5_000


@pytest.mark.parametrize(
    "query",
    ["k=0", "k=-1", "k=1.5", "k=1e400", "k=x", "k=", "k=1001", "k=" + "9" * 4_000, "k=%00", "k=٣", "K=3", "kk=3"],
)
def test_a_wrong_k_or_a_parameter_there_is_not_is_refused(client: TestClient, query: str) -> None:
    assert_problem(client.post(f"/nearest?{query}", json={"embedding": [1.0] * DIM}), 422)
    if not query.startswith(("k=1.", "k=1e")):
        assert_problem(client.get(f"/items/0/nearest?{query}"), 422)


def test_only_json_is_read_as_json(client: TestClient) -> None:
    body = json.dumps({"embedding": [1.0] * DIM})
    for kind in ("application/x-www-form-urlencoded", "text/plain", ""):
        response = client.post("/nearest", content=body, headers={"Content-Type": kind})
        assert_problem(response, 415, "unsupported-media-type")
    ok = client.post("/nearest", content=body, headers={"Content-Type": "Application/JSON; charset=utf-8"})
    assert ok.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/nearest", 405),
        ("DELETE", "/items", 405),
        ("GET", "/items/200", 404),
        ("GET", f"/items/{2**63 - 1}", 404),
        ("GET", f"/items/{2**63}", 422),
        ("GET", "/items/-1", 422),
        ("GET", "/items/seven", 422),
        ("GET", "/items/..%2f..%2fetc%2fpasswd", 404),
        ("GET", "/items/%2e%2e", 422),
        ("GET", "/items/1;drop", 422),
        ("GET", "/items?limit=0", 422),
        ("GET", "/items?limit=1001", 422),
        ("GET", "/items?offset=-1", 422),
        ("GET", "/items?nonsense=1", 422),
        ("GET", "/items/0/waveform?points=0", 422),
        ("GET", "/items/0/spectrogram.png?width=99999", 422),
        ("GET", "/items/0/audio?start_s=nan", 422),
        ("GET", "/items/0/audio?start_s=2&end_s=1", 422),
        ("POST", "/nearest/audio", 415),
        ("POST", "/embed", 415),
    ],
)
def test_every_error_is_a_problem(client: TestClient, method: str, path: str, status: int) -> None:
    assert_problem(client.request(method, path), status)


def test_a_wrong_method_is_told_all_the_right_ones(client: TestClient) -> None:
    assert client.request("PUT", "/feedback").headers["allow"] == "GET, POST"
    assert client.get("/feedback/1").headers["allow"] == "DELETE"
    assert client.get("/nearest").headers["allow"] == "POST"


def test_a_batch_is_bounded_and_its_mistakes_are_pointed_at(client: TestClient) -> None:
    vector = [1.0] * DIM
    assert_problem(client.post("/nearest/batch", json={"queries": [{"n": 0}] * 33}), 422)
    assert_problem(client.post("/nearest/batch", json={"queries": []}), 422)
    assert_problem(client.post("/nearest/batch", json={"queries": [{"n": 0}], "k": 2_000}), 422)
    assert_problem(client.post("/nearest/batch", json={"queries": [{"n": 999_999}]}), 404)
    for wrong in ({}, {"n": 1, "embedding": vector}, {"embedding": [1.0]}):
        problem = assert_problem(client.post("/nearest/batch", json={"queries": [{"n": 0}, wrong]}), 422)
        assert problem["errors"][0]["pointer"].startswith("/queries/1")


HOSTILE_NUMBERS = strategies.one_of(
    strategies.sampled_from(["NaN", "Infinity", "-Infinity", "1e999", "-1e400", "9" * 400, "-0.0", "1e-999", "true"]),
    strategies.floats(allow_nan=False, allow_infinity=False).map(repr),
    strategies.integers().map(str),
    strategies.text(max_size=5).map(json.dumps),
    strategies.sampled_from(['"\\ud800"', '"\\udfff\\ud800"', "null", "{}", "[]", "[[[[1]]]]"]),
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    numbers=strategies.lists(HOSTILE_NUMBERS, min_size=0, max_size=DIM + 2),
    keys=strategies.lists(
        strategies.sampled_from(["embedding", "k", "", "__proto__", "\\ud800"]), min_size=1, max_size=3
    ),
)
@example(numbers=["1"] * DIM, keys=["embedding", "embedding"])
@example(numbers=["1e308"] * DIM, keys=["embedding"])
@example(numbers=["5e-324"] * DIM, keys=["embedding"])
def test_whatever_stands_in_the_json_the_answer_is_rows_or_a_problem(
    client: TestClient, numbers: list[str], keys: list[str]
) -> None:
    body = "{" + ", ".join(f'"{key}": [{", ".join(numbers)}]' for key in keys) + "}"
    for path in ("/nearest", "/nearest/batch"):
        response = client.post(path, content=body.encode("utf-8", "surrogatepass"), headers=JSON)
        if response.status_code == 200:
            assert all(math.isfinite(row["distance"]) for row in response.json())
        else:
            assert_problem(response, 422)


def test_random_bytes_are_never_a_500(client: TestClient) -> None:
    dice = random.Random(0)
    for length in (1, 3, 17, 400):
        for _ in range(20):
            assert_problem(client.post("/nearest", content=dice.randbytes(length), headers=JSON), 422)


# ------------------------------------------------------------------------------------------------- the description


def test_every_example_of_the_description_works(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    asked = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "multipart/form-data" in content:
                continue  # a sound; tested where sounds are embedded
            body = None
            if content:
                name = content["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
                body = document["components"]["schemas"][name]["example"]
            parameters = operation.get("parameters", ())
            filled = path.format(
                **{
                    one["name"]: (one.get("example") or one["schema"].get("examples", [0])[0])
                    for one in parameters
                    if one["in"] == "path"
                }
            )
            query = {one["name"]: one["example"] for one in parameters if one["in"] == "query" and "example" in one}
            needed = [one for one in parameters if one["in"] == "query" and one.get("required")]
            query |= {one["name"]: (one.get("example") or one["schema"]["examples"][0]) for one in needed}
            if (path.startswith("/items/{n}/") and "nearest" not in path) or path == "/explain" or method == "delete":
                continue  # needs the folder of sounds, or a judgement; tested in test_media and test_relating
            response = client.request(method, filled, params=query, json=body)
            assert response.status_code in (200, 201), (method, path, response.text)
            asked += 1
    assert asked >= 10


def test_the_description_knows_this_index_and_its_limits(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    embedding = document["components"]["schemas"]["NearestRequest"]["properties"]["embedding"]
    assert (embedding["minItems"], embedding["maxItems"]) == (DIM, DIM)
    k = next(one for one in document["paths"]["/nearest"]["post"]["parameters"] if one["name"] == "k")
    assert (k["schema"]["minimum"], k["schema"]["maximum"]) == (1, 1000)
    identities = [one["operationId"] for operations in document["paths"].values() for one in operations.values()]
    assert len(set(identities)) == len(identities)
    for operations in document["paths"].values():
        for operation in operations.values():
            assert operation["description"]
            assert list(operation["responses"]["4XX"]["content"]) == ["application/problem+json"]


def test_the_first_page_leads_to_the_description(client: TestClient) -> None:
    assert client.get("/", follow_redirects=False).headers["location"] == "docs"
    assert "swagger" in client.get("/docs").text


# ------------------------------------------------------------------------------------------------- what it does not do


def test_no_torch_until_a_sound_is_embedded(model_dir: Path) -> None:
    script = f"""
import sys
from starlette.testclient import TestClient
from boiler.api.nearest import Nearest
from boiler.api.web import Web
from boiler.errors import ModelDirError
from boiler.settings import Settings
with TestClient(Web(Settings(model_dir={str(model_dir)!r}))) as client:
    assert client.post("/nearest", json={{"embedding": [1.0] * {DIM}}}).status_code == 200
    assert client.get("/items/0/nearest").status_code == 200
    assert client.get("/openapi.json").status_code == 200
print(sorted(name for name in sys.modules if name.split(".")[0] in ("torch", "torchaudio", "streamlit", "matplotlib")))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_an_answer_keeps_to_itself_stands_in_the_log(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def lost(*_: object, **__: object) -> None:
        raise ModelDirError("the disk with the index is gone")

    with TestClient(Web(Settings(model_dir=model_dir, log="none")), raise_server_exceptions=False) as client:
        monkeypatch.setattr(Nearest, "item", lost)
        with caplog.at_level("ERROR", logger="boiler"):
            answer = client.get("/items/1")
    assert answer.status_code == 503
    assert "disk" not in answer.text
    assert f"{answer.json()['request_id']}: the disk with the index is gone" in caplog.text
