"""Mutation testing of the rooms whose faults would answer wrongly: `python -m exp.stress.mutation --mutants 300`.

Mutants are made by cosmic-ray (`pip install cosmic-ray`; it is no dependency of boiler): a comparison turned round, a
number changed by one, a condition negated, `break` for `continue`. A sample is drawn from all mutants of `ROOMS`, each
file with a chance in proportion to its mutants. A mutant is made in a copy of the repository. First every mutant is
tested by the test file of the mutated file, then those that survived by all quick tests of the room, each until the
first failure. A mutant is killed if a test fails or the tests take more than `--timeout_s`.

Mutants that no test can see are not drawn: those of annotations, of `__all__`, of texts, and of `slots=True` and the
like in decorators. What is left of equivalent mutants counts as surviving.

Every result is a line of --out (JSON), which an interrupted run continues. Prints the share killed in each room, and
each survivor as a diff. Exits with 1 if fewer than 85 % were killed.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from boiler.progress import meter

ROOT = Path(__file__).parents[2]
ROOMS = (
    "boiler/search",
    "boiler/store",
    "boiler/catalog",
    "boiler/indexing",
    "boiler/service/auth.py",
    "boiler/encoder/runtime.py",
)
Span = tuple[tuple[int, int], tuple[int, int]]
"""Line and column of the begin and of the end."""


def unseen_spans(source: str) -> list[Span]:
    """Parts of a module whose mutants no test can see."""
    spans: list[Span] = []

    def add(node: ast.AST | None) -> None:
        if node is not None:
            place: Any = node
            spans.append(((place.lineno, place.col_offset), (place.end_lineno, place.end_col_offset)))

    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            add(node.returns)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for decorator in node.decorator_list:
                add(decorator)
        if isinstance(node, ast.arg | ast.AnnAssign):
            add(node.annotation)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            add(node)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            add(node)
    return spans


def is_unseen(begin: tuple[int, int], spans: list[Span]) -> bool:
    return any(first <= begin < last for first, last in spans)


def all_mutants() -> list[Any]:
    """Every `MutationSpec` of `ROOMS` that a test could see, in a fixed order."""
    from cosmic_ray.commands.init import _all_work_items

    found = []
    for room in ROOMS:
        path = ROOT / room
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            spans = unseen_spans(file.read_text("utf-8"))
            for item in _all_work_items([file.relative_to(ROOT)], {}):
                (mutation,) = item.mutations
                if not is_unseen(mutation.start_pos, spans):
                    found.append(mutation)
    return found


OWN, ROOM = "own", "room"
"""Which tests: those of the file's own test file, if there is one, or those of its room."""


def test_command(module: Path, tests: str) -> str:
    """A command that fails as soon as one of the tests of a module does."""
    inside = module.relative_to("boiler")
    own = Path("tests") / inside.parent / f"test_{inside.name}"
    paths = str(own) if tests == OWN and (ROOT / own).is_file() else f"tests/{inside.parts[0]}"
    return f"{sys.executable} -m pytest -x -q -p no:cacheprovider -m 'not slow' {paths}"


def name_of(mutation: Any) -> str:
    line, column = mutation.start_pos
    operator = mutation.operator_name.removeprefix("core/")
    return f"{mutation.module_path}:{line}:{column} {operator} {mutation.occurrence}"


def copy_of_the_repository(folder: Path) -> Path:
    subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(folder)], check=True)
    for compiled in (ROOT / "boiler" / "engine").glob("*.so"):
        shutil.copy(compiled, folder / "boiler" / "engine")
    return folder


