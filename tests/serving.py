"""Helpers for tests of the service: small model directories, and real servers on free ports."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from boiler.store import generation
from boiler.store.generation import Header, Item, rows_of

START_S = 240.0  # on a busy machine


def publish(model_dir: Path, n_items: int = 200, dim: int = 16, seed: int = 0) -> generation.Generation:
    """A model directory of random vectors: item n is row n, 5 s long, labelled by the last digit of n."""
    vectors = np.random.default_rng(seed).normal(size=(n_items, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    items = [
        Item(n, f"kind{n % 10}/s{n:05}.wav", url=f"https://sounds.example/{n}", label=f"kind{n % 10}", duration_s=5.0)
        for n in range(n_items)
    ]
    return generation.publish(
        model_dir, Header(encoder="random", dim=dim), vectors, rows_of(np.arange(n_items), end_s=5.0), items
    )


class Server:
    """A running service: its URL, its process and its output."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        assert process.stdout is not None
        self.listener = threading.Thread(target=self._listen, args=(process.stdout,), daemon=True)
        self.listener.start()
        self.url = ""

    def _listen(self, stream: IO[str]) -> None:
        for line in stream:
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait for a line that matches, the last of `times` such lines. Its match."""
        while True:
            line = self._lines.get(timeout=START_S)
            assert line is not None, "the server ended:\n" + "".join(self.said)
            self.said.append(line)
            if match := re.search(pattern, line):
                times -= 1
                if times == 0:
                    return match

    def end(self) -> str:
        """Wait until the server has ended. All of its output."""
        self.process.wait(START_S)
        while (line := self._lines.get(timeout=START_S)) is not None:
            self.said.append(line)
        return "".join(self.said)


@contextlib.contextmanager
def running(command: list[str], environment: dict[str, str], workers: int = 1) -> Iterator[Server]:
    """Run a command that starts uvicorn, and stop it when the block ends."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BOILER_")}
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        env=clean | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    server = Server(process)
    try:
        server.url = server.wait_for(r"running on (http://\S+)")[1]
        if workers > 1:  # the parent process prints the URL before its workers are up
            server.wait_for("Application startup complete", workers)
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(START_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        server.listener.join()
        assert process.stdout is not None
        process.stdout.close()
