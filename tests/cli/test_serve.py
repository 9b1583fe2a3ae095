"""A real service on its own port: startup, several workers, new and damaged indexes, bad clients, shutdown."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr
from serving import START_S, Server, publish, running
from uvicorn import Config

from boiler.cli import serve
from boiler.errors import SettingsError
from boiler.service.settings import Settings

DIM = 16
BODY = json.dumps({"embedding": [1.0] * DIM})
HEADERS = {"Content-Type": "application/json"}
UVICORN = ["uvicorn", "boiler.api.web:app", "--port", "0"]


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    publish(tmp_path / "model dir ä", 50, DIM)
    return tmp_path / "model dir ä"


def connect(server: Server) -> http.client.HTTPConnection:
    where = urlsplit(server.url)
    assert where.hostname is not None
    return http.client.HTTPConnection(where.hostname, where.port, timeout=START_S)


def request(
    connection: http.client.HTTPConnection, path: str = "/nearest?k=3"
) -> tuple[int, http.client.HTTPMessage, bytes]:
    if path.startswith("/nearest"):
        connection.request("POST", path, BODY, HEADERS)
    else:
        connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.headers, response.read()


def request_once(server: Server, path: str = "/nearest?k=3") -> tuple[int, http.client.HTTPMessage, bytes]:
    """A request over a new connection."""
    with contextlib.closing(connect(server)) as connection:
        return request(connection, path)


@contextlib.contextmanager
def raw(server: Server) -> Iterator[socket.socket]:
    where = urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), timeout=START_S) as wire:
        yield wire


# ------------------------------------------------------------------------------------------------- startup


@pytest.mark.slow
def test_two_workers_answer_on_one_port_and_map_the_same_vectors(model_dir: Path) -> None:
    with running([*UVICORN, "--workers", "2"], {"BOILER_MODEL_DIR": str(model_dir)}, workers=2) as server:
        with contextlib.closing(connect(server)) as connection:
            answers = [request(connection) for _ in range(20)]  # over one connection, kept alive
        assert {status for status, _, _ in answers} == {200}
        assert len({body for _, _, body in answers}) == 1
        if not Path("/proc/self/maps").exists():
            pytest.skip("this system does not tell what a process maps")
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        mapping = []
        for child in children:
            maps = Path(f"/proc/{child}/maps").read_text()
            mapping += [line for line in maps.splitlines() if line.endswith("/vectors.npy")]
        assert len(mapping) == 2
        assert all(" r--" in line for line in mapping)  # mapped read-only from the file: one copy in memory


def test_uvicorn_uses_uvloop_and_httptools_by_default() -> None:
    config = Config("boiler.api.web:app")
    config.load()
    assert "httptools" in config.http_protocol_class.__module__
    factory = config.get_loop_factory()
    assert factory is not None
    loop = factory()
    assert type(loop).__module__.startswith("uvloop")
    loop.close()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])  # uvicorn waits 5 s for a dead one
@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({}, "boiler cannot serve: BOILER_MODEL_DIR is not set"),
        ({"BOILER_MODEL_DIR": "/nowhere/at/all"}, "boiler cannot serve: there is no model directory /nowhere/at/all"),
        ({"BOILER_MODEL_DIR": "/etc"}, "boiler cannot serve: /etc is not a model directory"),
        ({"BOILER_MODEL_DIR": "/etc", "BOILER_MAX_K": "many"}, "boiler cannot serve: BOILER_MAX_K"),
    ],
)
def test_invalid_settings_are_refused_in_one_sentence(environment: dict[str, str], sentence: str, workers: int) -> None:
    with pytest.raises(AssertionError) as ended, running([*UVICORN, "--workers", str(workers)], environment, workers):
        pass
    said = str(ended.value)
    assert sentence in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_damaged_index_is_refused_with_advice(model_dir: Path) -> None:
    vectors = model_dir / "current" / "vectors.npy"
    stump = vectors.read_bytes()[:-1]
    vectors.resolve().unlink()
    (model_dir / "current").resolve().joinpath("vectors.npy").write_bytes(stump)
    with (
        pytest.raises(AssertionError, match="publish it again with boiler index"),
        running(UVICORN, {"BOILER_MODEL_DIR": str(model_dir)}),
    ):
        pass


# ------------------------------------------------------------------------------------------------- new indexes


@pytest.mark.slow
def test_every_worker_switches_to_a_new_index_and_refuses_a_damaged_one(model_dir: Path) -> None:
    environment = {"BOILER_MODEL_DIR": str(model_dir), "BOILER_REFRESH_S": "0.1"}
    with running([*UVICORN, "--workers", "2"], environment, workers=2) as server:

        def until(generation: str, times: int) -> None:
            """Wait until `times` new connections in a row, spread over the workers, are answered by that index."""
            row, deadline = 0, time.monotonic() + START_S
            while row < times:
                assert time.monotonic() < deadline
                status, headers, body = request_once(server)
                assert status == 200
                assert len(json.loads(body)) == 3
                row = row + 1 if headers["x-boiler-generation"] == generation else 0

        first = publish(model_dir, 50, DIM)
        until(first.name, 10)
        second = publish(model_dir, 60, DIM, seed=1)
        until(second.name, 10)
        assert json.loads(request_once(server, "/health")[2])["n_items"] == 60
        # a damaged index: the current one keeps serving, and /health reports the problem
        damaged = model_dir / "versions" / f"{int(second.name.partition('-')[0]) + 1:06}-damaged"
        shutil.copytree(model_dir / "versions" / second.name, damaged)
        vectors = bytearray((damaged / "vectors.npy").read_bytes())
        vectors[-1] ^= 1
        (damaged / "vectors.npy").write_bytes(vectors)
        (model_dir / "next").symlink_to(f"versions/{damaged.name}")
        (model_dir / "next").replace(model_dir / "current")
        server.wait_for("refused, still serving")
        health = json.loads(request_once(server, "/health")[2])
        until(second.name, 5)
        assert health["status"] == "ok"
        third = publish(model_dir, 40, DIM, seed=2)
        until(third.name, 10)
        assert json.loads(request_once(server, "/health")[2])["refused"] is None


# ------------------------------------------------------------------------------------------------- bad clients


@pytest.mark.slow
def test_slow_and_large_bodies_are_refused(model_dir: Path) -> None:
    environment = {"BOILER_MODEL_DIR": str(model_dir), "BOILER_MAX_BODY_S": "0.3", "BOILER_MAX_BODY_BYTES": "2048"}
    head = b"POST /nearest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with running(UVICORN, environment) as server:
        with raw(server) as wire:  # one byte, and then nothing
            wire.sendall(head + b"Content-Length: 100\r\n\r\n{")
            answer = wire.makefile("rb").read()
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"urn:boiler:problem:slow-body" in answer
        with raw(server) as wire:  # declared too large: refused before the body
            wire.sendall(head + b"Content-Length: 2049\r\n\r\n")
            assert wire.makefile("rb").read().startswith(b"HTTP/1.1 413 ")
        with raw(server) as wire:  # in chunks without end
            wire.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                for _ in range(100):
                    wire.sendall(b"400\r\n" + b"x" * 0x400 + b"\r\n")
            with contextlib.suppress(ConnectionError):
                assert wire.makefile("rb").read().startswith(b"HTTP/1.1 413 ")
        with raw(server) as wire:  # disconnected halfway
            wire.sendall(head + b"Content-Length: 100\r\n\r\n{")
        for bad in (
            b"\x00\xff\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"POST /nearest HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        ):
            with raw(server) as wire:
                wire.sendall(bad)
                assert wire.makefile("rb").read().startswith(b"HTTP/1.1 400 ")
        with raw(server) as wire:  # a head of a megabyte
            with contextlib.suppress(ConnectionError):
                wire.sendall(head + b"X-Long: " + b"x" * 2**20 + b"\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                assert b" 200 " not in wire.makefile("rb").readline()
        assert request_once(server)[0] == 200
        server.process.terminate()
        said = server.end()
        assert '"status":499' in said  # the one that disconnected
        assert "Traceback" not in said


@pytest.mark.slow
def test_slow_bodies_do_not_keep_others_from_searching(model_dir: Path) -> None:
    environment = {"BOILER_MODEL_DIR": str(model_dir), "BOILER_MAX_REQUESTS": "2"}
    begun = b"POST /nearest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"
    with running(UVICORN, environment) as server, contextlib.ExitStack() as held:
        slow = [held.enter_context(raw(server)) for _ in range(70)]
        for one in slow:
            one.sendall(begun)
        # Above the limit for one address the oldest are disconnected.
        answer = slow[0].makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"urn:boiler:problem:busy" in answer
        assert b"retry-after: 1" in answer.lower()
        for path in ("/nearest?k=3", "/livez", "/readyz", "/health", "/metrics"):
            assert request_once(server, path)[0] == 200


@pytest.mark.slow
def test_shutdown_finishes_running_requests(model_dir: Path) -> None:
    with running(UVICORN, {"BOILER_MODEL_DIR": str(model_dir)}) as server, raw(server) as wire:
        wire.sendall(
            b"POST /nearest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY[:5].encode())
        )
        assert request_once(server, "/livez")[0] == 200  # the partial request has been read by now
        server.process.terminate()
        server.wait_for("Shutting down")
        wire.sendall(BODY[5:].encode())
        answer = wire.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert "Traceback" not in server.end()


# ------------------------------------------------------------------------------------------------- boiler serve


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(model_dir: Path) -> None:
    words = ["boiler.cli.serve", str(model_dir), "--workers", "2", "--port", "0"]
    with running(words, {"OMP_NUM_THREADS": "1"}, workers=2) as server:
        workers = [
            int(pid)
            for pid in Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        ]
        assert len(workers) >= 2
        server.process.kill()
        deadline = time.monotonic() + START_S
        while any(is_running(pid) for pid in workers):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
def test_boiler_serve_shares_metrics_between_workers(model_dir: Path) -> None:
    command = ["boiler.cli.serve", str(model_dir), "--port", "0", "--workers", "2"]
    with running(command, {}, workers=2) as server:
        for _ in range(12):
            assert request_once(server)[0] == 200
        counts = {
            'boiler_requests_total{route="/nearest",status="200"} 12.0',
            'boiler_searches_total{engine="exact"} 12.0',
        }
        deadline = time.monotonic() + START_S
        while not counts <= set(request_once(server, "/metrics")[2].decode().splitlines()):
            assert time.monotonic() < deadline  # workers exchange their counts about request_once a second
        lines = [server.wait_for(r'\{.*"route":"/nearest".*\}') for _ in range(12)]
        assert {"search_ms", "validate_ms", "render_ms", "request_id"} <= set(json.loads(lines[0][0]))


@pytest.mark.slow
def test_boiler_serve_limits_the_head_of_a_request(model_dir: Path) -> None:
    with running(["boiler.cli.serve", str(model_dir), "--port", "0"], {}) as server:
        with raw(server) as wire:
            with contextlib.suppress(ConnectionError):
                wire.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 2**21)
            with contextlib.suppress(ConnectionError):
                assert wire.makefile("rb").read().startswith(b"HTTP/1.1 431 ")
        with raw(server) as wire, contextlib.closing(connect(server)) as kept:
            wire.sendall(b"GET /livez HTTP/1.1\r\nHos")
            assert [request(kept)[0] for _ in range(5)] == [200] * 5
            assert wire.makefile("rb").read().startswith(b"HTTP/1.1 408 ")
        assert request_once(server, "/livez")[0] == 200


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["/nowhere"], "there is no model directory /nowhere"),
        ([], "BOILER_MODEL_DIR is not set"),
        (["MODEL_DIR", "--host", "0.0.0.0"], "BOILER_API_KEYS=read:SECRET"),  # noqa: S104
    ],
)
def test_boiler_serve_refuses_invalid_arguments_in_one_sentence(
    model_dir: Path, flags: list[str], sentence: str
) -> None:
    given = [str(model_dir) if flag == "MODEL_DIR" else flag for flag in flags]
    done = subprocess.run(
        [sys.executable, "-m", "boiler.cli.serve", *given],
        capture_output=True,
        text=True,
        env={"PATH": ""},
        timeout=START_S,
    )
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_no_keys(host: str) -> None:
    serve.check_host(host, Settings(model_dir=Path("x")))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])  # noqa: S104
def test_other_addresses_need_keys_or_boiler_insecure(host: str) -> None:
    with pytest.raises(SettingsError, match="BOILER_INSECURE=1"):
        serve.check_host(host, Settings(model_dir=Path("x")))
    serve.check_host(host, Settings(model_dir=Path("x"), insecure=True))
    serve.check_host(host, Settings(model_dir=Path("x"), api_keys=(SecretStr("read:" + "k" * 16),)))
