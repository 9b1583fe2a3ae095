"""The middleware: request ids, API keys, CORS, limits of bodies and requests, metrics, and the access log."""

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
from starlette.requests import Request
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from boiler.service.app import BoilerApp
from boiler.service.auth import ApiKeys
from boiler.service.middleware import AdmissionMiddleware, RequestMiddleware
from boiler.service.policy import RouteTable, requires
from boiler.service.problems import Problem
from boiler.service.settings import SCOPES, Settings

DIM = 8
READ, FEEDBACK = "reader-0123456789abcdef", "feeder-0123456789abcdef"


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("middleware") / "model"
    publish(folder, 20, DIM)
    return folder


def client_of(model_dir: Path, **values: Any) -> TestClient:
    values.setdefault("log", "none")
    return TestClient(BoilerApp(Settings(model_dir=model_dir, **values)), raise_server_exceptions=False)


@pytest.fixture(scope="module")
def client(model_dir: Path) -> Iterator[TestClient]:
    with client_of(model_dir) as client:
        yield client


def slug(response: Any) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    return str(response.json()["type"].rsplit(":", 1)[1])


# ------------------------------------------------------------------------------------------------- ids


def test_plain_request_id_is_returned_and_any_other_replaced(client: TestClient) -> None:
    assert client.get("/livez", headers={"X-Request-ID": "abc-1.2_Z"}).headers["x-request-id"] == "abc-1.2_Z"
    for strange in ("", "a b", "<script>", "x" * 65, "ä".encode()):
        made = client.get("/livez", headers={"X-Request-ID": strange}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{16}", made)


def test_request_ids_are_unique(client: TestClient) -> None:
    assert len({client.get("/nowhere").json()["request_id"] for _ in range(20)}) == 20


# ------------------------------------------------------------------------------------------------- keys


@pytest.fixture(scope="module")
def locked(model_dir: Path) -> Iterator[TestClient]:
    keys = (SecretStr(f"read:{READ}"), SecretStr(f"feedback:{FEEDBACK}"))
    with client_of(model_dir, api_keys=keys) as client:
        yield client


def test_every_route_but_probes_and_docs_needs_a_key(locked: TestClient) -> None:
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
def test_valid_key(locked: TestClient, headers: dict[str, str]) -> None:
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
def test_invalid_key(locked: TestClient, headers: dict[str, str]) -> None:
    assert slug(locked.get("/items", headers=headers)) == "unauthorised"


def test_scope_includes_narrower_scopes() -> None:
    keys = ApiKeys(f"{scope}:{scope * 16}" for scope in SCOPES)
    for held in range(len(SCOPES)):
        for needed in range(len(SCOPES)):
            key = (SCOPES[held] * 16).encode()
            if needed <= held:
                keys.require(SCOPES[needed], None, key)
            else:
                with pytest.raises(Problem) as refused:
                    keys.require(SCOPES[needed], b"Bearer " + key, None)
                assert (refused.value.status_code, refused.value.slug) == (403, "scope")


def test_only_hashes_of_keys_are_kept() -> None:
    keys = ApiKeys([f"read:{READ}"])
    assert READ not in repr(vars(keys))
    assert not ApiKeys([])


def test_access_log_has_neither_keys_nor_queries(model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with client_of(model_dir, api_keys=(SecretStr(f"read:{READ}"),), log="json") as client:
        client.get("/items?text=intimate", headers={"X-API-Key": READ})
        client.get("/items/3", headers={"X-API-Key": "wrong-key-wrong-key"})
    written = capsys.readouterr().err
    lines = [json.loads(line) for line in written.splitlines()]
    assert [(line["route"], line["status"]) for line in lines] == [("/items", 200), ("unmatched", 401)]
    assert all(set(line) == {"time", "request_id", "method", "route", "status", "ms"} for line in lines)
    for secret in (READ, "wrong-key", "intimate"):
        assert secret not in written


# ------------------------------------------------------------------------------------------------- CORS


def test_cors_allows_only_listed_origins(client: TestClient, model_dir: Path) -> None:
    asking = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in client.get("/items", headers=asking).headers
    with client_of(model_dir, cors_origins=("https://a.example",)) as listed:
        assert listed.get("/items", headers=asking).headers["access-control-allow-origin"] == "https://a.example"
        preflight = listed.options("/nearest", headers=asking)
        assert preflight.status_code == 200
        other = {**asking, "Origin": "https://b.example"}
        assert "access-control-allow-origin" not in listed.get("/items", headers=other).headers
        assert listed.options("/nearest", headers=other).status_code == 400


# ------------------------------------------------------------------------------------------------- body size


def padded(size_bytes: int) -> bytes:
    """A valid body of this size."""
    body = json.dumps({"embedding": [1.0] * DIM}).encode()
    return body + b" " * (size_bytes - len(body))


def test_body_limit_is_exact(model_dir: Path) -> None:
    with client_of(model_dir, max_body_bytes=2_048) as client:

        def post(size_bytes: int, *, chunked: bool) -> Any:
            body = padded(size_bytes)
            content = iter([body[:1_000], body[1_000:]]) if chunked else body
            return client.post("/nearest", content=content, headers={"Content-Type": "application/json"})

        for chunked in (False, True):
            assert post(2_048, chunked=chunked).status_code == 200
            refused = post(2_049, chunked=chunked)
            assert (refused.status_code, slug(refused)) == (413, "too-large")
            assert refused.headers["connection"] == "close"


def test_declared_size_is_refused_before_the_body(model_dir: Path) -> None:
    with client_of(model_dir) as client:
        for length in ("1048577", "9" * 30):
            refused = client.post("/nearest", content=b"", headers={"Content-Length": length})
            assert (refused.status_code, slug(refused)) == (413, "too-large")
        # uploads have a larger limit
        assert client.post("/embed", content=b"", headers={"Content-Length": "1048577"}).status_code == 415


# ------------------------------------------------------------------------------------------------- without a server


def scope_of(path: str = "/x", method: str = "GET", headers: tuple[tuple[bytes, bytes], ...] = ()) -> Scope:
    scope = {"type": "http", "path": path, "method": method, "headers": list(headers)}
    return scope | {"client": ("1.2.3.4", 5), "state": {"request_id": "x", "stages": {}}}


CHUNKED = ((b"transfer-encoding", b"chunked"),)


class Exchange:
    """The server's side of one request."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.body: asyncio.Queue[Message] = asyncio.Queue()

    def feed(self, body: bytes, *, more: bool = False) -> None:
        self.body.put_nowait({"type": "http.request", "body": body, "more_body": more})

    async def receive(self) -> Message:
        return await self.body.get()

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])


def admission(app: Any, **values: Any) -> AdmissionMiddleware:
    settings = Settings(model_dir=Path("unused"), log="none", **values)

    @requires(scope=None, is_probe=True)
    async def livez(request: Request) -> None: ...

    return AdmissionMiddleware(app, settings, RouteTable([Route("/livez", livez)]))


async def respond(send: Send, status: int = 200, headers: Any = None) -> None:
    pairs = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": b""})


async def read_body(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body and responds; with the status of the problem if that fails."""
    try:
        while (await receive()).get("more_body"):
            pass
    except Problem as problem:
        await respond(send, problem.status_code, problem.headers)
    else:
        await respond(send)


def test_requests_over_the_capacity_get_503_but_probes_are_answered() -> None:
    async def main() -> None:
        release = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/held":
                await release.wait()
            await respond(send)

        wrapped = admission(app, max_requests=2)
        exchanges = [Exchange() for _ in range(4)]
        held = [asyncio.create_task(wrapped(scope_of("/held"), one.receive, one.send)) for one in exchanges[:2]]
        await asyncio.sleep(0)
        await wrapped(scope_of("/more"), exchanges[2].receive, exchanges[2].send)
        assert exchanges[2].status == 503
        assert (b"retry-after", b"1") in exchanges[2].sent[0]["headers"]
        await wrapped(scope_of("/livez"), exchanges[3].receive, exchanges[3].send)
        assert exchanges[3].status == 200
        release.set()
        await asyncio.gather(*held)
        assert [one.status for one in exchanges[:2]] == [200, 200]
        after = Exchange()
        await wrapped(scope_of("/more"), after.receive, after.send)
        assert after.status == 200
        assert wrapped.working == 0

    asyncio.run(main())


def test_no_client_occupies_all_slots() -> None:
    async def main() -> None:
        release = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await release.wait()
            await respond(send)

        keys = (SecretStr(f"read:{READ}"), SecretStr(f"read:{FEEDBACK}"))
        wrapped = admission(app, max_requests=4, max_requests_per_client=2, api_keys=keys)
        tasks: list[asyncio.Task[None]] = []

        async def begin(address: str, key: str) -> Exchange:
            exchange = Exchange()
            scope = scope_of(headers=((b"x-api-key", key.encode()),)) | {"client": (address, 1)}
            tasks.append(asyncio.create_task(wrapped(scope, exchange.receive, exchange.send)))
            for _ in range(4):
                await asyncio.sleep(0)
            return exchange

        first = [await begin("a", READ), await begin("a", READ)]
        refused = await begin("a", READ)
        assert refused.status == 503
        others = [await begin("b", READ), await begin("a", FEEDBACK)]
        assert wrapped.working_of == {"a 0": 2, "b 0": 1, "a 1": 1}
        release.set()
        await asyncio.gather(*tasks)
        assert [one.status for one in first + others] == [200] * 4
        assert (wrapped.working, wrapped.working_of) == (0, {})

    asyncio.run(main())


def test_incomplete_bodies_occupy_no_slot_and_are_limited_per_client_and_in_all() -> None:
    async def main() -> None:
        wrapped = admission(read_body, max_requests=1, max_receiving_per_client=2, max_receiving=3)
        tasks: list[asyncio.Task[None]] = []

        async def begin(client: str, body: bytes = b"", *, more: bool = True) -> Exchange:
            exchange = Exchange()
            if body or not more:
                exchange.feed(body, more=more)
            scope = scope_of(method="POST", headers=CHUNKED) | {"client": (client, 1)}
            tasks.append(asyncio.create_task(wrapped(scope, exchange.receive, exchange.send)))
            for _ in range(4):
                await asyncio.sleep(0)
            return exchange

        slow = [await begin("a"), await begin("a", b"x")]
        slow.append(await begin("a"))  # a third of one client
        assert slow.pop(0).status == 503
        slow.append(await begin("b"))
        slow.append(await begin("c"))  # a fourth in all: the oldest of the client with the most is given up
        refused = slow.pop(0)
        assert refused.status == 503
        assert (b"connection", b"close") in refused.sent[0]["headers"]
        assert (await begin("a", b"whole", more=False)).status == 200
        assert wrapped.working == 0
        for one in slow:
            assert one.sent == []
            one.feed(b"end")
        await asyncio.gather(*tasks)
        assert [one.status for one in slow] == [200, 200, 200]
        assert (wrapped.working, wrapped.n_receiving, wrapped.receiving) == (0, 0, {})

    asyncio.run(main())


def test_slot_is_taken_when_the_body_is_complete() -> None:
    async def main() -> None:
        release = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["method"] == "GET":
                await release.wait()
                await respond(send)
            else:
                await read_body(scope, receive, send)

        wrapped = admission(app, max_requests=1)
        slow, working = Exchange(), Exchange()
        receiving = asyncio.create_task(wrapped(scope_of(method="POST", headers=CHUNKED), slow.receive, slow.send))
        await asyncio.sleep(0)
        running = asyncio.create_task(wrapped(scope_of(), working.receive, working.send))
        await asyncio.sleep(0)
        assert wrapped.working == 1
        slow.feed(b"end")
        await receiving
        assert slow.status == 503
        # A body that nobody reads keeps no request from taking a slot.
        unread = Exchange()
        await wrapped(scope_of(headers=((b"content-length", b"5"),)), unread.receive, unread.send)
        assert unread.status == 503
        release.set()
        await running
        assert (working.status, wrapped.working) == (200, 0)

    asyncio.run(main())


def test_slow_body_times_out() -> None:
    async def main() -> None:
        exchange = Exchange()
        # Each piece comes in time, all of them together do not.
        for _ in range(3):
            exchange.feed(b"x", more=True)
        wrapped = admission(read_body, max_body_s=0.05)
        await wrapped(scope_of(method="POST", headers=CHUNKED), exchange.receive, exchange.send)
        assert exchange.status == 408
        assert wrapped.n_receiving == 0

    asyncio.run(main())


def test_body_times_out_while_nobody_waits_for_it() -> None:
    async def main() -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            await asyncio.sleep(0.1)
            with pytest.raises(Problem) as refused:
                await receive()
            assert refused.value.slug == "slow-body"
            await respond(send)

        exchange = Exchange()
        exchange.feed(b"x", more=True)
        wrapped = admission(app, max_body_s=0.05)
        await wrapped(scope_of(method="POST", headers=CHUNKED), exchange.receive, exchange.send)
        assert exchange.status == 200

    asyncio.run(main())


def test_body_that_comes_in_pieces_is_complete() -> None:
    async def main() -> None:
        read = b""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal read
            more = True
            while more:
                message = await receive()
                read += message["body"]
                more = message["more_body"]

        exchange = Exchange()
        task = asyncio.create_task(
            admission(app)(scope_of(method="POST", headers=CHUNKED), exchange.receive, exchange.send)
        )
        for at in range(4):
            await asyncio.sleep(0.01)
            exchange.feed(b"%d" % at, more=at < 3)
        await task
        assert read == b"0123"

    asyncio.run(main())


@pytest.mark.parametrize("swallowed", [False, True])
def test_cancellation_reaches_what_is_awaited(swallowed: bool) -> None:
    async def main() -> None:
        events: list[str] = []

        async def receive() -> Message:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                events.append("cancelled")
                if not swallowed:
                    raise
                await asyncio.sleep(0.01)  # and continues
            return {"type": "http.disconnect"}

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            events.append((await receive())["type"])

        scope = scope_of(method="POST", headers=CHUNKED)
        task = asyncio.create_task(admission(app)(scope, receive, Exchange().send))
        await asyncio.sleep(0.01)
        task.cancel()
        if swallowed:
            await task
            assert events == ["cancelled", "http.disconnect"]
        else:
            with pytest.raises(asyncio.CancelledError):
                await task
            assert events == ["cancelled"]

    asyncio.run(main())


def test_response_that_is_not_read_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boiler.service.middleware.SEND_TIMEOUT_S", 0.05)

    async def main() -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})

        async def stuck(message: Message) -> None:
            if message["type"] == "http.response.body":
                await asyncio.Event().wait()

        wrapped = RequestMiddleware(app, None, None)
        with pytest.raises(ConnectionAbortedError):
            await wrapped(scope_of(), Exchange().receive, stuck)
        assert wrapped.in_progress == 0

    asyncio.run(main())


