"""What a command costs: seconds, processor time, and the memory of its whole tree of processes; and the same of one
that runs.

Memory is sampled from `/proc/*/smaps_rollup`. `pss`: every page counted once over the tree, mapped files in it; `own`:
the part of it that no file backs, which is what a full machine cannot take back.
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

EVERY_S = 0.25
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Costs:
    """Of a command that has ended. Bytes, seconds."""

    code: int = 0
    wall_s: float = 0.0
    peak_pss: int = 0
    peak_own: int = 0
    most_processes: int = 0
    processor_s: dict[int, float] = field(default_factory=dict)  # by process, as last seen
    pid: int = 0
    said: str = ""

    @property
    def main_s(self) -> float:
        """Processor time of the process that was started."""
        return self.processor_s.get(self.pid, 0.0)

    @property
    def others_s(self) -> float:
        """Processor time of those that it started."""
        return sum(self.processor_s.values()) - self.main_s


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue  # it has ended
            parents.setdefault(parent, []).append(int(path.name))
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += parents.get(one, [])
    return found


def memory(pid: int) -> dict[str, int]:
    """The lines of smaps_rollup in bytes; empty where the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {name: 1024 * int(size.split()[0]) for name, _, size in (line.partition(":") for line in lines)}


def pss_mb(root: int) -> float:
    """Of a process and all below it, pages that they share counted once."""
    return sum(memory(pid).get("Pss", 0) for pid in tree(root)) / 2**20


def handles(root: int) -> int:
    """Open files, sockets and the like of a process and all below it."""
    total = 0
    for pid in tree(root):
        with suppress(OSError):
            total += len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return total


def processor_s(pids: Iterable[int]) -> float:
    """Processor time of these processes until now; of one that is gone, none."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(words[11]) + int(words[12])
    return total / _TICKS


def watched(argv: Sequence[str | os.PathLike[str]], **env: str) -> Costs:
    """Run a command to its end; what it prints is kept, its errors go where ours go."""
    costs = Costs()
    began = time.monotonic()
    # Into a file: nobody reads a pipe while it runs, and a long report would wait for ever in a full one.
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(list(map(str, argv)), stdout=said, env={**os.environ, **env}) as process,
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
            time.sleep(EVERY_S)
        said.seek(0)
        costs.said = said.read()
    costs.code, costs.wall_s = process.returncode, time.monotonic() - began
    return costs
