"""Helper for tests with a real server: that of Milvus Lite, as a process of its own."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from pathlib import Path

import nginx
from pymilvus import MilvusClient

START_S = 120.0


class MilvusServer:
    """A running server. `kill` and `start` it again: what was flushed is still there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = nginx.free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [
            sys.executable,
            "-m",
            "milvus_lite",
            "server",
            "--data-dir",
            str(self.folder),
            "--port",
            str(self.port),
        ]
        with self.folder.with_suffix(".log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        end = time.monotonic() + START_S
        while True:
            assert self.process.poll() is None, self.folder.with_suffix(".log").read_text()
            assert time.monotonic() < end
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5):
                return
            time.sleep(0.05)

    def client(self) -> MilvusClient:
        """A client of its own."""
        return MilvusClient(uri=self.uri, timeout=5)

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()
