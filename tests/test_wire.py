"""The head of a request is bounded, and of nothing else is its length reckoned."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit

from serving import START_S, publish, running


def test_a_head_that_comes_with_the_end_of_a_body_is_not_too_large(tmp_path: Path) -> None:
    publish(tmp_path / "model", 10, 8)
    body = b"[" * 400_000
    head = b"POST /nearest HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with running(["boiler.serve", str(tmp_path / "model"), "--port", "0"], {}) as server:
        where = urlsplit(server.url)
        with socket.create_connection((where.hostname, where.port), timeout=START_S) as wire:
            wire.sendall(head % len(body) + body + b"GET /livez HTTP/1.1\r\nHo")
            answers = wire.makefile("rb")
            assert answers.readline().startswith(b"HTTP/1.1 422 ")  # by now all of it was taken in, or nearly
            wire.sendall(b"st: x\r\nConnection: close\r\n\r\n")
            assert b"HTTP/1.1 200 " in answers.read()
            assert wire.recv(1) == b""
