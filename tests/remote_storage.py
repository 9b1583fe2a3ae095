"""Storage behind addresses, on loopback: a bucket of moto's S3 server, and a web server that counts and can fail."""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def s3_server() -> Iterator[Any]:
    """A client of boto3 for a server that this process and those it starts find by their environment."""
    import boto3
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_CONFIG_FILE", "/dev/null")
        try:
            yield boto3.client("s3")
        finally:
            server.stop()
            S3FileSystem.clear_instance_cache()  # connected to this server


class WebServer:
    """Serves a folder with index pages. `fetched`: GET requests by path; `failing`: paths answered with this status."""

    def __init__(self, folder: Path) -> None:
        self.fetched: Counter[str] = Counter()
        self.failing: dict[str, int] = {}
        owner = self

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.fetched[self.path] += 1
                if not self.failed():
                    super().do_GET()

            def do_HEAD(self) -> None:
                if not self.failed():
                    super().do_HEAD()

            def failed(self) -> bool:
                status = owner.failing.get(self.path)
                if status is not None:
                    self.send_error(status)
                return status is not None

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
