"""Measure wall-clock time, CPU time and memory of a command and all processes below it.

Memory is sampled from `/proc/*/smaps_rollup`. `pss`: proportional set size, every page counted once over the tree,
mapped files included; `own`: its anonymous part, which the kernel cannot reclaim by dropping file pages.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

SAMPLE_INTERVAL_S = 0.25
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Costs:
    """Measurements of a command that has ended. Memory in bytes, times in seconds."""

    code: int = 0
    wall_s: float = 0.0
    peak_pss: int = 0
    peak_own: int = 0
    most_processes: int = 0
    processor_s: dict[int, float] = field(default_factory=dict)  # by process id, at the last sample
    pid: int = 0
    output: str = ""

    @property
    def main_s(self) -> float:
        """CPU time of the process that was started."""
        return self.processor_s.get(self.pid, 0.0)

    @property
    def others_s(self) -> float:
        """CPU time of the processes that it started."""
        return sum(self.processor_s.values()) - self.main_s


def tree(pid: int) -> list[int]:
    """The ids of a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue  # the process has ended
            children.setdefault(parent, []).append(int(path.name))
    found, pending = [], [pid]
    while pending:
        current = pending.pop()
        found.append(current)
        pending += children.get(current, [])
    return found


def memory(pid: int) -> dict[str, int]:
    """The fields of smaps_rollup in bytes; empty if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {name: 1024 * int(size.split()[0]) for name, _, size in (line.partition(":") for line in lines)}


def pss_mb(root: int) -> float:
    """PSS in MB of a process and all its descendants: pages that they share count once."""
    return sum(memory(pid).get("Pss", 0) for pid in tree(root)) / 2**20


def handles(root: int) -> int:
    """The number of open file descriptors of a process and all its descendants."""
    total = 0
    for pid in tree(root):
        with suppress(OSError):
            total += len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return total


def processor_s(pids: Iterable[int]) -> float:
    """CPU time of these processes until now; processes that have ended count 0."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])  # utime, stime
    return total / _TICKS


def watched(argv: Sequence[str | os.PathLike[str]], **env: str) -> Costs:
    """Run a command to its end and keep its standard output; its error stream is ours."""
    costs = Costs()
    start = time.monotonic()
    # Into a file: a pipe is not read while the command runs, so a long output would fill it and block for ever.
    with (
        tempfile.TemporaryFile("w+") as stdout,
        subprocess.Popen(list(map(str, argv)), stdout=stdout, env={**os.environ, **env}) as process,
    ):
        costs.pid = process.pid
        while process.poll() is None:
            pids = tree(process.pid)
            sizes = [memory(pid) for pid in pids]
            costs.peak_pss = max(costs.peak_pss, sum(size.get("Pss", 0) for size in sizes))
            costs.peak_own = max(costs.peak_own, sum(size.get("Pss_Anon", 0) for size in sizes))
            costs.most_processes = max(costs.most_processes, len(pids))
            for pid in pids:
                costs.processor_s[pid] = max(costs.processor_s.get(pid, 0.0), processor_s([pid]))
            time.sleep(SAMPLE_INTERVAL_S)
        stdout.seek(0)
        costs.output = stdout.read()
    costs.code, costs.wall_s = process.returncode, time.monotonic() - start
    return costs
