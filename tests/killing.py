"""Kills the indexer in each of its stages, all of its processes at once, as a power cut does, and looks what is lost.

A time drawn beforehand would miss on a machine that is busier than it was. So the stage is drawn, and waited for by
what can be seen from outside; the clock tells only the moment within it, by how long it took in the runs before.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from contextlib import suppress
from pathlib import Path

from sounds import tone, write

from boiler import files
from boiler.indexing import binding
from boiler.store import generation
from boiler.store.projector import METADATA, TENSORS

STAGES = ("starting", "looking", "learning", "embedding", "publishing")
"""In their order: Python and its imports; comparing the folder with the catalog, under the lock; making the encoder;
hearing what is pending; writing a generation, and pointing to it."""
ENDED = "came to its end"
_LOOK_EVERY_S = 0.001
_KILLS_EACH = 4  # of one index, before it may come to its end
_REMEMBERED = 5  # runs of which it is known how long their stages took
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def write_many(folder: Path) -> Path:
    """Thirty short sounds and a long one."""
    folder.mkdir()
    for n in range(30):
        write(folder / f"{n}.wav", tone(200 + 30 * n, 0.3 + n / 20, 8_000), 8_000)
    write(folder / "long.wav", tone(440, 120.0, 8_000), 8_000)
    return folder


def start(folder: Path, model_dir: Path) -> subprocess.Popen[bytes]:
    """`python -m boiler.index` as a group of processes of its own, so that a kill takes all of them."""
    words = ("--workers", "1", "--batch_size", "2")
    return subprocess.Popen(
        [sys.executable, "-m", "boiler.index", str(folder), "MFCCStats", "--model_dir", str(model_dir), *words],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def same(one: Path, other: Path) -> bool:
    """metadata.tsv to the byte, vectors to a cosine of 0.99999."""
    vectors = generation.check(one).vectors, generation.check(other).vectors
    return (one / METADATA).read_bytes() == (other / METADATA).read_bytes() and bool(
        ((vectors[0] * vectors[1]).sum(axis=1) > 0.99999).all()
    )


def killed_again_and_again(folder: Path, tmp_path: Path, n_kills: int) -> Counter[str]:
    """Kill runs in stages drawn by chance and take them up again. After each, what is published is whole; what is there
    in the end is what an uninterrupted run gives. In which stage so many fell, and how often one came to its end."""
    counts: Counter[str] = Counter()
    chance = random.Random(0)
    reference = Run(folder, tmp_path / "reference")
    reference.end()
    took_s = {stage: deque([reference.took_s.get(stage, 0.0)], maxlen=_REMEMBERED) for stage in STAGES}
    while counts.total() - counts[ENDED] < n_kills:
        model_dir = tmp_path / "m"
        wanted = min(_KILLS_EACH, n_kills - counts.total() + counts[ENDED])
        for stage in sorted(chance.choices(STAGES, k=wanted), key=STAGES.index):
            run = Run(folder, model_dir)
            if not run.at_work(stage) or not run.at_work(for_s=chance.random() * max(took_s[stage])):
                break
            if not (fell := run.kill()):
                break
            counts[fell] += 1
            if (model_dir / generation.CURRENT).exists():
                opened = generation.check(model_dir)
                assert len((model_dir / TENSORS).read_text().splitlines()) == opened.header.n_rows
            for over, s in run.took_s.items():
                took_s[over].append(s)
        else:
            run = Run(folder, model_dir)
        run.end()
        assert same(model_dir, tmp_path / "reference")
        counts[ENDED] += 1
        shutil.rmtree(model_dir)
    return counts


class Run:
    """The indexer at work, looked at from outside."""

    def __init__(self, folder: Path, model_dir: Path) -> None:
        self.took_s: dict[str, float] = {}  # of the stages that are over
        self._model_dir = model_dir
        self._left = self._unfinished()
        self._process = start(folder, model_dir)
        self._stage, self._since = STAGES[0], time.monotonic()

    def at_work(self, stage: str = STAGES[0], for_s: float = 0.0) -> bool:
        """Wait until it has come to that stage, or to one after it, and then so long; whether it is still at work."""
        until = None
        while self._process.poll() is None:
            if until is None and STAGES.index(self._look()) >= STAGES.index(stage):
                until = time.monotonic() + for_s
            if until is not None and time.monotonic() >= until:
                return True
            time.sleep(_LOOK_EVERY_S)
        return False

    def kill(self) -> str:
        """The stage that it was in; empty where it came to its end before."""
        stage = self._look()
        os.killpg(self._process.pid, signal.SIGKILL)
        self._ended()
        return stage if self._process.returncode == -signal.SIGKILL else ""

    def end(self) -> None:
        """Let it come to its end, which must be a good one."""
        self.at_work(for_s=float("inf"))
        self.took_s[self._stage] = time.monotonic() - self._since
        said = self._ended()
        assert self._process.returncode == 0, said

    def _ended(self) -> str:
        _, said = self._process.communicate()
        assert b"Traceback" not in said, said.decode()
        return said.decode()

    def _look(self) -> str:
        """The stage that it is in: none comes after a later one."""
        seen = self._seen()
        if STAGES.index(seen) > STAGES.index(self._stage):
            now = time.monotonic()
            self.took_s[self._stage] = now - self._since
            self._stage, self._since = seen, now
        return self._stage

    def _seen(self) -> str:
        if self._unfinished() - self._left:
            return "publishing"
        pid = self._process.pid
        try:
            if (self._model_dir / files.LOCK_FILE).read_text().split(",")[0] != f"process {pid}":
                return "starting"
            decoders = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        except OSError:  # not there yet, or the process has ended
            return "starting"
        if not decoders:
            return "looking"
        return "embedding" if (self._model_dir / binding.ENCODER_FILE).exists() else "learning"

    def _unfinished(self) -> set[tuple[str, int]]:
        """What a run has not published yet: names, and when they were made or last written."""
        found = set()
        for path in self._model_dir.glob(f"{generation.VERSIONS}/.*"):
            with suppress(OSError):  # it has its name by now
                found.add((path.name, path.stat().st_mtime_ns if path.is_file() else 0))
        return found