def run_worker(
    copy: Path, mutations: list[Any], tests: str, timeout_s: float, out: Path, lock: threading.Lock, done: Any
) -> None:
    """Test the mutants one after the other in a process whose current folder is the copy."""
    for mutation in mutations:
        program = (
            "import json, sys; from cosmic_ray.mutating import mutate_and_test; from cosmic_ray.work_item import *;"
            "given = json.loads(sys.argv[1]);"
            "made = MutationSpec(given['path'], given['operator'], given['occurrence'], (1, 0), (2, 0));"
            "found = mutate_and_test([made], given['command'], given['timeout_s']);"
            "print(json.dumps([found.worker_outcome, found.test_outcome, found.diff, (found.output or '')[-600:]]))"
        )
        given = {
            "path": str(mutation.module_path),
            "operator": mutation.operator_name,
            "occurrence": mutation.occurrence,
            "command": test_command(mutation.module_path, tests),
            "timeout_s": timeout_s,
        }
        paths = os.pathsep.join([str(copy), str(copy / "tests"), *sys.path[1:]])
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        ran = subprocess.run(
            [sys.executable, "-c", program, json.dumps(given)],
            cwd=copy, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        worker, outcome, diff, output = json.loads(ran.stdout.splitlines()[-1])
        line = {
            "mutant": name_of(mutation),
            "tests": tests,
            "worker": worker,
            "outcome": outcome,
            "diff": diff,
            "output": output,
        }
        with lock:
            with out.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
            done.step(note=f"{outcome}: {name_of(mutation)}")


def report(results: list[dict[str, Any]]) -> bool:
    """Print the tables. Returns whether at least 85 % were killed."""
    counts: Counter[tuple[str, str]] = Counter()
    for result in results:
        room = next(room for room in ROOMS if result["mutant"].startswith(room))
        counts[room, result["outcome"]] += 1
    print("| room | mutants | killed | survived |\n| --- | --- | --- | --- |")
    for room in ROOMS:
        killed, survived = counts[room, "killed"], counts[room, "survived"]
        print(f"| {room} | {killed + survived} | {killed} | {survived} |")
    killed = sum(n for (_, outcome), n in counts.items() if outcome == "killed")
    valid = sum(n for (_, outcome), n in counts.items() if outcome in ("killed", "survived"))
    print(f"\n{killed} of {valid} killed ({killed / max(valid, 1):.1%}); {len(results) - valid} could not be run\n")
    for result in results:
        if result["outcome"] == "survived":
            print(f"{result['mutant']}\n```diff\n{result['diff']}\n```")
    return killed >= 0.85 * valid


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=300, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="copies that are tested at once (default: %(default)s)")
    parser.add_argument(
        "--timeout_s", type=float, default=300.0, help="of the tests of a mutant (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the results, a line of JSON each")
    args = parser.parse_args()
    os.chdir(ROOT)
    mutants = all_mutants()
    chosen = random.Random(args.seed).sample(mutants, args.mutants)
    print(f"{len(mutants)} mutants, {len(chosen)} drawn", flush=True)
    lock = threading.Lock()
    with tempfile.TemporaryDirectory() as room:
        copies = [copy_of_the_repository(Path(room, str(n))) for n in range(args.jobs)]
        for tests in (OWN, ROOM):
            known = results_of(args.out)
            left = [one for one in chosen if is_left(known.get(name_of(one)), tests)]
            with meter(f"testing mutants, {tests}", len(left)) as done:
                threads = [
                    threading.Thread(
                        target=run_worker,
                        args=(copy, left[n :: args.jobs], tests, args.timeout_s, args.out, lock, done),
                    )
                    for n, copy in enumerate(copies)
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            known = results_of(args.out)
            print(f"after the tests of each {tests}:", flush=True)
            good = report([known[name_of(one)] for one in chosen])
    return 0 if good else 1


def results_of(path: Path) -> dict[str, dict[str, Any]]:
    """The last result of each mutant."""
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    return {result["mutant"]: result for result in map(json.loads, lines)}


def is_left(result: dict[str, Any] | None, tests: str) -> bool:
    """Whether a mutant with this result is still to be tested by these tests."""
    if result is None:
        return True
    return tests == ROOM and result["outcome"] == "survived" and result.get("tests") == OWN


if __name__ == "__main__":
    sys.exit(main())
