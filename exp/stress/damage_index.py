"""Damage a model directory, again and again: `python -m exp.stress.damage_index --damages 1000`.

Each time a file of a good model directory is drawn, and one kind of damage: a flipped bit, zeros, an end cut off, or the
file deleted. Then the index is searched, and brought up to date with `boiler index`, or with the command that its error
advises. Prints how often what came of it, as a table in Markdown, and exits with 1 if anything was

- wrong in silence: an answer, an item or a published vector that is not that of a whole index;
- a traceback or a crash;
- lost: after the advised command an item is missing, or has another number.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from boiler import arguments, index
from boiler.catalog.catalog import CATALOG_FILE
from boiler.errors import BoilerError
from boiler.search.nearest import Nearest
from boiler.store import generation

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from sounds import tone, write

KINDS = ("flip", "zero", "cut", "delete")
N_QUERIES = 12
WORDS = ("--workers", "1")
BAD = ("wrong", "traceback", "lost")


def make(top: Path) -> Path:
    """A model directory with two generations, of twelve sounds, twins, silence and a broken file."""
    folder = top / "sounds"
    (folder / "low").mkdir(parents=True)
    for n in range(12):
        write(folder / "low" / f"{n}.wav", tone(200 + 40 * n, 0.4 + 1.5 * (n % 4), 8_000), 8_000)
    write(folder / "silent.wav", np.zeros(8_000), 8_000)
    (folder / "bad.wav").write_bytes(b"RIFF")
    model_dir = top / "m"
    words = [str(folder), "MFCCStats", "--model_dir", str(model_dir), "--engine", "annoy", *WORDS]
    quietly(lambda: index.main(words))
    shutil.copy(folder / "low" / "3.wav", folder / "twin.wav")
    write(folder / "later.wav", tone(900, 1.0, 8_000), 8_000)
    quietly(lambda: index.main([str(model_dir), *WORDS]))
    return model_dir


def quietly(work: Callable[[], int]) -> tuple[int, str]:
    """The result of a command, and what it printed on the error stream."""
    with tempfile.TemporaryFile("w+") as said, contextlib.redirect_stderr(said), contextlib.redirect_stdout(None):
        code = work()
        said.seek(0)
        return code, said.read()


def damage(path: Path, kind: str, chance: random.Random) -> None:
    """Damage a file in place, so that what is shared by hard links is damaged everywhere."""
    if kind == "delete" or path.is_symlink():
        path.unlink()
        return
    data = bytearray(path.read_bytes())
    if data and kind == "flip":
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif data and kind == "zero":
        begin = chance.randrange(len(data))
        end = min(len(data), begin + chance.choice((1, 16, 512, 4096, len(data))))
        data[begin:end] = bytes(end - begin)
    elif kind == "cut":
        del data[chance.randrange(max(1, len(data))) :]
    with path.open("r+b") as stream:
        stream.write(data)
        stream.truncate(len(data))


def seen(model_dir: Path, queries: Any) -> dict[str, Any]:
    """What a user sees of an index: the items, the map, and answers by vector and by item."""
    with Nearest(model_dir) as nearest:
        the_map = nearest.map()
        assert the_map is not None
        return {
            "items": [repr(item) for item in nearest.items(limit=1000)],
            "failures": [repr(failure) for failure in nearest._context.snapshot.items.failures()],
            "map": the_map.xy.tolist(),
            "answers": [
                [(match.id, match.start_s, round(match.distance, 5)) for match in nearest.search(query, k=5)]
                for query in queries
            ],
            "by item": [(match.id, round(match.distance, 5)) for match in nearest.by_item("low/1.wav", k=5)],
            "generation": nearest.generation,
        }


def published(model_dir: Path) -> tuple[list[str], Any]:
    """Items and vectors of the current generation, of which every byte is checked."""
    opened = generation.check(model_dir)
    with opened.items() as database:
        return [repr(item) for item in database.items()], np.array(opened.vectors)


def outcome(model_dir: Path, states: dict[str, dict[str, Any]], queries: Any, whole: tuple[list[str], Any]) -> str:
    """Search, update, follow the advice, compare. `states`: what was seen of each generation when it was whole."""
    found = []
    try:
        answered = seen(model_dir, queries)
    except BoilerError:
        found.append("refused to search")
    else:
        if answered != states.get(answered["generation"]):
            return "wrong: in a search"
        newest = max(states)
        found.append("searched" if answered["generation"] == newest else "searched the index before")
    code, error = quietly(lambda: index.main([str(model_dir), *WORDS]))
    if code == 2:
        advice = re.search(r"boiler index ('[^']+'|[^\s;,:]+)((?: --(?:repair|force))?)", error)
        if advice is None:
            return f"lost: no advice in {error[:200]}"
        found.append(f"advised{advice[2]}")
        code, error = quietly(lambda: index.main([*shlex.split(advice[1] + advice[2]), *WORDS]))
    if code == 2:
        return f"lost: {error[:200]}"
    items, vectors = published(model_dir)
    if items != whole[0]:
        return "lost: other items"
    if vectors.shape != whole[1].shape or (vectors * whole[1]).sum(axis=1).min() < 0.99999:
        return "wrong: in a vector"
    return ", ".join([*found, "then as before"])


def in_child(work: Callable[[], str]) -> str:
    """The result of `work` in a process of its own, which may crash."""
    read, write_to = os.pipe()
    child = os.fork()
    if not child:
        try:
            result = work()
        except BaseException:
            result = f"traceback: {traceback.format_exc()[-1500:]}"
        os.write(write_to, json.dumps(result).encode())
        os._exit(0)
    os.close(write_to)
    with os.fdopen(read, "rb") as stream:
        data = stream.read()
    _, status = os.waitpid(child, 0)
    return json.loads(data) if data else f"traceback: the process ended with status {status}"


def main() -> int:
    parser = arguments.Parser(description=__doc__)
    parser.add_argument("--damages", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long, with fewer damages")
    args: argparse.Namespace = parser.parse_args()
    chance = random.Random(args.seed)
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    worst = 0
    until = time.monotonic() + 60 * args.minutes
    with tempfile.TemporaryDirectory() as work:
        model_dir = make(Path(work))
        queries = np.random.default_rng(0).normal(size=(N_QUERIES, generation.open(model_dir).header.dim))
        states: dict[str, dict[str, Any]] = {}
        names = generation.names(model_dir)
        whole = published(model_dir)
        states[names[1]] = seen(model_dir, queries)
        generation.rollback(model_dir)
        states[names[0]] = seen(model_dir, queries)
        generation.undo_rollback(model_dir)
        copy = Path(work) / "copy"
        files = sorted(
            path.relative_to(model_dir)
            for path in model_dir.rglob("*")
            if path.is_symlink() or (path.is_file() and path.name != ".lock")
        )
        assert Path(CATALOG_FILE) in files
        by_file: Counter[str] = Counter()
        for n in range(args.damages):
            if time.monotonic() > until:
                break
            subprocess.run(["cp", "-a", model_dir, copy], check=True)  # with its links, hard ones, too
            file, kind = chance.choice(files), chance.choice(KINDS)
            damage(copy / file, kind, chance)
            result = in_child(lambda: outcome(copy, states, queries, whole))
            shutil.rmtree(copy)
            counts[kind][result.partition(":")[0] if result.startswith(BAD) else result] += 1
            by_file[file.name] += 1
            if result.startswith(BAD):
                worst += 1
                print(f"damage {n}: {kind} {file}: {result}", file=sys.stderr, flush=True)
    print(f"{by_file.total()} damages, seed {args.seed}, of {len(files)} files:\n")
    print("| what came of it |", " | ".join(KINDS), "|")
    print("| --- |" + " ---: |" * len(KINDS))
    for result in sorted({result for count in counts.values() for result in count} | set(BAD)):
        print(f"| {result} |", " | ".join(str(counts[kind][result]) for kind in KINDS), "|")
    return 1 if worst else 0


if __name__ == "__main__":
    sys.exit(main())
