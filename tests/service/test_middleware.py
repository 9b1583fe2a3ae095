"""What every request passes: ids, keys, origins, sizes, numbers of requests, metrics and log lines."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from serving import publish
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from boiler.service.app import Web
from boiler.service.auth import Keys
from boiler.service.middleware import Edge
from boiler.service.problems import Problem
from boiler.service.settings import SCOPES, Settings

DIM = 8
READ, FEEDBACK = "reader-0123456789abcdef", "feeder-0123456789abcdef"


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edge") / "model"
    publish(folder, 20, DIM)
    return folder


def opened(model_dir: Path, **values: Any) -> TestClient:
    values.setdefault("log", "none")
    return TestClient(Web(Settings(model_dir=model_dir, **values)), raise_server_exceptions=False)


@pytest.fixture(scope="module")
def client(model_dir: Path) -> Iterator[TestClient]:
    with opened(model_dir) as client:
        yield client


def slug(response: Any) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    return str(response.json()["type"].rsplit(":", 1)[1])


# ------------------------------------------------------------------------------------------------- ids


def test_a_plain_request_id_comes_back_and_any_other_is_replaced(client: TestClient) -> None:
    assert client.get("/livez", headers={"X-Request-ID": "abc-1.2_Z"}).headers["x-request-id"] == "abc-1.2_Z"
    for strange in ("", "a b", "<script>", "x" * 65, "ä".encode()):
        made = client.get("/livez", headers={"X-Request-ID": strange}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{16}", made)


def test_every_request_has_an_id_of_its_own(client: TestClient) -> None:
    assert len({client.get("/nowhere").json()["request_id"] for _ in range(20)}) == 20


# ------------------------------------------------------------------------------------------------- keys


@pytest.fixture(scope="module")
def locked(model_dir: Path) -> Iterator[TestClient]:
    keys = (SecretStr(f"read:{READ}"), SecretStr(f"feedback:{FEEDBACK}"))
    with opened(model_dir, api_keys=keys) as client:
        yield client


def test_without_a_key_nothing_of_the_collection_is_told(locked: TestClient) -> None:
    document = locked.get("/openapi.json").json()
    unlocked = {"/livez", "/readyz", "/health"}
    for path, operations in document["paths"].items():
        for method in operations:
            response = locked.request(method, path.format(n=0, id=1))
            if path in unlocked:
                assert response.status_code == 200
            else:
                assert (response.status_code, slug(response)) == (401, "unauthorised"), path
                assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {READ}"},
        {"Authorization": f"bearer  {READ}"},
        {"X-API-Key": READ},
        {"X-API-Key": FEEDBACK},
    ],
)
def test_a_right_key_opens(locked: TestClient, headers: dict[str, str]) -> None:
    assert locked.get("/items", headers=headers).status_code == 200
    assert locked.get("/metrics", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": READ[:-1]},
        {"X-API-Key": READ + "0"},
        {"X-API-Key": ""},
        {"X-API-Key": f"read:{READ}"},
        {"Authorization": READ},
        {"Authorization": f"Basic {READ}"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong", "X-API-Key": READ},
    ],
)
def test_a_wrong_key_does_not(locked: TestClient, headers: dict[str, str]) -> None:
    assert slug(locked.get("/items", headers=headers)) == "unauthorised"


def test_a_scope_holds_those_before_it() -> None:
    keys = Keys(f"{scope}:{scope * 16}" for scope in SCOPES)
    for held in range(len(SCOPES)):
        for needed in range(len(SCOPES)):
            key = (SCOPES[held] * 16).encode()
            if needed <= held:
                keys.check(SCOPES[needed], None, key)
            else:
                with pytest.raises(Problem) as refused:
                    keys.check(SCOPES[needed], b"Bearer " + key, None)
                assert (refused.value.status_code, refused.value.slug) == (403, "scope")


def test_keys_are_not_kept_as_they_are() -> None:
    keys = Keys([f"read:{READ}"])
    assert READ not in repr(vars(keys))
    assert not Keys([])


def test_keys_and_what_is_asked_stand_in_no_log_line(model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with opened(model_dir, api_keys=(SecretStr(f"read:{READ}"),), log="json") as client:
        client.get("/items?text=intimate", headers={"X-API-Key": READ})
        client.get("/items/3", headers={"X-API-Key": "wrong-key-wrong-key"})
    written = capsys.readouterr().err
    lines = [json.loads(line) for line in written.splitlines()]
    assert [(line["route"], line["status"]) for line in lines] == [("/items", 200), ("unmatched", 401)]
    assert all(set(line) == {"time", "request_id", "method", "route", "status", "ms"} for line in lines)
    for secret in (READ, "wrong-key", "intimate"):
        assert secret not in written


# ------------------------------------------------------------------------------------------------- origins


def test_no_page_of_another_origin_may_ask_unless_it_is_listed(client: TestClient, model_dir: Path) -> None:
    asking = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in client.get("/items", headers=asking).headers
    with opened(model_dir, cors_origins=("https://a.example",)) as listed:
        assert listed.get("/items", headers=asking).headers["access-control-allow-origin"] == "https://a.example"
        preflight = listed.options("/nearest", headers=asking)
        assert preflight.status_code == 200
        other = {**asking, "Origin": "https://b.example"}
        assert "access-control-allow-origin" not in listed.get("/items", headers=other).headers
        assert listed.options("/nearest", headers=other).status_code == 400


# ------------------------------------------------------------------------------------------------- sizes


def padded(size_bytes: int) -> bytes:
    """A right body of so many bytes."""
    body = json.dumps({"embedding": [1.0] * DIM}).encode()
    return body + b" " * (size_bytes - len(body))


def test_a_body_may_be_as_large_as_the_limit_and_no_byte_larger(model_dir: Path) -> None:
    with opened(model_dir, max_body_bytes=2_048) as client:

        def post(size_bytes: int, *, chunked: bool) -> Any:
            body = padded(size_bytes)
            content = iter([body[:1_000], body[1_000:]]) if chunked else body
            return client.post("/nearest", content=content, headers={"Content-Type": "application/json"})

        for chunked in (False, True):
            assert post(2_048, chunked=chunked).status_code == 200
            refused = post(2_049, chunked=chunked)
            assert (refused.status_code, slug(refused)) == (413, "too-large")
            assert refused.headers["connection"] == "close"


def test_a_declared_size_is_refused_before_a_byte_is_read(model_dir: Path) -> None:
    with opened(model_dir) as client:
        for length in ("1048577", "9" * 30):
            refused = client.post("/nearest", content=b"", headers={"Content-Length": length})
            assert (refused.status_code, slug(refused)) == (413, "too-large")
        # an upload may be larger than a JSON body
        assert client.post("/embed", content=b"", headers={"Content-Length": "1048577"}).status_code == 415


# ------------------------------------------------------------------------------------------------- the wrapper alone


def scope_of(path: str = "/x", method: str = "GET") -> Scope:
    return {"type": "http", "path": path, "method": method, "headers": []}


class Wire:
    """The two ends of one request, without a server."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.body: asyncio.Queue[Message] = asyncio.Queue()

    async def receive(self) -> Message:
        return await self.body.get()

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])


