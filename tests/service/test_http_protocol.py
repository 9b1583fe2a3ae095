"""The HTTP protocol over a connection: bounds of heads and trailers, timeouts, order of responses on a pipelined
connection, and that head and body are one write."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
import uvicorn
from serving import START_S, publish, running
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from boiler.service.http_protocol import (
    ACTIVE_REQUESTS,
    CONNECTION,
    MAX_HEAD_BYTES,
    UVICORN_VERSION,
    BoundedHttpProtocol,
)
from boiler.service.requests import is_only_request

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_uvicorn_is_the_version_whose_internals_are_overridden() -> None:
    """For another version: compare `uvicorn.protocols.http.httptools_impl` with what `BoundedHttpProtocol` overrides
    and uses, run these tests and exp/stress/attack_service.py, then set the version here and in pyproject.toml."""
    assert uvicorn.__version__ == UVICORN_VERSION
    pyproject = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'"uvicorn=={UVICORN_VERSION}"' in pyproject


@pytest.mark.slow
def test_head_that_arrives_with_the_end_of_a_body_is_not_too_large(tmp_path: Path) -> None:
    publish(tmp_path / "model", 10, 8)
    body = b"[" * 400_000
    head = b"POST /nearest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with running(["boiler.cli.serve", str(tmp_path / "model"), "--port", "0"], {}) as server:
        where = urlsplit(server.url)
        with socket.create_connection((where.hostname, where.port), timeout=START_S) as wire:
            wire.sendall(head % len(body) + body + b"GET /livez HTTP/1.1\r\nHo")
            answers = wire.makefile("rb")
            assert answers.readline().startswith(b"HTTP/1.1 422 ")  # by now nearly all of it has been received
            wire.sendall(b"st: x\r\nConnection: close\r\n\r\n")
            assert b"HTTP/1.1 200 " in answers.read()
            assert wire.recv(1) == b""


@pytest.mark.slow
def test_searches_of_a_client_that_has_left_are_not_begun(tmp_path: Path) -> None:
    """40 connections that send a long search and close: the search that runs is finished, the others are dropped."""
    publish(tmp_path / "model", 3_000, 64)
    body = json.dumps({"queries": [{"n": n} for n in range(32)], "k": 1000}).encode()
    head = b"POST /nearest/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with running(["boiler.cli.serve", str(tmp_path / "model"), "--port", "0"], {}) as server:
        where = urlsplit(server.url)
        wires = [socket.create_connection((where.hostname, where.port), timeout=START_S) for _ in range(40)]
        for wire in wires:
            wire.sendall(head % len(body) + body)
        for wire in wires:
            wire.close()
        with socket.create_connection((where.hostname, where.port), timeout=START_S) as wire:
            wire.sendall(head.replace(b"Host: x", b"Host: x\r\nConnection: close") % len(body) + body)
            assert wire.makefile("rb").read().startswith(b"HTTP/1.1 200 ")  # after the others of its address
            wire.close()
        metrics = urlopen(f"{server.url}/metrics", timeout=START_S).read()  # noqa: S310  # of our server
    (searches,) = re.findall(rb"^boiler_searches_total\S* (\S+)", metrics, re.MULTILINE)
    assert 32 <= float(searches) <= 32 * 20


class Transport(asyncio.Transport):
    """Records what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = self.aborted = False
        self.unread = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def get_write_buffer_size(self) -> int:
        return self.unread

    def abort(self) -> None:
        self.aborted = self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    @property
    def statuses(self) -> list[int]:
        return [int(part[9:12]) for part in self.written if part.startswith(b"HTTP/1.1 ")]


async def run_loop() -> None:
    """Let the tasks run that are ready."""
    for _ in range(8):
        await asyncio.sleep(0)


async def closed(transport: Transport) -> None:
    async with asyncio.timeout(START_S):
        while not transport.closed:
            await asyncio.sleep(0.01)