# ------------------------------------------------------------------------------------------------- errors


def test_unhandled_exception_is_a_problem_without_details(model_dir: Path) -> None:
    app = BoilerApp(Settings(model_dir=model_dir, log="none"))

    @app.get("/fault")
    async def fault() -> None:
        raise RuntimeError("a secret")

    with TestClient(app, raise_server_exceptions=False) as client:
        response = client.get("/fault")
        assert (response.status_code, slug(response)) == (500, "internal-error")
        assert "secret" not in response.text
        assert response.headers["x-request-id"] == response.json()["request_id"]


def test_not_ready_before_startup_and_after_shutdown(model_dir: Path) -> None:
    app = BoilerApp(Settings(model_dir=model_dir, log="none"))
    client = TestClient(app, raise_server_exceptions=False)
    assert (client.get("/health").status_code, client.get("/livez").status_code) == (503, 200)
    with client:
        assert client.get("/health").status_code == 200
    assert client.get("/readyz").status_code == 503


# ------------------------------------------------------------------------------------------------- metrics


def value(page: str, meter: str) -> float:
    found = re.search(rf"^{re.escape(meter)} (\S+)$", page, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_metrics_by_route_status_and_stage(client: TestClient) -> None:
    def page() -> str:
        return client.get("/metrics").text

    meters = {
        'boiler_requests_total{route="/nearest",status="200"}': 2,
        'boiler_requests_total{route="/nearest",status="422"}': 1,
        'boiler_requests_total{route="unmatched",status="404"}': 3,
        'boiler_stage_seconds_count{stage="search"}': 4,
        'boiler_stage_seconds_count{stage="render"}': 4,
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


def test_metrics_can_be_disabled(model_dir: Path) -> None:
    with client_of(model_dir, metrics=False) as client:
        assert client.get("/metrics").status_code == 404
        assert client.post("/nearest", json={"embedding": [1.0] * DIM}).status_code == 200