def edge(app: Any, **values: Any) -> Edge:
    return Edge(app, Settings(model_dir=Path("unused"), log="none", **values), None, None)


def test_one_request_too_many_is_told_to_come_back_and_probes_are_answered() -> None:
    async def main() -> None:
        release = asyncio.Event()

        async def held(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/held":
                await release.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        wrapped = edge(held, max_requests=2)
        wires = [Wire() for _ in range(4)]
        holding = [asyncio.create_task(wrapped(scope_of("/held"), wire.receive, wire.send)) for wire in wires[:2]]
        await asyncio.sleep(0)
        await wrapped(scope_of("/more"), wires[2].receive, wires[2].send)
        assert wires[2].status == 503
        assert (b"retry-after", b"1") in wires[2].sent[0]["headers"]
        await wrapped(scope_of("/livez"), wires[3].receive, wires[3].send)
        assert wires[3].status == 200
        release.set()
        await asyncio.gather(*holding)
        assert [wire.status for wire in wires[:2]] == [200, 200]
        after = Wire()
        await wrapped(scope_of("/more"), after.receive, after.send)
        assert after.status == 200
        assert wrapped.in_progress == 0

    asyncio.run(main())


def test_a_body_that_does_not_come_is_given_up() -> None:
    async def main() -> None:
        async def reader(scope: Scope, receive: Receive, send: Send) -> None:
            with pytest.raises(Problem) as refused:
                while (await receive()).get("more_body"):
                    pass
            assert (refused.value.status_code, refused.value.slug) == (408, "slow-body")
            await send({"type": "http.response.start", "status": 408, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        wire = Wire()
        # drop by drop: each comes in time, all of them do not
        for _ in range(3):
            wire.body.put_nowait({"type": "http.request", "body": b"x", "more_body": True})
        await edge(reader, max_body_s=0.05)(scope_of(method="POST"), wire.receive, wire.send)
        assert wire.status == 408

    asyncio.run(main())


def test_the_time_of_a_body_is_over_also_while_nobody_waits_for_it() -> None:
    async def main() -> None:
        async def reader(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            await asyncio.sleep(0.1)
            with pytest.raises(Problem) as refused:
                await receive()
            assert refused.value.slug == "slow-body"

        wire = Wire()
        wire.body.put_nowait({"type": "http.request", "body": b"x", "more_body": True})
        await edge(reader, max_body_s=0.05)(scope_of(method="POST"), wire.receive, wire.send)

    asyncio.run(main())


def test_a_body_that_has_to_be_waited_for_comes_whole() -> None:
    async def main() -> None:
        read = b""

        async def reader(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal read
            more = True
            while more:
                message = await receive()
                read += message["body"]
                more = message["more_body"]

        wire = Wire()
        under_way = asyncio.create_task(edge(reader)(scope_of(method="POST"), wire.receive, wire.send))
        for at in range(4):
            await asyncio.sleep(0.01)
            wire.body.put_nowait({"type": "http.request", "body": b"%d" % at, "more_body": at < 3})
        await under_way
        assert read == b"0123"

    asyncio.run(main())


@pytest.mark.parametrize("swallowed", [False, True])
def test_who_waits_for_a_body_can_be_stopped_and_what_gives_it_is_told(swallowed: bool) -> None:
    async def main() -> None:
        told: list[str] = []

        async def receive() -> Message:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                told.append("cancelled")
                if not swallowed:
                    raise
                await asyncio.sleep(0.01)  # it may even go on
            return {"type": "http.disconnect"}

        async def reader(scope: Scope, receive: Receive, send: Send) -> None:
            told.append((await receive())["type"])

        under_way = asyncio.create_task(edge(reader)(scope_of(method="POST"), receive, Wire().send))
        await asyncio.sleep(0.01)
        under_way.cancel()
        if swallowed:
            await under_way
            assert told == ["cancelled", "http.disconnect"]
        else:
            with pytest.raises(asyncio.CancelledError):
                await under_way
            assert told == ["cancelled"]

    asyncio.run(main())


def test_a_reader_that_stops_reading_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boiler.service.middleware.SEND_TIMEOUT_S", 0.05)

    async def main() -> None:
        async def writer(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})

        async def stuck(message: Message) -> None:
            if message["type"] == "http.response.body":
                await asyncio.Event().wait()

        wrapped = edge(writer)
        with pytest.raises(ConnectionAbortedError):
            await wrapped(scope_of(), Wire().receive, stuck)
        assert wrapped.in_progress == 0

    asyncio.run(main())


# ------------------------------------------------------------------------------------------------- faults of our own


def test_a_fault_of_our_own_is_a_problem_that_tells_nothing_of_the_inside(model_dir: Path) -> None:
    app = Web(Settings(model_dir=model_dir, log="none"))

    @app.get("/fault")
    async def fault() -> None:
        raise RuntimeError("a secret of the inside")

    with TestClient(app, raise_server_exceptions=False) as client:
        response = client.get("/fault")
        assert (response.status_code, slug(response)) == (500, "internal-error")
        assert "secret" not in response.text
        assert response.headers["x-request-id"] == response.json()["request_id"]


def test_before_the_start_and_after_the_end_it_is_not_ready(model_dir: Path) -> None:
    app = Web(Settings(model_dir=model_dir, log="none"))
    client = TestClient(app, raise_server_exceptions=False)
    assert (client.get("/health").status_code, client.get("/livez").status_code) == (503, 200)
    with client:
        assert client.get("/health").status_code == 200
    assert client.get("/readyz").status_code == 503


# ------------------------------------------------------------------------------------------------- metrics


def value(page: str, meter: str) -> float:
    found = re.search(rf"^{re.escape(meter)} (\S+)$", page, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_requests_are_counted_by_route_and_status_and_stages_are_timed(client: TestClient) -> None:
    def page() -> str:
        return client.get("/metrics").text

    meters = {
        'boiler_requests_total{route="/nearest",status="200"}': 2,
        'boiler_requests_total{route="/nearest",status="422"}': 1,
        'boiler_requests_total{route="unmatched",status="404"}': 3,
        'boiler_stage_seconds_count{stage="search"}': 4,
        'boiler_stage_seconds_count{stage="render"}': 2,
        'boiler_searches_total{engine="exact"}': 6,
    }
    before = page()
    for _ in range(2):
        client.post("/nearest", json={"embedding": [1.0] * DIM})
    client.post("/nearest", json={"embedding": [1.0]})
    client.post("/nearest/batch", json={"queries": [{"n": 1}, {"n": 2}, {"n": 3}]})
    client.post("/nearest/query", json={"seeds": [{"n": 1}]})
    for n in range(3):
        client.get(f"/unknown/{n}")
    after = page()
    for meter, more in meters.items():
        assert value(after, meter) - value(before, meter) == more, meter
    assert "unknown" not in after
    assert value(after, "boiler_items") == 20


def test_metrics_can_be_switched_off(model_dir: Path) -> None:
    with opened(model_dir, metrics=False) as client:
        assert client.get("/metrics").status_code == 404
        assert client.post("/nearest", json={"embedding": [1.0] * DIM}).status_code == 200
