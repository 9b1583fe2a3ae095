"""Soak test of the service: mixed light load for half an hour, with a new index every minute.

    python -m exp.stress.soak_service --minutes 30 --json exp/records/soak.json
    python -m exp.stress.soak_service --minutes 30 --hostile

Indexes a synthetic collection, starts `boiler serve` with two workers and keys, and sends a few requests per second in
random order: searches by vector, item, filter and upload (also as server-sent events), audio, waveforms, spectrograms,
feedback, metrics, hostile bodies and files, and requests aborted halfway. Meanwhile files are added and removed and
`boiler index` runs. Each answer by vector is compared with brute force over the generation that its header names; an
upload of a sound of the collection must find itself.

The test fails on a wrong answer, a 5xx other than 503, a valid request that is refused, or if memory (of all processes,
shared pages counted once) is more than 5 % larger at the end than after the warm-up, which is the first sixth.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import http.client
import itertools
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from boiler.store import generation
from exp.common.loopback import indexed, running
from exp.common.process_monitor import handles, pss_mb
from exp.stress import hostile_client

KEYS = {
    "read": "soak-reader-0123456789",
    "feedback": "soak-feeder-0123456789",
    "admin": "soak-admin-0123456789",
    "hostile": "soak-hostile-0123456789",
    "other": "soak-other-0123456789",
}
SCOPES = {"hostile": "read", "other": "read"}  # of the other keys, their names
HOSTILE_S = 20.0  # of each kind of hostile load
JSON = {"Content-Type": "application/json"}
LEAK_CHECK_MINUTES = 10.0  # a shorter run cannot show a leak


class Fault(Exception):
    """A wrong response of the service."""


class Load:
    """The client: one keep-alive connection, counts of requests and responses, and the faults found."""

    def __init__(self, port: int, model_dir: Path, sounds: list[Path], root: Path) -> None:
        self.port = port
        self.model_dir = model_dir
        self.sounds = sounds
        self.root = root
        self.random = random.Random(0)
        self.counts: collections.Counter[str] = collections.Counter()
        self.faults: list[str] = []
        self._connection = self._connect()
        self._truth: dict[str, tuple[np.ndarray, np.ndarray, dict[int, str]]] = {}

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        key: str = "read",
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        head = {"X-API-Key": KEYS[key]} | (headers or {})
        for attempt in (0, 1):
            try:
                self._connection.request(method, path, body, head)
                response = self._connection.getresponse()
                content = response.read()
                break
            except (ConnectionError, http.client.HTTPException):
                self._connection.close()  # the server may close a connection after refusing a request: retry once
                self._connection = self._connect()
                if attempt:
                    raise
        if response.status >= 500 and response.status != 503:
            raise Fault(f"{method} {path}: {response.status} {content[:300]!r}")
        self.counts[f"{method} {re.sub('[0-9]+', 'N', path.split('?')[0])} {response.status}"] += 1
        return response.status, response.headers, content

    def expect_success(self, *args: Any, **kwargs: Any) -> tuple[http.client.HTTPMessage, Any]:
        """Send a request that must succeed; retry on 503. Returns the headers and the decoded body."""
        for _ in range(50):
            status, headers, content = self.request(*args, **kwargs)
            if status != 503:
                break
            time.sleep(0.2)
        if status not in (200, 201, 204, 206, 304):
            raise Fault(f"{args[:2]}: {status} {content[:300]!r}")
        kind = headers.get("content-type", "")
        return headers, json.loads(content) if kind.startswith("application/json") else content

    def truth(self, generation: str) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
        """The vectors of a generation, the item number of each row, and the id of each item."""
        if generation not in self._truth:
            folder = self.model_dir / "versions" / generation
            rows = np.load(folder / "rows.npy")
            import sqlite3

            with contextlib.closing(sqlite3.connect(f"file:{folder / 'meta.sqlite'}?mode=ro", uri=True)) as meta:
                ids = dict(meta.execute("SELECT n, id FROM items").fetchall())
            while len(self._truth) > 4:
                self._truth.pop(next(iter(self._truth)))
            self._truth[generation] = np.load(folder / "vectors.npy"), rows["n"].copy(), ids
        return self._truth[generation]

    # ------------------------------------------------------------------------------------------- kinds of requests

    def by_vector(self) -> None:
        vectors, _, _ = next(reversed(self._truth.values())) if self._truth else self.truth(self.generation())
        query = vectors[self.random.randrange(len(vectors))] + np.float32(0.05) * np.random.default_rng(
            self.random.randrange(2**31)
        ).normal(size=vectors.shape[1])
        k = self.random.choice([1, 5, 12, 200])
        headers, rows = self.expect_success(
            "POST", f"/nearest?k={k}", json.dumps({"embedding": query.tolist()}).encode(), JSON
        )
        try:
            vectors, numbers, ids = self.truth(headers["x-boiler-generation"])
        except FileNotFoundError:
            self.counts["generation already deleted"] += 1
            return
        near = vectors @ (query / np.linalg.norm(query))
        best = {int(n): -2.0 for n in np.unique(numbers)}
        for n, cosine in zip(numbers.tolist(), near.tolist(), strict=True):
            best[n] = max(best[n], cosine)
        wanted = sorted(best.values(), reverse=True)[:k]
        got = [row["similarity"] for row in rows]
        if len(got) != len(wanted) or not np.allclose(got, wanted, atol=5e-6):
            raise Fault(f"k={k} in {headers['x-boiler-generation']}: {got[:5]} and not {wanted[:5]}")
        for row in rows:
            if ids[row["n"]] != row["id"] or abs(best[row["n"]] - row["similarity"]) > 5e-6:
                raise Fault(f"{row} does not match the generation")

    def generation(self) -> str:
        return str(self.expect_success("GET", "/health")[1]["generation"])

    def by_item(self) -> None:
        page = self.expect_success("GET", "/items?limit=500")[1]["items"]
        item = self.random.choice(page)
        status, _, content = self.request("GET", f"/items/{item['n']}/nearest?k=5")
        if status == 404:
            return  # the item was removed by the last update
        rows = json.loads(content)
        if status != 200 or len(rows) != 5 or item["n"] in [row["n"] for row in rows]:
            raise Fault(f"nearest to {item['n']}: {status} {rows}")

    def by_filter(self) -> None:
        where = {"or": [{"under": "bell"}, {"duration_s": {"<": 1.0}}]}
        body = {"seeds": [{"n": 1}, {"n": 2, "weight": 0.5}], "k": 4, "where": where, "diversity": 0.3}
        _, answer = self.expect_success("POST", "/nearest/query", json.dumps(body).encode(), JSON)
        if len(answer["results"]) < 4 and not answer["reason"]:
            raise Fault(f"fewer results than requested, without a reason: {answer}")

    def upload(self) -> None:
        sound = self.random.choice(self.sounds)
        accept = self.random.choice(["application/json", "text/event-stream"])
        body, headers = form(sound.read_bytes())
        _, answer = self.expect_success("POST", "/nearest/audio?k=2", body, headers | {"Accept": accept})
        if isinstance(answer, bytes):
            answer = json.loads(answer.decode().rsplit("event: result\ndata: ", 1)[1])
        if answer[0]["distance"] > 0.01:
            raise Fault(f"{sound.name} does not find itself: {answer}")

    def media(self) -> None:
        n = self.random.randrange(1, 17)
        for path in (
            "audio",
            "waveform?points=200",
            "spectrogram.png?width=200&height=64",
            "audio?start_s=0.1&end_s=0.3",
        ):
            self.expect_success("GET", f"/items/{n}/{path}")
        _, part = self.expect_success("GET", f"/items/{n}/audio", None, {"Range": "bytes=10-109"})
        if len(part) != 100:
            raise Fault(f"a range of 100 bytes has {len(part)}")

    def paths_map_and_duplicates(self) -> None:
        self.expect_success("GET", "/path?from_n=1&to_n=5&steps=3")
        self.expect_success("GET", "/map")
        self.expect_success("GET", "/duplicates")
        self.expect_success("GET", "/explain?n=1&answer=2")

    def feedback(self) -> None:
        body = json.dumps({"question": {"n": 3}, "answer": 4, "like": True, "who": "soak"}).encode()
        _, made = self.expect_success("POST", "/feedback", body, JSON, key="feedback")
        self.expect_success("DELETE", f"/feedback/{made['id']}?user=soak", key="feedback")

    def metrics(self) -> None:
        _, page = self.expect_success("GET", "/metrics")
        if b"boiler_requests_total" not in page:
            raise Fault("the metrics lack boiler_requests_total")

    def hostile(self) -> None:
        sound = self.random.choice(self.sounds).read_bytes()
        cut = sound[: self.random.randrange(1, 60)]
        mixed = bytearray(sound)
        for _ in range(50):
            mixed[self.random.randrange(4, 44)] = self.random.randrange(256)
        bodies: list[tuple[str, bytes, dict[str, str]]] = [
            ("/nearest", b'{"embedding": [NaN, Infinity, 1e999]}', JSON),
            ("/nearest", b'{"embedding": ' + b"[" * 100_000, JSON),
            ("/nearest", self.random.randbytes(500), JSON),
            (
                "/nearest/query",
                b'{"seeds": [{"n": 1}], "where": {"label": "\' OR 1=1 --"}, "per_group": {"field": "x;"}}',
                JSON,
            ),
            ("/nearest/audio", *form(cut)),
            ("/nearest/audio", *form(bytes(mixed))),
            ("/embed", *form(self.random.randbytes(20_000))),
            ("/embed?encoding=base64", *form(b"")),
        ]
        path, body, headers = self.random.choice(bodies)
        self.request("POST", path, body, headers)  # may be a valid sound: only a fault would be wrong
        if (
            self.request("GET", "/items/..%2f..%2fetc%2fpasswd")[0] < 400
            or self.request("GET", "/items", None, {"X-API-Key": "x"})[0] != 401
        ):
            raise Fault("a request that must be refused was accepted")

    def abort_upload(self) -> None:
        body, headers = form(self.random.choice(self.sounds).read_bytes())
        lines = [
            f"POST /nearest/audio?k=2 HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEYS['read']}\r\nContent-Length: {len(body)}"
        ]
        wire = (
            "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items())]).encode()
            + b"\r\n\r\n"
            + body
        )
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as one:
            one.sendall(wire[: self.random.choice([20, 300, len(wire) // 2, len(wire)])])
        self.counts["aborted"] += 1


def form(content: bytes) -> tuple[bytes, dict[str, str]]:
    head = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="../../x"\r\n\r\n'
    return head + content + b"\r\n--edge--\r\n", {"Content-Type": "multipart/form-data; boundary=edge"}


def reindex_repeatedly(sounds: Path, model_dir: Path, every_s: float, ended: threading.Event, faults: list[str]) -> int:
    """Add or remove a file and update the index, until `ended` is set; return the number of updates."""
    first = sorted(sounds.rglob("*.wav"))[0].read_bytes()
    made = 0
    while not ended.wait(every_s):
        new = sounds / "soak" / f"{made % 3}.wav"
        new.parent.mkdir(exist_ok=True)
        if new.exists():
            new.unlink()
        else:
            new.write_bytes(first[:-2000] + os.urandom(2000))
        command = [
            sys.executable,
            "-m",
            "boiler.index",
            "--wav_dir",
            str(sounds),
            "--model_dir",
            str(model_dir),
            "MFCCStats",
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            faults.append(f"boiler index: {done.stderr[-500:]}")
        made += 1
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=5.0, help="target requests per second")
    parser.add_argument("--reindex_s", type=float, default=60.0, help="seconds between index updates")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--hostile", action="store_true", help="beside a client that sends as much as it can")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="boiler-soak-") as name:
        folder = Path(name)
        model_dir = indexed(folder, per_kind=20 if args.hostile else 2)
        sounds = sorted((folder / "sounds").rglob("*.wav"))
        environment = {
            "BOILER_API_KEYS": ",".join(f"{SCOPES.get(name, name)}:{key}" for name, key in KEYS.items()),
            "OMP_NUM_THREADS": "1",
        }
        command = ["boiler.cli.serve", str(model_dir), "--workers", str(args.workers)]
        try:
            with running(command, environment, folder / "log") as service:
                return soak(args, service.pid, Load(service.port, model_dir, sounds, folder), folder)
        finally:
            log = (folder / "log").read_text()
            if "Traceback" in log:
                print("a traceback in the log:\n" + log[log.index("Traceback") :][:2_000])


def soak(args: argparse.Namespace, pid: int, load: Load, folder: Path) -> int:
    kinds: list[tuple[Callable[[], None], int]] = [
        (load.by_vector, 40), (load.by_item, 8), (load.by_filter, 8), (load.upload, 8), (load.media, 5),
        (load.paths_map_and_duplicates, 2), (load.feedback, 2), (load.metrics, 2), (load.hostile, 12), (load.abort_upload, 6),
    ]  # fmt: skip
    weighted = [kind for kind, weight in kinds for _ in range(weight)]
    for kind, _ in kinds:  # warm up: load what is loaded lazily in every worker
        for _ in range(2 * args.workers):
            attempt(load, kind)
    ended, made = threading.Event(), [0]
    hostile = Hostile(load.port, load.model_dir, load.sounds[0]) if args.hostile else None
    indexer = threading.Thread(
        target=lambda: made.__setitem__(
            0, reindex_repeatedly(folder / "sounds", load.model_dir, args.reindex_s, ended, load.faults)
        )
    )
    indexer.start()
    start = time.monotonic()
    memory: list[tuple[float, float, int]] = []
    for turn in itertools.count():
        now = time.monotonic() - start
        if now > args.minutes * 60 or len(load.faults) > 20:
            break
        if not memory or now - memory[-1][0] >= min(10.0, args.minutes * 6):
            memory.append((now, pss_mb(pid), handles(pid)))
        attempt(load, load.random.choice(weighted))
        time.sleep(max(0.0, start + (turn + 1) / args.rate - time.monotonic()))
    ended.set()
    indexer.join()
    watched = hostile.end() if hostile else {}
    load.faults += watched.pop("faults", [])
    warm = [one for one in memory if one[0] >= args.minutes * 10]
    early, late = (
        statistics.median(mb for _, mb, _ in samples)
        for samples in (warm[: max(1, len(warm) // 5)], warm[-max(1, len(warm) // 5) :])
    )
    grown = late / early - 1
    report = {
        "minutes": round((time.monotonic() - start) / 60, 1), "requests": sum(load.counts.values()), "indexes": made[0],
        "memory_after_warm_up_mb": round(early, 1), "memory_at_end_mb": round(late, 1), "grown": round(grown, 4),
        "handles": [warm[0][2], warm[-1][2]], "faults": load.faults, "answers": dict(sorted(load.counts.items())),
    }  # fmt: skip
    report |= watched
    print(json.dumps(report, indent=1))
    if args.json:
        args.json.write_text(json.dumps(report | {"memory_mb": [round(mb, 1) for _, mb, _ in memory]}, indent=1) + "\n")
    leaks = args.minutes >= LEAK_CHECK_MINUTES and grown > 0.05
    return 1 if load.faults or leaks else 0


class Hostile:
    """A hostile client of each kind in turn, and what another client gets meanwhile: it sends a search by vector and a
    probe ten times a second, with a key of its own."""

    def __init__(self, port: int, model_dir: Path, sound: Path) -> None:
        self._port, self._sound = port, sound
        self._dim = generation.open(model_dir).header.dim
        self._ended = threading.Event()
        self._watch = hostile_client.Watch(port, self._dim, KEYS["other"])
        self._threads = [threading.Thread(target=self._attack), threading.Thread(target=self._ask)]
        for thread in self._threads:
            thread.start()

    def _attack(self) -> None:
        for name in itertools.cycle(hostile_client.kinds(self._dim, b"")):
            with hostile_client.attacking(self._port, name, self._dim, self._sound, KEYS["hostile"]):
                if self._ended.wait(HOSTILE_S):
                    return

    def _ask(self) -> None:
        while not self._ended.wait(0.1):
            try:
                self._watch.once()
            except (OSError, http.client.HTTPException) as error:
                self._watch.faults.append(f"the other client: {error!r}")

    def end(self) -> dict[str, Any]:
        """Stop. What the other client got, in ms."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        shares = {"p50": 0.5, "p99": 0.99, "most": 1.0}
        times = {"nearest_ms": self._watch.nearest_ms, "livez_ms": self._watch.livez_ms}
        return {
            "other_client": {
                "requests": sum(map(len, times.values())),
                **{
                    what: {name: round(hostile_client.percentile(ms, share), 1) for name, share in shares.items()}
                    for what, ms in times.items()
                },
            },
            "load_average": os.getloadavg(),
            "faults": self._watch.faults,
        }


def attempt(load: Load, kind: Callable[[], None]) -> None:
    try:
        kind()
    except (Fault, OSError, http.client.HTTPException, ValueError, KeyError, IndexError) as error:
        load.faults.append(f"{kind.__name__}: {type(error).__name__}: {error}")
        print(load.faults[-1], file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
