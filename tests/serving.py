"""Helpers for tests of the service: model directories of random vectors, real servers on free ports, checks of
responses."""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from pydantic import TypeAdapter
from wording import word_model

from boiler.arrays import FloatArray
from boiler.engine.selection import EngineChoice
from boiler.search.nearest import Nearest
from boiler.store import generation
from boiler.store.build import WordScoring
from boiler.store.generation import Header, Item, rows_of

START_S = 240.0  # long, as the machine may be busy


def publish(
    model_dir: Path,
    n_items: int = 200,
    dim: int = 16,
    seed: int = 0,
    *,
    words: bool = False,
    engine: EngineChoice | None = None,
) -> generation.Generation:
    """A model directory of random vectors. Item n is row n, has five seconds, and its last digit as label. `words`:
    scored for queries in words."""
    vectors = np.random.default_rng(seed).normal(size=(n_items, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    items = [
        Item(n, f"kind{n % 10}/s{n:05}.wav", url=f"https://sounds.example/{n}", label=f"kind{n % 10}", duration_s=5.0)
        for n in range(n_items)
    ]
    scoring = None
    if words:
        model = word_model(dim=dim)
        model.save(model_dir.with_suffix(".safetensors"))
        scoring = WordScoring(model_dir.with_suffix(".safetensors"), len(model.classes), model.scores)
    rows = rows_of(np.arange(n_items), end_s=5.0)
    return generation.publish(
        model_dir, Header(encoder="random", dim=dim), vectors, rows, items, words=scoring, engine=engine
    )


def wav_bytes(samples: FloatArray, rate_hz: int) -> bytes:
    """A mono WAV file of samples from -1 to 1."""
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setparams((1, 2, rate_hz, 0, "NONE", ""))
        written.writeframes((32_767 * samples).clip(-32_768, 32_767).astype("<i2").tobytes())
    return file.getvalue()


def assert_problem(response: Any, status: int) -> str:
    """Assert that the response is a problem of this status. Returns its slug."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    return str(response.json()["type"].rsplit(":", 1)[1])


def assert_matches(response: Any, model: Any) -> Any:
    """Assert that a 200 matches its response model and has no other fields. Returns its content."""
    assert response.status_code == 200, response.text
    validated = TypeAdapter(model).validate_json(response.text)
    assert json.loads(TypeAdapter(model).dump_json(validated)) == response.json()
    return response.json()


def refreshed_during(nearest: Nearest, method: str, publish_next: Callable[[], object]) -> None:
    """Make the next call of a method of `nearest` publish and open a newer index before it returns."""
    original = getattr(nearest, method)

    def replaced(*arguments: Any) -> Any:
        delattr(nearest, method)
        result = original(*arguments)
        publish_next()
        nearest.refresh()
        return result

    setattr(nearest, method, replaced)


class Server:
    """A running server: its URL, its process, and its output."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.output: list[str] = []
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
        """Wait for a line that matches. Returns the match."""
        while True:
            line = self._lines.get(timeout=START_S)
            assert line is not None, "the server has ended:\n" + "".join(self.output)
            self.output.append(line)
            if match := re.search(pattern, line):
                times -= 1
                if times == 0:
                    return match

    def end(self) -> str:
        """Wait until the process has ended. Returns all of its output."""
        self.process.wait(START_S)
        while (line := self._lines.get(timeout=START_S)) is not None:
            self.output.append(line)
        return "".join(self.output)


@contextlib.contextmanager
def running(command: list[str], environment: dict[str, str], workers: int = 1) -> Iterator[Server]:
    """Run a server that prints uvicorn's log lines, and stop it at the end."""
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
        if workers > 1:  # the parent prints its URL before they have started
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
