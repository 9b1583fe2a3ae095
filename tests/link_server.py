"""A server on loopback for tests of links: files, pages, redirects, and answers that never end."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from browsing import sound_bytes

PAGE = b"<html><head><title>A dog</title></head><body><video src='/dog.mp4'></video></body></html>"


class LinkServer(ThreadingHTTPServer):
    """`paths`: of the requests it got."""

    daemon_threads = True

    def __init__(self, host: str, files: dict[str, tuple[str, bytes]]) -> None:
        super().__init__((host, 0), _Handler)
        self.files = files
        self.paths: list[str] = []
        self.url = f"http://{host}:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: LinkServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._head(200)
        self.end_headers()

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        name, _, rest = self.path.strip("/").partition("?")
        if name in self.server.files:
            kind, content = self.server.files[name]
            self._head(200, kind, len(content))
            self.end_headers()
            self.wfile.write(content)
        elif name == "redirect":  # /redirect?URL
            self._head(302)
            self.send_header("Location", rest)
            self.end_headers()
        elif name == "slowly":  # /slowly?FILE takes two seconds
            kind, content = self.server.files[rest]
            self._head(200, kind, len(content))
            self.end_headers()
            with contextlib.suppress(OSError):
                for at in range(0, len(content), len(content) // 20 + 1):
                    self.wfile.write(content[at : at + len(content) // 20 + 1])
                    time.sleep(0.1)
        elif name in ("endless", "slow", "broken"):
            self._head(200, "audio/wav", 10_000 if name == "broken" else None)
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(1 if name == "broken" else 100_000):
                    self.wfile.write(bytes(1_000 if name != "endless" else 100_000))
                    time.sleep(0.0 if name != "slow" else 0.05)
        else:
            self._head(404, "text/html", 0)
            self.end_headers()

    def _head(self, status: int, kind: str = "application/octet-stream", length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))


@contextlib.contextmanager
def link_server(host: str = "127.0.0.1", **files: bytes) -> Iterator[LinkServer]:
    """The server, with a sound, a page, and more `files`."""
    named = {"dog.wav": ("audio/wav", sound_bytes(440.0)), "page": ("text/html; charset=utf-8", PAGE)}
    named |= {name.replace("_", "."): ("application/octet-stream", content) for name, content in files.items()}
    with LinkServer(host, named) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
