"""A service of one's own on this machine, for as long as it is measured, attacked or watched."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from boiler.audio.synthesis import write_collection

START_S = 120.0


class Running(NamedTuple):
    """Of a service: the process that was started, and where it answers."""

    pid: int
    port: int


def indexed(folder: Path, per_kind: int) -> Path:
    """A model directory of made-up sounds, which lie in `folder/sounds`."""
    write_collection(folder / "sounds", per_kind=per_kind)
    command = [
        sys.executable,
        "-m",
        "boiler.index",
        "--wav_dir",
        folder / "sounds",
        "--model_dir",
        folder / "model",
        "MFCCStats",
    ]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "model"


@contextmanager
def running(module: Sequence[str], environment: Mapping[str, str], log: Path | None = None) -> Iterator[Running]:
    """`python -m` with these words and a free port, from when it answers until here is left. No `BOILER_*` variable
    but those given; what it says goes into `log`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BOILER_")}
    with (log or Path(os.devnull)).open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", *module, "--port", str(port)],
            env=clean | dict(environment),
            stdout=said,
            stderr=said,
        )
    try:
        _await(process, port)
        yield Running(process.pid, port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _await(process: subprocess.Popen[bytes], port: int) -> None:
    """Until it answers: with several workers their parent takes connections long before."""
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the service did not start")
