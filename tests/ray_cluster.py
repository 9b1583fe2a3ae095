"""A Ray cluster of processes of this machine, for tests that kill some of them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(Path(__file__).parent),
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A killed node refuses connections, so it is noticed after some seconds, not half a minute. One that is merely slow
    # on a busy machine must not be declared dead: then nothing could run any more.
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "20000",
    "RAY_health_check_initial_delay_ms": "0",
}


class Cluster:
    """Nodes on this machine; each has two processors in name."""

    def __init__(self, temporary: Path) -> None:
        self._temporary = temporary
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self._nodes = [self._start("--head", f"--port={self.address.partition(':')[2]}", "--include-dashboard=false")]

    def add_node(self) -> None:
        self._nodes.append(self._start(f"--address={self.address}"))

    @property
    def n_nodes(self) -> int:
        return len(self._nodes)

    def replace_last_node(self) -> None:
        """Another node for the last one, whose raylet was killed."""
        dead = self._nodes[-1]
        self._kill(len(self._nodes) - 1)
        dead.communicate()
        self._nodes[-1] = self._start(f"--address={self.address}")

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        words = (*words, f"--temp-dir={self._temporary}") if "--head" in words else words
        common = ("--node-ip-address=127.0.0.1", "--num-cpus=2", f"--object-store-memory={200 * 10**6}", "--block")
        node = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", *words, *common],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert node.stdout is not None
        for line in node.stdout:
            if b"Ray runtime started" in line:
                return node
        raise AssertionError(f"no Ray node: {node.wait()}")

    def pids(self, kind: str, node: int) -> list[int]:
        """The processes of a node whose command matches."""
        found, unseen = [], [self._nodes[node].pid]
        while unseen:
            pid = unseen.pop()
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                unseen += map(int, task.read_text().split())
            if re.search(kind, Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")):
                found.append(pid)
        return found

    def close(self) -> None:
        """Kill all processes: a node that is asked to end takes half a minute."""
        for number, node in enumerate(self._nodes):
            self._kill(number)
            node.communicate()

    def _kill(self, number: int) -> None:
        for pid in self.pids("", number):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