def connect(app: ASGIApp) -> tuple[BoundedHttpProtocol, Transport]:
    config = Config(app, log_config=None, lifespan="off")
    config.load()
    protocol, transport = BoundedHttpProtocol(config, ServerState(), {}), Transport()
    protocol.connection_made(transport)
    return protocol, transport


async def ok(scope: Scope, receive: Receive, send: Send) -> None:
    """Responds 200 at once, without reading the body."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


async def read_all(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return body
        body += message["body"]
        if not message["more_body"]:
            return body


# ------------------------------------------------------------------------------------------------- timeouts


def test_incomplete_head_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boiler.service.http_protocol.HEAD_TIMEOUT_S", 0.05)

    async def main() -> None:
        for first, second, status, closes in (
            (b"", b"", b"408", True),
            (b"", POST[:9], b"408", True),
            (POST, b"\r\n", b"200", True),  # nothing was requested, so there is no response
            (POST[:-1], POST[-1:], b"200", True),  # nor to a body that ends after its response
            (POST[:-1], b"", b"200", True),  # nor to one that does not end
            (POST, POST[:9], b"408", True),
            (POST, POST, b"200", False),
        ):
            protocol, transport = connect(ok)
            for part in (first, second):
                if part:
                    protocol.data_received(part)
                    await run_loop()
            if closes:
                await closed(transport)
            else:
                await asyncio.sleep(0.1)
                assert not transport.closed
            assert sum(part.startswith(b"HTTP/") for part in transport.written) <= 2
            assert transport.written[-1].startswith(b"HTTP/1.1 " + status)
            protocol.connection_lost(None)

    asyncio.run(main())


def test_body_of_a_running_request_has_no_timeout_in_the_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """The middleware limits its time."""
    monkeypatch.setattr("boiler.service.http_protocol.HEAD_TIMEOUT_S", 0.02)

    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_all(receive)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": body})

    async def main() -> None:
        protocol, transport = connect(echo)
        protocol.data_received(POST[:-1])
        await asyncio.sleep(0.1)
        assert not transport.closed
        protocol.data_received(POST[-1:])
        await run_loop()
        assert transport.written[0].endswith(b"\r\n\r\nab")
        protocol.connection_lost(None)

    asyncio.run(main())


def test_slow_head_waits_for_the_pending_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boiler.service.http_protocol.HEAD_TIMEOUT_S", 0.02)
    ready = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await ready.wait()
        await ok(scope, receive, send)

    async def main() -> None:
        protocol, transport = connect(slow)
        protocol.data_received(GET + GET[:9])
        await asyncio.sleep(0.1)
        assert not transport.closed
        ready.set()
        await closed(transport)
        assert transport.statuses == [200, 408]
        protocol.connection_lost(None)

    asyncio.run(main())


def test_client_that_does_not_read_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boiler.service.http_protocol.UNREAD_TIMEOUT_S", 0.05)
    responded = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
        await send({"type": "http.response.body", "body": b"x"})
        responded.set()

    async def main() -> None:
        protocol, transport = connect(app)
        transport.unread = 300_000
        protocol.pause_writing()
        protocol.data_received(GET)
        transport.unread -= 1_000
        protocol._abort_if_unread()  # slow, but reading
        assert not transport.aborted
        await run_loop()
        assert not responded.is_set()
        while not transport.aborted:
            await asyncio.sleep(0.01)
        protocol.connection_lost(None)
        await responded.wait()  # the request has ended and holds nothing

        protocol, transport = connect(app)
        transport.unread = 10
        protocol.data_received(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while not transport.closed:
            await asyncio.sleep(0)
        protocol.resume_writing()  # but not everything was read
        while not transport.aborted:
            await asyncio.sleep(0.01)
        protocol.connection_lost(None)

        protocol, transport = connect(app)
        protocol.pause_writing()
        protocol.resume_writing()
        await asyncio.sleep(0.1)
        assert not transport.closed
        protocol.connection_lost(None)

    asyncio.run(main())


# ------------------------------------------------------------------------------------------------- trailers


def test_trailers_are_dropped() -> None:
    seen: list[list[bytes]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert await read_all(receive) == b"ab"
        seen.append([name for name, _ in scope["headers"]])
        await ok(scope, receive, send)

    async def main() -> None:
        protocol, transport = connect(app)
        protocol.data_received(CHUNKED)
        protocol.data_received(b"2\r\nab\r\n0\r\nX-API-Key: secret\r\nContent-Type: text/x\r\nX-Request-ID: 1\r\n\r\n")
        await run_loop()
        assert transport.statuses == [200]
        protocol.data_received(POST)  # the connection can still be used
        await run_loop()
        assert transport.statuses == [200, 200]
        protocol.connection_lost(None)

    asyncio.run(main())
    assert seen == [[b"host", b"transfer-encoding"], [b"host", b"content-length"]]


@pytest.mark.parametrize("responds_first", [False, True])
@pytest.mark.parametrize("piece", [b"a:\r\n" * 4_096, b"x" * 16_384], ids=["many lines", "one line"])
def test_trailers_are_bounded(piece: bytes, responds_first: bool) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if not responds_first:
            await read_all(receive)
        await ok(scope, receive, send)

    async def main() -> None:
        protocol, transport = connect(app)
        protocol.data_received(CHUNKED)
        await run_loop()
        protocol.data_received(b"2\r\nab\r\n0\r\n")
        sent = 0
        while not transport.closed:
            protocol.data_received(piece)
            sent += len(piece)
            await run_loop()
            assert sent <= MAX_HEAD_BYTES + 2 * len(piece)
        assert transport.statuses == ([200] if responds_first else [431])
        protocol.connection_lost(None)
        await run_loop()

    asyncio.run(main())


def test_body_in_tiny_chunks_is_not_taken_for_trailers() -> None:
    bodies: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        bodies.append(await read_all(receive))
        await ok(scope, receive, send)

    async def main() -> None:
        protocol, transport = connect(app)
        protocol.data_received(CHUNKED)
        for _ in range(MAX_HEAD_BYTES // 4):  # more framing than MAX_HEAD_BYTES
            protocol.data_received(b"1\r\n")
            protocol.data_received(b"x\r\n")
            await asyncio.sleep(0)
        protocol.data_received(b"0\r\n\r\n")
        await run_loop()
        assert transport.statuses == [200]
        protocol.connection_lost(None)

    asyncio.run(main())
    assert bodies == [b"x" * (MAX_HEAD_BYTES // 4)]


# ------------------------------------------------------------------------------------------------- other protocols


@pytest.mark.parametrize(
    "upgrade",
    [
        b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"Upgrade: h2c",  # as sent by Java's HttpClient with its first request
        b"Upgrade: what",
    ],
)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_upgrade_is_ignored(loop: str, upgrade: bytes) -> None:
    config = Config(echo_length, log_config=None, lifespan="off", http=BoundedHttpProtocol, loop=loop, port=0)
    responses: list[bytes] = []
    faults: list[object] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        config.load()
        server = await asyncio.get_running_loop().create_server(
            lambda: BoundedHttpProtocol(config, ServerState(), {}), "127.0.0.1", 0
        )
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            head = b"Host: x\r\nConnection: keep-alive, Upgrade\r\n" + upgrade + b"\r\n"
            for request in (GET, POST, POST):  # on one connection
                writer.write(request.replace(b"Host: x\r\n", head))
                responses.append(await asyncio.wait_for(reader.readuntil(b"\r\n\r\nn="), START_S))
                responses[-1] += await asyncio.wait_for(reader.readexactly(1), START_S)
            writer.close()

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(main())
    assert faults == []
    assert [one[:15] + one[-3:] for one in responses] == [b"HTTP/1.1 200 OK" + n for n in (b"n=0", b"n=2", b"n=2")]


async def echo_length(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    body = b"n=%d" % len(await read_all(receive))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize(
    "data",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET /\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_invalid_request_is_refused_with_a_problem(data: bytes) -> None:
    async def main() -> None:
        protocol, transport = connect(ok)
        protocol.data_received(data)
        await run_loop()
        assert transport.statuses == [400]
        head, _, body = transport.written[0].partition(b"\r\n\r\n")
        assert b"Content-Type: application/problem+json" in head
        assert b"Connection: close" in head
        assert json.loads(body)["type"] == "urn:boiler:problem:bad-request"
        assert transport.closed
        protocol.data_received(GET)  # ignored
        await run_loop()
        assert transport.statuses == [400]
        protocol.connection_lost(None)

    asyncio.run(main())


def test_http_1_0_needs_no_host() -> None:
    async def main() -> None:
        protocol, transport = connect(ok)
        protocol.data_received(b"GET / HTTP/1.0\r\n\r\n")
        await run_loop()
        assert transport.statuses == [200]
        protocol.connection_lost(None)

    asyncio.run(main())


# ------------------------------------------------------------------------------------------------- order of responses


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (b"GET / HTTP/1.1\r\nBad Header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnot hex\r\n", 400),
    ],
)
def test_refusal_does_not_overtake_pending_responses(bad: bytes, status: int) -> None:
    ready = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await ready.wait()
        await ok(scope, receive, send)

    async def main() -> None:
        protocol, transport = connect(slow)
        protocol.data_received(GET + GET + bad)
        await run_loop()
        assert transport.written == []
        ready.set()
        await closed(transport)
        assert transport.statuses == [200, 200, status]
        protocol.connection_lost(None)
        await run_loop()

    asyncio.run(main())


def test_large_head_after_a_pending_request_is_refused_in_order() -> None:
    ready = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await ready.wait()
        await ok(scope, receive, send)

    async def main() -> None:
        protocol, transport = connect(slow)
        protocol.data_received(GET)
        protocol.data_received(b"GET / HTTP/1.1\r\nX: ")
        protocol.data_received(b"x" * (MAX_HEAD_BYTES + 1))
        ready.set()
        await closed(transport)
        assert transport.statuses == [200, 431]
        protocol.connection_lost(None)

    asyncio.run(main())


# ------------------------------------------------------------------------------------------------- writes


def test_head_and_body_are_one_write_but_a_later_body_does_not_delay_the_head() -> None:
    later = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
        if scope["path"] == "/slow":
            await later.wait()
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        await send({"type": "http.response.body", "body": b"def"})

    async def main() -> None:
        protocol, transport = connect(app)
        protocol.data_received(b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n")
        await run_loop()
        assert transport.written[0].startswith(b"HTTP/1.1 200 OK\r\n")
        assert transport.written[0].endswith(b"\r\n\r\nabc")
        assert transport.written[1:] == [b"def"]
        transport.written.clear()
        protocol.data_received(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await run_loop()
        [head] = transport.written
        assert head.endswith(b"\r\n\r\n")
        later.set()
        await run_loop()
        assert transport.written == [head, b"abc", b"def"]
        protocol.connection_lost(None)

    asyncio.run(main())


def test_scope_has_the_number_of_active_requests() -> None:
    """In addition to other extensions."""

    class WithExtension(BoundedHttpProtocol):
        def on_message_begin(self) -> None:
            super().on_message_begin()
            self.scope["extensions"] = {"of.the.server": {}}

    async def main() -> None:
        extensions, alone, leave = [], [], asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            extensions.append(dict(scope["extensions"]))
            assert isinstance(extensions[-1].pop(CONNECTION), Transport)
            alone.append(is_only_request(Request(scope)))
            await leave.wait()
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

        config = Config(app, log_config=None, lifespan="off")
        config.load()
        state = ServerState()
        for _ in range(2):
            protocol = WithExtension(config, state, {})
            protocol.connection_made(Transport())
            protocol.data_received(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await run_loop()
        leave.set()
        await run_loop()
        assert extensions == [{"of.the.server": {}, ACTIVE_REQUESTS: at} for at in (1, 2)]
        assert alone == [True, False]
        assert not is_only_request(Request({"type": "http"}))  # another server

    asyncio.run(main())
