"""Start a service on loopback for a benchmark or a stress test, and stop it afterwards."""

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

START_TIMEOUT_S = 120.0


class Running(NamedTuple):
    """A running service: its process and its port on 127.0.0.1."""

    pid: int
    port: int


def indexed(folder: Path, per_kind: int) -> Path:
    """Write synthesized sounds to `folder/sounds`, index them, and return the model directory."""
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
    """Run `python -m` with these arguments and a free port; stop the process on exit.

    `module`: the module and its arguments; `environment`: variables to set, all other `BOILER_*` variables are unset;
    `log`: the file that its output goes to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BOILER_")}
    with (log or Path(os.devnull)).open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *module, "--port", str(port)],
            env=clean | dict(environment),
            stdout=output,
            stderr=output,
        )
    try:
        _wait_until_ready(process, port)
        yield Running(process.pid, port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until it answers HTTP: with several workers the parent accepts connections long before that."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the service did not start")
