"""The head of a request is bounded, and of nothing else is its length reckoned; nobody is waited for without end; an
answer is written in one piece, but what takes its time does not wait for more."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from serving import START_S, publish, running
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from boiler.service.http_protocol import UNDER_WAY, Wire
from boiler.service.requests import is_alone


def test_a_head_that_comes_with_the_end_of_a_body_is_not_too_large(tmp_path: Path) -> None:
    publish(tmp_path / "model", 10, 8)
    body = b"[" * 400_000
    head = b"POST /nearest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with running(["boiler.cli.serve", str(tmp_path / "model"), "--port", "0"], {}) as server:
        where = urlsplit(server.url)
        with socket.create_connection((where.hostname, where.port), timeout=START_S) as wire:
            wire.sendall(head % len(body) + body + b"GET /livez HTTP/1.1\r\nHo")
            answers = wire.makefile("rb")
            assert answers.readline().startswith(b"HTTP/1.1 422 ")  # by now all of it was taken in, or nearly
            wire.sendall(b"st: x\r\nConnection: close\r\n\r\n")
            assert b"HTTP/1.1 200 " in answers.read()
            assert wire.recv(1) == b""


class Transport(asyncio.Transport):
    """Keeps what is written to it."""

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


async def turns() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


def connected(app: ASGIApp) -> tuple[Wire, Transport]:
    config = Config(app, log_config=None, lifespan="off")
    config.load()
    wire, transport = Wire(config, ServerState(), {}), Transport()
    wire.connection_made(transport)
    return wire, transport


def test_whoever_sends_less_than_a_head_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boiler.service.http_protocol.HEAD_S", 0.05)
    whole = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab"
    upgrade = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: what\r\n\r\n"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async def main() -> None:
        for beginning, end, status, closes in (
            (b"", b"", b"408", True),
            (b"", whole[:9], b"408", True),
            (whole, b"\r\n", b"200", True),  # nothing was asked for, so nothing is answered
            (whole[:-1], whole[-1:], b"200", True),  # nor to a body whose end comes after the answer
            (whole, whole[:9], b"408", True),
            (whole, whole, b"200", False),
            (b"", whole[:-1], b"200", False),  # its body is another's business
            (b"", upgrade, b"200", False),
        ):
            wire, transport = connected(app)
            for part in (beginning, end):
                if part:
                    wire.data_received(part)
                    await turns()
            if closes:
                while not transport.closed:
                    await asyncio.sleep(0.01)
            else:
                await asyncio.sleep(0.1)
                assert not transport.closed
            assert sum(part.startswith(b"HTTP/") for part in transport.written) <= 2
            assert transport.written[-1].startswith(b"HTTP/1.1 " + status)
            wire.connection_lost(None)

    asyncio.run(main())


def test_a_slow_head_waits_for_the_answer_to_the_request_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boiler.service.http_protocol.HEAD_S", 0.02)
    whole = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    ready = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await ready.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async def main() -> None:
        wire, transport = connected(app)
        wire.data_received(whole + whole[:9])
        await asyncio.sleep(0.1)
        assert not transport.closed
        ready.set()
        while not transport.closed:
            await asyncio.sleep(0.01)
        assert [part[9:12] for part in transport.written] == [b"200", b"408"]
        wire.connection_lost(None)

    asyncio.run(main())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_asking_for_another_protocol_at_once_is_refused(loop: str) -> None:
    """Through uvicorn, which hands the connection over."""
    config = Config(refusing, log_config=None, lifespan="off", http=Wire, loop=loop, port=0)
    said: list[bytes] = []

    async def main() -> None:
        faults: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        config.load()
        server = await asyncio.get_running_loop().create_server(lambda: Wire(config, ServerState(), {}), "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(
                b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            said.append(await asyncio.wait_for(reader.readline(), START_S))
            writer.close()
        assert faults == []

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(main())
    assert said == [b"HTTP/1.1 403 Forbidden\r\n"]


async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.close"})


def test_whoever_does_not_read_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boiler.service.http_protocol.UNREAD_S", 0.05)
    answered = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
        await send({"type": "http.response.body", "body": b"x"})
        answered.set()

    async def main() -> None:
        wire, transport = connected(app)
        transport.unread = 300_000
        wire.pause_writing()
        wire.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        transport.unread -= 1_000
        wire._look()  # slowly, but it reads
        assert not transport.aborted
        await turns()
        assert not answered.is_set()
        while not transport.aborted:
            await asyncio.sleep(0.01)
        wire.connection_lost(None)
        await answered.wait()  # the request is over: it holds nothing any more

        wire, transport = connected(app)
        transport.unread = 10
        wire.data_received(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        while not transport.closed:
            await asyncio.sleep(0)
        wire.resume_writing()  # not all of it was read
        while not transport.aborted:
            await asyncio.sleep(0.01)
        wire.connection_lost(None)

        wire, transport = connected(app)
        wire.pause_writing()
        wire.resume_writing()
        await asyncio.sleep(0.1)
        assert not transport.closed
        wire.connection_lost(None)

    asyncio.run(main())


def test_head_and_body_are_one_write_and_a_body_that_comes_later_does_not_keep_its_head_back() -> None:
    later = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
        if scope["path"] == "/slow":
            await later.wait()
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        await send({"type": "http.response.body", "body": b"def"})

    async def main() -> None:
        wire, transport = connected(app)
        wire.data_received(b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n")
        await turns()
        assert transport.written[0].startswith(b"HTTP/1.1 200 OK\r\n")
        assert transport.written[0].endswith(b"\r\n\r\nabc")
        assert transport.written[1:] == [b"def"]
        transport.written.clear()
        wire.data_received(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await turns()
        [head] = transport.written
        assert head.endswith(b"\r\n\r\n")
        later.set()
        await turns()
        assert transport.written == [head, b"abc", b"def"]
        wire.connection_lost(None)

    asyncio.run(main())


def test_a_request_is_told_whether_another_is_at_work() -> None:
    """Also where the server itself tells something in that place."""

    class Telling(Wire):
        def on_message_begin(self) -> None:
            super().on_message_begin()
            self.scope["extensions"] = {"of.the.server": {}}

    async def main() -> None:
        told, alone, leave = [], [], asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            told.append(dict(scope["extensions"]))
            alone.append(is_alone(Request(scope)))
            await leave.wait()
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

        config = Config(app, log_config=None, lifespan="off")
        config.load()
        state = ServerState()
        for _ in range(2):
            wire = Telling(config, state, {})
            wire.connection_made(Transport())
            wire.data_received(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await turns()
        leave.set()
        await turns()
        assert told == [{"of.the.server": {}, UNDER_WAY: at} for at in (1, 2)]
        assert alone == [True, False]
        assert not is_alone(Request({"type": "http"}))  # of another server

    asyncio.run(main())
