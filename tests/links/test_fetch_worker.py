"""Every connection for a link is checked: the first, those of redirects, and those that yt-dlp makes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from link_server import link_server

PUBLIC, PRIVATE = "127.0.0.2", "127.0.0.1"  # both on this machine: one is declared public for the test

PROGRAM = """
import socket, sys
from boiler.links import address, fetch_worker
address.is_public = lambda one: one == "127.0.0.2"
looked_up, real = [], socket.getaddrinfo
def rebinding(host, port, *rest, **named):
    if host == "rebinding.example":  # public at the first look-up, private at all later ones
        looked_up.append(host)
        host = "127.0.0.2" if len(looked_up) == 1 else "127.0.0.1"
    return real(host, port, *rest, **named)
socket.getaddrinfo = rebinding
if sys.argv[1] == "without yt-dlp":
    sys.modules["yt_dlp"] = None
fetch_worker.main()
"""


def worker(url: str, folder: Path, *flags: str, max_bytes: int = 10**6) -> dict[str, object]:
    """The last message of the process, in which 127.0.0.2 counts as public."""
    request = {"url": url, "folder": str(folder), "max_bytes": max_bytes, "timeout_s": 30, "allow_private": False}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *(flags or ("",))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        lines = process.stdout.read().splitlines()
        process.stdin.close()
    last: dict[str, object] = json.loads(lines[-1])
    return last


def test_a_public_server_cannot_redirect_to_a_private_one(tmp_path: Path) -> None:
    with link_server(PUBLIC) as public, link_server(PRIVATE) as private:
        assert worker(f"{public.url}/dog.wav", tmp_path) == {"file": "medium", "name": "dog.wav"}
        answer = worker(f"{public.url}/redirect?{private.url}/dog.wav", tmp_path)
        assert "127.0.0.1, which is no public address" in str(answer["error"])
        assert private.paths == []
        answer = worker(f"{public.url}/redirect?{public.url}/redirect?{private.url}/dog.wav", tmp_path)
        assert "no public address" in str(answer["error"])
        assert private.paths == []


def test_a_name_that_changes_its_address_is_checked_at_each_connection(tmp_path: Path) -> None:
    with link_server(PUBLIC) as public, link_server(PRIVATE) as private:
        port = private.server_address[1]
        public.files["again"] = public.files["dog.wav"]
        # The first look-up is for the redirecting server, whose port is another; the second leads to loopback.
        first = f"http://rebinding.example:{public.server_address[1]}/redirect?http://rebinding.example:{port}/dog.wav"
        assert "no public address" in str(worker(first, tmp_path)["error"])
        assert public.paths
        assert private.paths == []


def test_a_page_needs_the_extra(tmp_path: Path) -> None:
    with link_server(PUBLIC) as public:
        assert "boiler[links]" in str(worker(f"{public.url}/page", tmp_path, "without yt-dlp")["error"])


@pytest.mark.slow
def test_the_video_of_a_page_is_fetched_by_yt_dlp_under_the_same_checks(tmp_path: Path) -> None:
    pytest.importorskip("yt_dlp")
    with link_server(PUBLIC, dog_mp4=b"x" * 5_000) as public, link_server(PRIVATE, dog_mp4=b"y" * 10) as private:
        answer = worker(f"{public.url}/page", tmp_path)
        assert answer["file"] == "medium.mp4"
        assert str(answer["name"]).startswith("A dog")
        assert (tmp_path / "medium.mp4").read_bytes() == b"x" * 5_000

        public.files["bad"] = ("text/html", public.files["page"][1].replace(b"'/dog", f"'{private.url}/dog".encode()))
        assert "no public address" in str(worker(f"{public.url}/bad", tmp_path)["error"])
        assert private.paths == []

        (tmp_path / "medium.mp4").unlink()
        assert "error" in worker(f"{public.url}/page", tmp_path, max_bytes=1_000)
        public.files["nothing"] = ("text/html", b"<html><body>no video here</body></html>")
        assert "no sound or video" in str(worker(f"{public.url}/nothing", tmp_path)["error"])
