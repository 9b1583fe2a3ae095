"""Long requests over a real connection: progress events, and cancellation when the client disconnects."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from serving import START_S, Server, running, wav_bytes
from starlette.requests import ClientDisconnect

from boiler.audio.synthesis import write_collection
from boiler.indexing.pipeline import IndexSettings, index
from boiler.service import sse


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sse")
    write_collection(folder / "sounds", per_kind=1)
    index(IndexSettings(wav_dir=folder / "sounds", encoder="MFCCStats", model_dir=folder / "model", device="cpu"))
    environment = {
        "BOILER_MODEL_DIR": str(folder / "model"),
        "BOILER_MAX_UPLOAD_S": "7200",
        "BOILER_MAX_UPLOAD_BYTES": str(2**28),
        "OMP_NUM_THREADS": "1",
    }
    with running(["uvicorn", "boiler.api.web:app", "--port", "0"], environment) as server:
        yield server


def sound(seconds: float) -> bytes:
    """Noise as a WAV file at 8 kHz."""
    return wav_bytes(np.random.default_rng(0).uniform(-0.3, 0.3, round(8_000 * seconds)), 8_000)


def form(content: bytes) -> tuple[bytes, dict[str, str]]:
    head = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    return head + content + b"\r\n--edge--\r\n", {"Content-Type": "multipart/form-data; boundary=edge"}


def connected(server: Server) -> http.client.HTTPConnection:
    where = urlsplit(server.url)
    assert where.hostname is not None
    return http.client.HTTPConnection(where.hostname, where.port, timeout=START_S)


def posted(server: Server, path: str, content: bytes, accept: str) -> tuple[http.client.HTTPResponse, bytes]:
    body, headers = form(content)
    with contextlib.closing(connected(server)) as connection:
        connection.request("POST", path, body, headers | {"Accept": accept})
        response = connection.getresponse()
        return response, response.read()


def events(body: bytes) -> list[tuple[str, object]]:
    found = []
    for block in body.decode().split("\n\n"):
        if block and not block.startswith(":"):
            name, data = block.split("\n")
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/nearest/audio?k=3", "/embed"])
def test_events_report_each_stage_and_end_with_the_result(server: Server, path: str) -> None:
    content = sound(100)
    response, body = posted(server, path, content, "text/event-stream")
    assert response.headers["content-type"].startswith("text/event-stream")
    *progress, (last, result) = events(body)
    assert last == "result"
    assert result == json.loads(posted(server, path, content, "application/json")[1])
    stages = [str(data["stage"]) for name, data in progress if isinstance(data, dict) and name == "progress"]
    wanted = ["waiting", "decoding", "embedding"] + (["searching"] if "nearest" in path else [])
    assert list(dict.fromkeys(stages)) == wanted
    windows = [
        (data["done"], data["total"]) for _, data in progress if isinstance(data, dict) and data["stage"] == "embedding"
    ]
    assert windows == sorted(windows)
    assert len(windows) > 5
    assert windows[-1][0] == windows[-1][1] == 24


def test_error_event_is_a_problem(server: Server) -> None:
    response, body = posted(server, "/embed", b"no sound", "text/event-stream, application/json;q=0.5")
    assert response.status == 200
    name, problem = events(body)[-1]
    assert name == "error"
    assert isinstance(problem, dict)
    assert (problem["type"], problem["status"]) == ("urn:boiler:problem:not-a-sound", 422)
    assert problem["request_id"] == response.headers["x-request-id"]
    refused = posted(server, "/embed", sound(1), "text/event-stream;q=0, application/json")[0]
    assert refused.headers["content-type"] == "application/json"
    # errors of the request itself are found before the work begins
    assert posted(server, "/embed?end_s=0", b"", "text/event-stream")[0].status == 422


def decoding(server: Server) -> list[str]:
    """The decoding processes of the service."""
    found = []
    with contextlib.suppress(OSError):  # a thread or process has just ended
        for children in Path(f"/proc/{server.process.pid}/task").glob("*/children"):
            for child in children.read_text().split():
                if b"boiler.audio.decode_worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(child)
    return found


def counted(server: Server, name: str) -> float:
    """The value of a metric."""
    with contextlib.closing(connected(server)) as connection:
        connection.request("GET", "/metrics")
        page = connection.getresponse().read().decode()
    return float(page.split(f"\n{name} ")[1].split("\n")[0])


def waiting(server: Server) -> float:
    return counted(server, "boiler_sounds_waiting")


def until(true: object, server: Server) -> None:
    deadline = time.monotonic() + START_S
    assert callable(true)
    while not true():
        assert time.monotonic() < deadline, "".join(server.output)
        time.sleep(0.01)


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
def test_disconnect_cancels_decoding(server: Server, accept: str) -> None:
    if not Path("/proc/self/task").exists():
        pytest.skip("needs /proc")
    assert posted(server, "/embed", sound(1), "application/json")[0].status == 200  # starts a decoding process
    body, headers = form(sound(1_500))
    (before,) = decoding(server)
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=START_S) as wire:
        lines = [f"POST /embed HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nContent-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        wire.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        until(lambda: waiting(server) == 1, server)
    until(lambda: waiting(server) == 0, server)
    assert before not in decoding(server)  # it was killed
    assert posted(server, "/embed", sound(1), "application/json")[0].status == 200


def test_disconnect_cancels_embedding(server: Server) -> None:
    """After the first windows are embedded."""
    assert posted(server, "/embed", sound(1), "application/json")[0].status == 200
    embedded = 'boiler_stage_seconds_count{stage="embed"}'  # counts only uploads that were embedded completely
    before = counted(server, embedded)
    body, headers = form(sound(1_500))
    connection = connected(server)
    connection.request("POST", "/embed", body, headers | {"Accept": "text/event-stream"})
    response = connection.getresponse()
    seen = b""
    while b'"stage":"embedding","done":1' not in seen:
        seen += response.readline()
    progress = json.loads(seen.splitlines()[-1].removeprefix(b"data: "))
    assert progress["of"] == progress["total"] > 300  # "of" is the old name
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    until(lambda: waiting(server) == 0, server)
    assert counted(server, embedded) == before
    assert posted(server, "/embed", sound(1), "application/json")[0].status == 200
    assert counted(server, embedded) == before + 1


def test_work_that_fails_as_it_is_cancelled_is_not_reported_as_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        try:
            await asyncio.sleep(START_S)
        except asyncio.CancelledError:
            raise ClientDisconnect from None

    async def main() -> None:
        async with sse._cancelled_on_exit(work()):
            await asyncio.sleep(0)

    asyncio.run(main())
    gc.collect()
    assert "never retrieved" not in caplog.text
