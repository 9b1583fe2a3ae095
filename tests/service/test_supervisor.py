"""Workers that are interrupted while they load end without a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from serving import START_S, publish

# Loaded by every interpreter at its start: a worker says so, and then loads for a long time.
SLOW_START = """
import sys, time
if "spawn_main" in " ".join(sys.orig_argv):
    print("loading", flush=True)
    for _ in range(6_000):
        time.sleep(0.01)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Windows has no process groups of this kind")
def test_ctrl_c_while_workers_load_prints_no_traceback(tmp_path: Path) -> None:
    publish(tmp_path / "model", 20, 8)
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(SLOW_START)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BOILER_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path / "path"), environment.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "boiler", "serve", str(tmp_path / "model"), "--port", "0", "--workers", "2"]
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # its processes are a group, as those of a terminal
    ) as server:
        assert server.stdout is not None
        printed = []
        while sum("loading" in line for line in printed) < 2:
            printed.append(server.stdout.readline())
            assert printed[-1], "".join(printed)
        os.killpg(server.pid, signal.SIGINT)
        rest = server.stdout.read()
        assert server.wait(START_S) == 0
    assert "Traceback" not in rest
    assert "KeyboardInterrupt" not in rest
