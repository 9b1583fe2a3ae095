"""Kill the indexer in each of its stages, with all of its processes at once as a power cut would, and check the result.

A moment drawn beforehand would miss its stage on a machine of another speed. So a stage is drawn, and detected by what
can be observed from outside; within it, the moment is drawn from how long the stage took in earlier runs.
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

STAGES = ("starting", "scanning", "learning", "embedding", "publishing")
"""In order: Python and its imports; comparing the folder with the catalog, under the lock; fitting the encoder;
embedding pending files; writing a generation, and switching to it."""
ENDED = "ended by itself"
_POLL_S = 0.001
_KILLS_EACH = 4  # of one index, before it may end by itself
_REMEMBERED = 5  # runs from which the duration of a stage is known
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def write_many(folder: Path) -> Path:
    """Write thirty short sounds and a long one."""
    folder.mkdir()
    for n in range(30):
        write(folder / f"{n}.wav", tone(200 + 30 * n, 0.3 + n / 20, 8_000), 8_000)
    write(folder / "long.wav", tone(440, 120.0, 8_000), 8_000)
    return folder


def start(folder: Path, model_dir: Path) -> subprocess.Popen[bytes]:
    """Start `python -m boiler.index` in its own process group, so that one kill ends all of its processes."""
    arguments = ("--workers", "1", "--batch_size", "2")
    return subprocess.Popen(
        [sys.executable, "-m", "boiler.index", str(folder), "MFCCStats", "--model_dir", str(model_dir), *arguments],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def same(one: Path, other: Path) -> bool:
    """Whether metadata.tsv is equal byte for byte, and vectors have a cosine of at least 0.99999."""
    vectors = generation.check(one).vectors, generation.check(other).vectors
    return (one / METADATA).read_bytes() == (other / METADATA).read_bytes() and bool(
        ((vectors[0] * vectors[1]).sum(axis=1) > 0.99999).all()
    )


def kill_repeatedly(folder: Path, tmp_path: Path, n_kills: int) -> Counter[str]:
    """Kill runs in random stages, and resume them. After each kill the published index is intact; a finished run equals
    an uninterrupted one. Returns the number of kills by stage, and of runs that finished."""
    counts: Counter[str] = Counter()
    rng = random.Random(0)
    reference = Run(folder, tmp_path / "reference")
    reference.end()
    duration_s = {stage: deque([reference.duration_s.get(stage, 0.0)], maxlen=_REMEMBERED) for stage in STAGES}
    while counts.total() - counts[ENDED] < n_kills:
        model_dir = tmp_path / "m"
        wanted = min(_KILLS_EACH, n_kills - counts.total() + counts[ENDED])
        for stage in sorted(rng.choices(STAGES, k=wanted), key=STAGES.index):
            run = Run(folder, model_dir)
            if not run.wait_until(stage) or not run.wait_until(for_s=rng.random() * max(duration_s[stage])):
                break
            if not (stage_killed := run.kill()):
                break
            counts[stage_killed] += 1
            if (model_dir / generation.CURRENT).exists():
                opened = generation.check(model_dir)
                assert len((model_dir / TENSORS).read_text().splitlines()) == opened.header.n_rows
            for over, s in run.duration_s.items():
                duration_s[over].append(s)
        else:
            run = Run(folder, model_dir)
        run.end()
        assert same(model_dir, tmp_path / "reference")
        counts[ENDED] += 1
        shutil.rmtree(model_dir)
    return counts


class Run:
    """A running indexer, observed from outside."""

    def __init__(self, folder: Path, model_dir: Path) -> None:
        self.duration_s: dict[str, float] = {}  # by stage, for those that are over
        self._model_dir = model_dir
        self._left = self._unfinished()
        self._process = start(folder, model_dir)
        self._stage, self._since = STAGES[0], time.monotonic()

    def wait_until(self, stage: str = STAGES[0], for_s: float = 0.0) -> bool:
        """Wait until this stage or a later one is reached, and `for_s` longer. Whether the indexer still runs then."""
        until = None
        while self._process.poll() is None:
            if until is None and STAGES.index(self._current_stage()) >= STAGES.index(stage):
                until = time.monotonic() + for_s
            if until is not None and time.monotonic() >= until:
                return True
            time.sleep(_POLL_S)
        return False

    def kill(self) -> str:
        """Kill the indexer. The stage that it was in; empty if it had ended before."""
        stage = self._current_stage()
        os.killpg(self._process.pid, signal.SIGKILL)
        self._finish()
        return stage if self._process.returncode == -signal.SIGKILL else ""

    def end(self) -> None:
        """Wait until the indexer ends; it must succeed."""
        self.wait_until(for_s=float("inf"))
        self.duration_s[self._stage] = time.monotonic() - self._since
        output = self._finish()
        assert self._process.returncode == 0, output

    def _finish(self) -> str:
        _, output = self._process.communicate()
        assert b"Traceback" not in output, output.decode()
        return output.decode()

    def _current_stage(self) -> str:
        """The current stage. Stages only advance."""
        observed = self._observed_stage()
        if STAGES.index(observed) > STAGES.index(self._stage):
            now = time.monotonic()
            self.duration_s[self._stage] = now - self._since
            self._stage, self._since = observed, now
        return self._stage

    def _observed_stage(self) -> str:
        if self._unfinished() - self._left:
            return "publishing"
        pid = self._process.pid
        try:
            if (self._model_dir / files.LOCK_FILE).read_text().split(",")[0] != f"process {pid}":
                return "starting"
            decoders = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        except OSError:  # not written yet, or the process has ended
            return "starting"
        if not decoders:
            return "scanning"
        return "embedding" if (self._model_dir / binding.ENCODER_FILE).exists() else "learning"

    def _unfinished(self) -> set[tuple[str, int]]:
        """What a run has not published yet: names, with modification times."""
        found = set()
        for path in self._model_dir.glob(f"{generation.VERSIONS}/.*"):
            with suppress(OSError):  # it was renamed meanwhile
                found.add((path.name, path.stat().st_mtime_ns if path.is_file() else 0))
        return found
