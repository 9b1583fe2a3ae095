"""Kill the indexer, again and again: `python -m exp.stress.kill_indexer --kills 1000`.

Each run is a process group of its own that embeds a folder from nothing, updates an index, publishes with another seed,
rolls back, undoes that, or repairs a lost catalog. It is killed as a whole, with SIGKILL, at a moment drawn from the
time that such runs took. After each kill what is published must be whole, to the last byte, and one of the states that
there can be; after some the run is repeated to its end, which must give what an undisturbed run gives. Prints a table in
Markdown of the stages that were met, and exits with 1 at the first fault.

Runs are forked from a process that has imported everything, so that kills are not spent on Python's start;
`--processes` starts whole processes instead, as the tests do (tests/killing.py), which is ten times as slow.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import torch  # noqa: F401  # imported before a run is forked

from boiler import arguments, index
from boiler.catalog.catalog import CATALOG_FILE
from boiler.catalog.database import check_catalog
from boiler.store import generation

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
import killing
from sounds import tone, write

WORDS = ("--workers", "1", "--batch_size", "2")
STAGES = ("before writing", "embedding", "publishing", "published")
_REPEATED = 0.15  # share of kills after which the run is repeated to its end
_REMEMBERED = 10
_LONGER = 1.3  # than the longest of the runs remembered: some come to their end, and say how long they take now


class Collection:
    """A folder in two states, and the index of each: its items and vectors."""

    def __init__(self, top: Path) -> None:
        self.folder, self.model_dir = top / "sounds", top / "m"
        self.folder.mkdir()
        for n in range(8):
            write(self.folder / f"{n}.wav", tone(200 + 40 * n, 0.4 + 3.0 * (n % 3), 8_000), 8_000)
        self.large = False
        self.states = []
        for large in (False, True):
            self.resize(large)
            forked(lambda: self.run("update"))
            self.states.append(self.published())

    def resize(self, large: bool) -> None:
        """Add two files, or remove them."""
        for n in (100, 101):
            if large:
                write(self.folder / f"{n}.wav", tone(300 + 5 * n, 1.0, 8_000), 8_000)
            else:
                (self.folder / f"{n}.wav").unlink(missing_ok=True)
        self.large = large

    def run(self, action: str) -> int:
        """Do one thing to the end, in this process."""
        flags = {"publish": ("--seed", str(os.getpid())), "roll back": ("--rollback",)}
        flags |= {"undo": ("--undo_rollback",), "repair": ("--repair",)}
        words = [str(self.folder), "MFCCStats", "--model_dir", str(self.model_dir), *WORDS, *flags.get(action, ())]
        if action in ("roll back", "undo"):
            words = [str(self.model_dir), *flags[action]]
        return index.main(words)

    def prepare(self, action: str, chance: random.Random) -> None:
        """Make sure that there is something to do."""
        if action == "embed":
            self.resize(False)  # the encoder is fitted to what is there
            shutil.rmtree(self.model_dir)
        elif action == "update":
            self.resize(not self.large)
        elif action == "roll back" and generation.previous_name(self.model_dir) is None:
            forked(lambda: self.run("publish"))
        elif action == "undo" and generation.next_name(self.model_dir) is None:
            if generation.previous_name(self.model_dir) is None:
                forked(lambda: self.run("publish"))
            forked(lambda: self.run("roll back"))
        elif action == "repair":
            path = self.model_dir / CATALOG_FILE
            if path.exists():
                os.truncate(path, chance.choice((0, 4096, 8192)))

    def published(self) -> tuple[list[tuple[str, str]], np.ndarray]:
        """The items and vectors of the index, of which every byte is checked."""
        opened = generation.check(self.model_dir)
        with opened.items() as database:
            return [(item.id, item.sha256) for item in database.items()], np.array(opened.vectors)

    def check(self, *, ended: bool) -> None:
        """What is published is one of the states; after a run that ended, the one of the folder."""
        if not ended and not generation.names(self.model_dir):
            return
        items, vectors = self.published()
        states = [state for state in self.states if sorted(state[0]) == sorted(items)]
        assert states, f"not a state that there can be: {items}"
        order = np.argsort([id for id, _ in items])
        # Every sound is one window or more: compare the sums, in the order of ids, whatever the numbers are.
        assert vectors.shape == states[0][1].shape, order
        assert np.allclose(np.sort(vectors @ vectors.sum(0)), np.sort(states[0][1] @ states[0][1].sum(0)), atol=1e-3)
        if ended:
            assert states[0] is self.states[self.large], "the index is not that of the folder"
            check_catalog(self.model_dir / CATALOG_FILE)
            left = [path.name for path in self.model_dir.rglob(".*") if path.name not in (".lock", ".encoder.pt")]
            assert not left, f"left behind: {left}"


def forked(work: Callable[[], int], wait_s: float | None = None, stage: Callable[[], str] = str) -> tuple[str, float]:
    """Run `work` in a process group of its own and kill it after `wait_s`. The stage that it was in, empty if it had
    ended before, and how long it ran."""
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        child = os.fork()
        if not child:
            os.setpgid(0, 0)
            os.dup2(said.fileno(), 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            try:
                os._exit(work())
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(99)
        with suppress(OSError):  # whoever comes first: the child may have ended
            os.setpgid(child, child)
        status = 0
        while wait_s is None or time.monotonic() - began < wait_s:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                break
            time.sleep(0.001)
        else:
            at = stage()
            os.killpg(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if os.WIFSIGNALED(status):
                return at, time.monotonic() - began
        said.seek(0)
        output = said.read().decode(errors="replace")
        assert "Traceback" not in output, output
        assert os.WIFEXITED(status), output
        assert os.WEXITSTATUS(status) == 0, output
        return "", time.monotonic() - began


def kill_forked(kills: int, seed: int, minutes: float) -> int:
    until = time.monotonic() + 60 * minutes
    chance = random.Random(seed)
    actions = ("embed", "update", "publish", "roll back", "undo", "repair")
    took: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_REMEMBERED))
    counts: dict[str, Counter[str]] = {action: Counter() for action in actions}
    ended = 0
    with tempfile.TemporaryDirectory() as work:
        collection = Collection(Path(work))
        for action in actions:  # undisturbed, to know how long it takes
            collection.prepare(action, chance)
            took[action].append(forked(partial(collection.run, action))[1])
        while (killed := sum(count.total() for count in counts.values())) < kills and time.monotonic() < until:
            (action,) = chance.choices(actions, weights=(1, 2, 3, 3, 3, 2))
            collection.prepare(action, chance)
            before = set(generation.names(collection.model_dir))

            def stage(before: set[str] = before) -> str:
                versions = collection.model_dir / generation.VERSIONS
                if set(generation.names(collection.model_dir)) - before:
                    return "published"
                if versions.is_dir() and any(path.name.startswith(".building") for path in versions.iterdir()):
                    return "publishing"
                return "embedding" if (collection.model_dir / ".encoder.pt").exists() and not before else STAGES[0]

            # A draw that is too late says how long such a run takes now.
            at, took_s = forked(partial(collection.run, action), chance.random() * _LONGER * max(took[action]), stage)
            if at:
                counts[action][at] += 1
                collection.check(ended=False)
            else:
                took[action].append(took_s)
            if not at and action not in ("roll back", "undo"):
                collection.check(ended=True)
                ended += 1
            elif chance.random() < _REPEATED or action in ("embed", "repair"):
                _, took_s = forked(partial(collection.run, "repair" if action == "repair" else "update"))
                if action in ("embed", "update"):
                    took[action].append(took_s)
                collection.check(ended=True)
                ended += 1
    print(f"{killed} runs killed, seed {seed}; {ended} were repeated to their end, as an undisturbed run.\n")
    print("| killed while it was | ", " | ".join(STAGES), "|")
    print("| --- |" + " ---: |" * len(STAGES))
    for action in actions:
        print(f"| {action} |", " | ".join(str(counts[action][stage]) for stage in STAGES), "|")
    return 0


def kill_processes(kills: int) -> int:
    with tempfile.TemporaryDirectory() as work:
        folder = killing.write_many(Path(work) / "many")
        counts = killing.kill_repeatedly(folder, Path(work), kills)
    ends = counts.pop(killing.ENDED)
    print(
        f"{counts.total()} runs killed with SIGKILL, all processes of each at once (load {os.getloadavg()[0]:.1f}):\n"
    )
    print("| stage that it was in |", " | ".join(killing.STAGES), "|")
    print("| --- |" + " ---: |" * len(killing.STAGES))
    print("| runs killed |", " | ".join(str(counts[stage]) for stage in killing.STAGES), "|")
    print(
        f"\n{ends} runs came to their end, taking up what was left: each gave the metadata.tsv of an uninterrupted run"
        " to the byte, and its vectors to a cosine of 0.99999. After every kill, what was published had every byte as its"
        " manifest says."
    )
    return 0


def main() -> int:
    parser = arguments.Parser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long, with fewer kills")
    parser.add_argument("--processes", action="store_true", help="start a whole process for each run")
    args: argparse.Namespace = parser.parse_args()
    return kill_processes(args.kills) if args.processes else kill_forked(args.kills, args.seed, args.minutes)


if __name__ == "__main__":
    sys.exit(main())
