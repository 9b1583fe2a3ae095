"""Kill a Ray cluster that indexes: `python -m exp.stress.kill_ray --files 12000 --kills 5`.

Short synthetic sounds, some with the bytes of others and some that are no sounds, are indexed once without Ray, and
once on a cluster of two nodes of this machine. Meanwhile actors, the second node's raylet, and the command itself are
killed with SIGKILL, `--kills` of each in a random order, each at a random number of embedded files and a random time
after that. A killed node is replaced, a killed command started again. At the end the catalogs must be equal: each file
and window once, the same failures, and vectors to 1e-6. Prints a table in Markdown; exits with 1 if they differ.

So that kills and not the embedding take the time, windows have one second, and nothing is published, which Ray has no
part in.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import wave
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from boiler.catalog.catalog import CATALOG_FILE, Catalog
from boiler.encoder.mfcc_stats import MFCCStats
from boiler.indexing.blocks import BLOCK_FILES

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from ray_cluster import ENVIRONMENT, Cluster

ENCODER = "exp.stress.kill_ray:ShortMFCCStats"
PROGRAM = """
import sys
from boiler import index
from boiler.indexing import pipeline
pipeline._publish = lambda *_: (None, False)
sys.exit(index.main(sys.argv[1:]))
"""
RATE_HZ = 8_000
KINDS = ("actor", "raylet", "driver")
LAST_SHARE = 0.85  # of the files; the kills are before, as the last blocks are embedded at once
MAX_DELAY_S = 3.0
FAILED_OF_1000, COPIES_OF_1000 = 2, 10


class ShortMFCCStats(MFCCStats):
    """`MFCCStats` of windows of a second."""

    window_samples = 2**14


def write_sounds(folder: Path, n_files: int, chance: random.Random) -> None:
    """Chords of 0.2 to 0.6 s; every hundredth file has the bytes of another, every five hundredth is no sound."""
    folder.mkdir()
    for n in range(n_files):
        path, drawn = folder / f"{n % 40:02}" / f"{n:06}.wav", chance.randrange(1_000)
        path.parent.mkdir(exist_ok=True)
        if drawn < FAILED_OF_1000:
            path.write_bytes(b"no sound")
        elif drawn < COPIES_OF_1000 and n:
            earlier = chance.randrange(n)
            path.write_bytes((folder / f"{earlier % 40:02}" / f"{earlier:06}.wav").read_bytes())
        else:
            t = np.arange(int(RATE_HZ * chance.uniform(0.2, 0.6))) / RATE_HZ
            samples = sum(np.sin(2 * np.pi * chance.uniform(80, 3_000) * t) for _ in range(3))
            with wave.open(str(path), "wb") as file:
                file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
                file.writeframes((6_000 * samples).astype("<i2").tobytes())


class Command:
    """`boiler index` on the cluster, started again if it was killed."""

    def __init__(self, words: Sequence[str], log: Path) -> None:
        self._words, self._log = words, log
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            environment = {**ENVIRONMENT, "PYTHONPATH": str(Path.cwd())}
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *self._words], env=environment, stdout=log, stderr=log
            )

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None


def n_embedded(model_dir: Path) -> int:
    """Files that the catalog of the running command has taken in."""
    with contextlib.suppress(Exception), Catalog(model_dir / CATALOG_FILE, read_only=True) as catalog:
        return int(catalog.db.execute("SELECT COUNT(*) FROM heard").fetchone()[0])
    return 0  # not yet a catalog


def kill(kind: str, cluster: Cluster, command: Command, chance: random.Random) -> bool:
    """Kill one process of this kind now. Returns whether there was one."""
    if kind == "driver":
        command.process.kill()
        command.process.wait()
        command.start()
        return True
    if kind == "raylet":
        pids = cluster.pids("raylet/raylet", -1)
    else:
        pids = [pid for node in range(cluster.n_nodes) for pid in cluster.pids(r"^ray::MapWorker", node)]
    if not pids:
        return False
    os.kill(chance.choice(pids), signal.SIGKILL)
    if kind == "raylet":
        cluster.replace_last_node()
    return True


def contents(model_dir: Path) -> tuple[list[tuple[object, ...]], list[object], list[tuple[object, ...]], np.ndarray]:
    """Files, failures, windows without vectors, and vectors."""
    with Catalog(model_dir / CATALOG_FILE, read_only=True) as catalog:
        files = catalog.db.execute("SELECT n, id, sha256 FROM files ORDER BY n").fetchall()
        rows = list(catalog.rows())
        vectors = np.frombuffer(b"".join(row[3] for row in rows), "<f4").reshape(len(rows), -1)
        return files, list(catalog.failures()), [row[:3] for row in rows], vectors


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=12_000)
    parser.add_argument("--kills", type=int, default=5, help="of each kind (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=30.0, help="at most (default: %(default)s)")
    args = parser.parse_args()
    chance = random.Random(args.seed)
    order = [kind for kind in KINDS for _ in range(args.kills)]
    chance.shuffle(order)
    moments = sorted(chance.uniform(0, LAST_SHARE * args.files) for _ in order)
    until = time.monotonic() + 60 * args.minutes
    done: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="kr") as top:  # a short path, for the names of Ray's sockets
        work = Path(top)
        write_sounds(work / "sounds", args.files, chance)
        words = (str(work / "sounds"), ENCODER, "--device", "cpu", "--workers", "1", "--model_dir")
        began = time.monotonic()
        Command((*words, str(work / "local")), work / "local-log").process.wait()
        print(f"without Ray: {time.monotonic() - began:.0f} s", file=sys.stderr)
        cluster = Cluster(work / "ray")
        began = time.monotonic()
        try:
            cluster.add_node()
            command = Command((*words, str(work / "ray-model"), "--on", f"ray://{cluster.address}"), work / "log")
            for kind, moment in zip(order, moments, strict=True):
                while command.is_running and n_embedded(work / "ray-model") < moment and time.monotonic() < until:
                    time.sleep(0.2)
                time.sleep(chance.uniform(0, MAX_DELAY_S))
                while command.is_running and time.monotonic() < until:
                    at = n_embedded(work / "ray-model")
                    if kill(kind, cluster, command, chance):
                        done[kind] += 1
                        print(f"{time.monotonic() - began:5.0f} s: {kind} killed at {at:,}", file=sys.stderr)
                        break
                    time.sleep(0.2)
            while command.is_running and time.monotonic() < until:
                time.sleep(0.5)
            command.process.kill()
            code = command.process.wait()
        finally:
            cluster.close()
        wall_s = time.monotonic() - began
        if code != 1:  # because of the files that are no sounds
            print((work / "log").read_text()[-3_000:], file=sys.stderr)
            return 1
        files, failures, rows, vectors = contents(work / "local")
        found_files, found_failures, found_rows, found_vectors = contents(work / "ray-model")
        lost, doubled = len(set(rows) - set(found_rows)), len(found_rows) - len(set(found_rows))
        same = (files, failures, rows) == (found_files, found_failures, found_rows)
        largest = float(np.abs(vectors - found_vectors).max()) if vectors.shape == found_vectors.shape else np.inf
    print("| files | blocks | killed | failures | rows | lost | doubled | largest difference | wall s |")
    print("| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    killed = ", ".join(f"{done[kind]} {kind}s" for kind in KINDS)
    print(
        f"| {args.files:,} | {-(-args.files // BLOCK_FILES)} | {killed} | {len(found_failures)} | {len(found_rows):,} |"
        f" {lost} | {doubled} | {largest:.1e} | {wall_s:.0f} |"
    )
    complete = all(done[kind] == args.kills for kind in KINDS)
    return 0 if same and complete and not lost and not doubled and largest <= 1e-6 else 1


if __name__ == "__main__":
    sys.exit(main())
