"""Links are fetched within their limits, and nothing of them stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from link_server import LinkServer, link_server

from boiler.errors import LinkError
from boiler.links import fetch as fetching
from boiler.links.fetch import FetchLimits, fetch
from boiler.links.fetch_worker import MAX_REDIRECTS

HERE = FetchLimits(allow_private=True)


@pytest.fixture(scope="module")
def server() -> Iterator[LinkServer]:
    with link_server(empty_wav=b"") as server:
        yield server


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The temporary folder, which must be empty afterwards."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_fetched_with_its_progress(server: LinkServer) -> None:
    reports: list[tuple[int, int | None]] = []
    found = fetch(f"{server.url}/dog.wav", HERE, lambda done, total: reports.append((done, total)))
    content = server.files["dog.wav"][1]
    assert found == ("dog.wav", content)
    assert (len(content), len(content)) in reports


def test_redirects_are_followed(server: LinkServer) -> None:
    found = fetch(f"{server.url}/redirect?{server.url}/redirect?/dog.wav", HERE)
    assert found.name == "dog.wav"


@pytest.mark.slow
def test_private_addresses_are_refused_before_they_are_connected_to(server: LinkServer) -> None:
    server.paths.clear()
    port = server.url.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::]", "2130706433", "127.1"):
        with pytest.raises(LinkError, match=r"no public address|cannot be fetched"):
            fetch(f"http://{host}:{port}/dog.wav")
    assert server.paths == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nothing.wav", "status 404"),
        ("redirect?file:///etc/passwd", "something else than http"),
        ("redirect?gopher://127.0.0.1/a.wav", "something else than http"),
        ("redirect?ftp://127.0.0.1/a.wav", "begins with http"),
        ("redirect?http://user:secret@127.0.0.1/", "password"),
        ("empty.wav", "empty file"),
        ("broken", "broke off"),
    ],
)
def test_what_cannot_be_fetched_is_refused_in_a_sentence(server: LinkServer, path: str, reason: str) -> None:
    with pytest.raises(LinkError, match=reason):
        fetch(f"{server.url}/{path}", HERE)


def test_redirects_end() -> None:
    with link_server() as other:
        nested = f"{other.url}/dog.wav"
        for _ in range(MAX_REDIRECTS):
            nested = f"{other.url}/redirect?{nested}"
        assert fetch(nested, HERE).name == "dog.wav"
        with pytest.raises(LinkError, match="more than 5 times"):
            fetch(f"{other.url}/redirect?{nested}", HERE)


def test_a_file_has_a_size_limit_that_it_states_or_not(server: LinkServer) -> None:
    small = FetchLimits(max_bytes=1_000, allow_private=True)
    for path in ("dog.wav", "endless"):
        with pytest.raises(LinkError, match="more than"):
            fetch(f"{server.url}/{path}", small)


@pytest.mark.slow
def test_a_slow_file_has_a_time_limit(server: LinkServer) -> None:
    with pytest.raises(LinkError, match=r"more than 1\.5 s"):
        fetch(f"{server.url}/slow", FetchLimits(timeout_s=1.5, allow_private=True))


def test_an_exception_from_the_progress_callback_ends_the_process(server: LinkServer) -> None:
    processes: list[subprocess.Popen[bytes]] = []
    original = subprocess.Popen

    def started(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        processes.append(original(*arguments, **options))  # type: ignore[call-overload]
        return processes[-1]

    class Stopped(Exception):
        pass

    def stop(done: int, total: int | None) -> None:
        if done:
            raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fetching.subprocess, "Popen", started)
        with pytest.raises(Stopped):
            fetch(f"{server.url}/slow", HERE, stop)
    assert processes[0].returncode == -signal.SIGKILL


@pytest.mark.slow
def test_a_process_whose_parent_was_killed_ends_and_leaves_nothing(server: LinkServer, temporary: Path) -> None:
    code = (
        "import sys, tempfile; tempfile.tempdir = sys.argv[2]; from boiler.links.fetch import FetchLimits, fetch\n"
        "fetch(sys.argv[1], FetchLimits(allow_private=True), lambda done, total: done and print(done, flush=True))"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, f"{server.url}/slow", str(temporary)], stdout=subprocess.PIPE
    )
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline()
        assert list(temporary.iterdir())
        os.kill(parent.pid, signal.SIGKILL)
    until = time.monotonic() + 30
    while list(temporary.iterdir()) and time.monotonic() < until:
        time.sleep(0.02)
    assert list(temporary.iterdir()) == []


def test_the_process_does_not_get_the_environment_of_its_parent(
    server: LinkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1/")
    assert fetch(f"{server.url}/dog.wav", HERE).name == "dog.wav"
