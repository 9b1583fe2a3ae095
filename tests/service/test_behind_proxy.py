"""Below a path prefix, behind proxies that strip it and that do not: keys, scopes and answers are as without it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nginx
import pytest
import requests
from browsing import proxied
from pydantic import SecretStr
from serving import publish, running
from starlette.testclient import TestClient

from boiler.audio.synthesis import write_collection
from boiler.indexing.pipeline import IndexSettings, index
from boiler.service.app import BoilerApp
from boiler.service.policy import policy_of
from boiler.service.settings import SCOPES, Settings

PREFIX = "/boiler"
KEYS = {scope: f"{scope}-0123456789abcdef" for scope in SCOPES}
SENT: dict[str, dict[str, str]] = {"none": {}} | {scope: {"X-API-Key": key} for scope, key in KEYS.items()}


class Outcome(NamedTuple):
    """What can be compared of two responses. `kind`: the type of a problem, else the media type."""

    status: int
    kind: str


Ask = Callable[[str, str, dict[str, str]], Outcome]


def outcome(response: Any) -> Outcome:
    kind = response.headers.get("content-type", "")
    if kind == "application/problem+json" and response.content:
        kind = response.json()["type"]
    return Outcome(response.status_code, kind)


def all_requests() -> list[tuple[str, str]]:
    """Method and path of every route, of HEAD and OPTIONS, and of what is no route."""
    found = []
    for route in BoilerApp().api_routes:
        path = route.path.format(n=0, id=1, name="swagger-ui.css")
        for method in sorted(route.methods or ()):
            found += [(method, path)] + ([("HEAD", path), ("OPTIONS", path)] if method == "GET" else [])
    others = [("GET", "/nosuch"), ("PUT", "/feedback"), ("GET", "/items/"), ("POST", "/feedback/"), ("GET", "/%69tems")]
    return sorted({*found, *others})


Matrix = dict[tuple[str, str, str], Outcome]


def matrix(ask: Ask) -> Matrix:
    """The outcome of every request with every key."""
    return {
        (method, path, name): ask(method, path, headers)
        for method, path in all_requests()
        for name, headers in SENT.items()
    }


def test_the_matrix_is_what_the_routes_declare(expected: Matrix) -> None:
    for route in BoilerApp().api_routes:
        needed = policy_of(route).scope
        path = route.path.format(n=0, id=1, name="swagger-ui.css")
        for method in route.methods or ():
            for name in SENT:
                status = expected[method, path, name].status
                held = SCOPES.index(name) if name in SCOPES else -1
                if needed is None or held >= SCOPES.index(needed):
                    assert status not in (401, 403), (method, path, name)
                else:
                    assert status == (403 if held >= 0 else 401), (method, path, name)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prefixed") / "model"
    publish(folder, 20, 8)
    return folder


@contextlib.contextmanager
def in_process(model_dir: Path, prefix: str = "", root_path: str = "") -> Iterator[Ask]:
    """Asks an application below this root path, by paths with this prefix."""
    keys = tuple(SecretStr(f"{scope}:{key}") for scope, key in KEYS.items())
    app = BoilerApp(Settings(model_dir=model_dir, log="none", api_keys=keys, root_path=root_path))
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False) as client:
        yield lambda method, path, headers: outcome(client.request(method, prefix + path, headers=headers))


@pytest.fixture(scope="module")
def expected(model_dir: Path) -> Matrix:
    """Without a prefix."""
    with in_process(model_dir) as ask:
        return matrix(ask)


@pytest.mark.parametrize("prefix", ["", PREFIX], ids=["stripped", "kept"])
def test_a_root_path_changes_no_answer(model_dir: Path, prefix: str, expected: Matrix) -> None:
    with in_process(model_dir, prefix, PREFIX) as ask:
        assert matrix(ask) == expected


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    write_collection(folder / "sounds", per_kind=1)
    index(IndexSettings(wav_dir=folder / "sounds", encoder="MFCCStats", model_dir=folder / "model", device="cpu"))
    return folder / "model"


def environment(model_dir: Path) -> dict[str, str]:
    keys = ",".join(f"{scope}:{key}" for scope, key in KEYS.items())
    return {"BOILER_MODEL_DIR": str(model_dir), "BOILER_API_KEYS": keys, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def expected_of_sounds(indexed: Path) -> Matrix:
    """From the service, without a prefix."""
    with running(["boiler.cli.serve", "--port", "0"], environment(indexed)) as server, requests.Session() as session:
        return matrix(asked_at(server.url, session))


@pytest.fixture(scope="module", params=["nginx, stripped", "nginx, kept", "nginx, --root-path", "own proxy"])
def below(request: pytest.FixtureRequest, indexed: Path) -> Iterator[str]:
    """The URL of the service below a prefix, behind each kind of proxy."""
    own = environment(indexed)
    command = ["boiler.cli.serve", "--port", "0"]
    if "root-path" in request.param:
        command = ["uvicorn", "boiler.api.web:app", "--port", "0", "--root-path", PREFIX]
    else:
        own["BOILER_ROOT_PATH"] = PREFIX
    with running(command, own) as server:
        if request.param == "own proxy":
            with proxied(server.url, PREFIX) as url:
                yield url
        else:
            location = nginx.keeping if "kept" in request.param else nginx.stripping
            with nginx.proxy_with(location(PREFIX, server.url)) as url:
                yield url + PREFIX


def asked_at(url: str, session: requests.Session) -> Ask:
    def ask(method: str, path: str, headers: dict[str, str]) -> Outcome:
        return outcome(session.request(method, url + path, headers=headers, allow_redirects=False, timeout=60))

    return ask


@pytest.mark.slow
def test_keys_and_scopes_are_the_same_behind_a_proxy(expected_of_sounds: Matrix, below: str) -> None:
    with requests.Session() as session:
        assert matrix(asked_at(below, session)) == expected_of_sounds
        statuses = {one.status for one in expected_of_sounds.values()}
        assert {200, 401, 403, 404, 405, 415} <= statuses
        # The prefix twice, or none, opens nothing.
        for path in (PREFIX, PREFIX * 2):
            for name in ("none", "read"):
                refused = session.post(f"{below}{path}/feedback", headers=SENT[name], timeout=60)
                assert refused.status_code in (401, 403, 404)


@pytest.mark.slow
def test_sounds_redirects_and_the_description_stay_below_the_prefix(below: str) -> None:
    key = SENT["read"]
    with requests.Session() as session:
        session.headers.update(key)
        described = session.get(f"{below}/openapi.json", timeout=60).json()
        assert described["servers"] == [{"url": PREFIX}]
        origin = below.removesuffix(PREFIX)
        first = session.get(f"{origin}{described['servers'][0]['url']}/items?limit=1", timeout=60).json()["items"][0]
        sound = session.get(f"{below}/items/{first['n']}/audio", headers={"Range": "bytes=0-99"}, timeout=60)
        assert (sound.status_code, sound.content[:4], len(sound.content)) == (206, b"RIFF", 100)
        waveform = session.get(f"{below}/items/{first['n']}/waveform?points=50", timeout=60).json()
        assert len(waveform["low"]) == len(waveform["high"]) == 50
        whole = session.get(f"{below}/items/{first['n']}/audio", timeout=60).content
        uploaded = session.post(f"{below}/nearest/audio?k=1", files={"file": whole}, timeout=240).json()
        assert uploaded[0]["n"] == first["n"]
        slashed = session.get(f"{below}/items/", timeout=60)
        assert (slashed.status_code, slashed.url) == (200, f"{below}/items")
        page = session.get(f"{below}/", timeout=60)
        assert page.url == f"{below}/docs"
        links = re.findall(r'(?:src|href)="([^"]+)"|url: \'([^\']+)\'', page.text)
        for link in (one or other for one, other in links):
            if not link.startswith("data:"):
                assert session.get(f"{below}/{link}", timeout=60).status_code == 200


def test_without_a_prefix_the_description_names_no_server(model_dir: Path) -> None:
    with TestClient(BoilerApp(Settings(model_dir=model_dir, log="none"))) as client:
        assert "servers" not in client.get("/openapi.json").json()
