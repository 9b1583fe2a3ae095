"""Effect of one hostile client on another client: its p50 and p99 under each kind of load.

    python -m exp.stress.hostile_client --seconds 10 --markdown exp/records/hostile_client.md

It indexes 31,000 random vectors, starts `boiler serve` with one worker, and runs a hostile client in its own
process, which sends one kind of request as fast as it can over many connections. Meanwhile another client, with another
key, alternates `POST /nearest` and `GET /livez` every 20 ms. Its requests must not fail; on an idle machine its p99 must
be below 50 ms for `POST /nearest` and 100 ms for `/livez`.

`soak_service --hostile` runs each kind of hostile client in turn during its mixed load.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from boiler.audio.synthesis import write_collection
from boiler.store import generation
from exp.common.loopback import running

N_ROWS, DIM = 31_000, 80
HOSTILE_KEY, OTHER_KEY = "hostile-reader-0123456789", "other-reader-0123456789"
NEAREST_MS, LIVEZ_MS = 50.0, 100.0


class Kind(NamedTuple):
    """A kind of load: so many connections, each of which sends this request again and again."""

    connections: int
    method: str
    path: str
    body: bytes = b""
    head: str = "Content-Type: application/json"


def kinds(dim: int, sound: bytes) -> dict[str, Kind]:
    """The kinds, by name. `sound`: a sound file to upload."""
    vector = [round(0.01 * n + 0.1, 4) for n in range(dim)]

    def query(**more: object) -> bytes:
        return json.dumps({"seeds": [{"embedding": vector}], "k": 1000, **more}).encode()

    seeds = [{"embedding": [1.0] * (dim + 1), "weight": 1}] * 100
    faults = json.dumps({"seeds": seeds, "without": list(range(100_000))}).encode()[: 2**20].ljust(2**20)
    numbers = json.dumps({"embedding": [0.12345678] * 65_000}).encode()
    where = {"or": [{"glob": ["id", f"*{n}?x*"]} for n in range(240)]}
    where_any = {"or": [{"label": f"nothing {n}"} for n in range(240)]}
    part = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    form, multipart = part + sound + b"\r\n--edge--\r\n", "Content-Type: multipart/form-data; boundary=edge"
    return {
        "nothing": Kind(0, "GET", "/livez"),
        "diversity, k=1000": Kind(40, "POST", "/nearest/query", query(diversity=0.5)),
        "near-duplicates, k=1000": Kind(40, "POST", "/nearest/query", query(dedup_distance=0.5)),
        "CSLS, k=1000": Kind(40, "POST", "/nearest/query", query(csls=True)),
        "groups of one, all rows": Kind(40, "POST", "/nearest/query", query(per_group={"field": "label"})),
        "filters of 240 conditions": Kind(40, "POST", "/nearest/query", query(where=where_any)),
        "wrong filters": Kind(40, "POST", "/nearest/query", query(where=where)),
        "batches of 32 x k=1000": Kind(
            40, "POST", "/nearest/batch", json.dumps({"queries": [{"embedding": vector}] * 32, "k": 1000}).encode()
        ),
        "1 MB of seeds, 422": Kind(40, "POST", "/nearest/query", faults),
        "1 MB of numbers, 422": Kind(40, "POST", "/nearest", numbers),
        "by vector, k=1000": Kind(40, "POST", "/nearest?k=1000", json.dumps({"embedding": vector}).encode()),
        "by vector, k=100": Kind(40, "POST", "/nearest?k=100", json.dumps({"embedding": vector}).encode()),
        "by item, k=1000": Kind(40, "GET", "/items/1/nearest?k=1000"),
        "pages of 1,000 items": Kind(40, "GET", "/items?limit=1000"),
        "items by text": Kind(40, "GET", "/items?limit=1000&text=9"),
        "maps": Kind(40, "GET", "/map"),
        "duplicates": Kind(40, "GET", "/duplicates?max_distance=0.9&limit=1000"),
        "uploads": Kind(40, "POST", "/nearest/audio?k=1000", form, multipart),
        "wrong keys": Kind(40, "GET", "/items", head="Connection: keep-alive\r\nX-API-Key: wrong-0123456789abcdef"),
    }


async def send_forever(port: int, kind: Kind, key: str) -> None:
    """One connection: the request, its response, the request again; opened again when it is closed."""
    keyed = "" if "X-API-Key" in kind.head else f"X-API-Key: {key}\r\n"
    head = f"{kind.method} {kind.path} HTTP/1.1\r\nHost: x\r\n{keyed}{kind.head}\r\nContent-Length: {len(kind.body)}\r\n\r\n"
    wire = head.encode() + kind.body
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
            try:
                while True:
                    writer.write(wire)
                    await writer.drain()
                    answer = (await reader.readuntil(b"\r\n\r\n")).lower()
                    length = int(answer.split(b"content-length: ")[1].split(b"\r\n")[0])
                    await reader.readexactly(length)
                    if b" 503 " in answer[:20]:
                        await asyncio.sleep(0.05)
            finally:
                writer.close()


async def attack(port: int, kind: Kind, key: str) -> None:
    await asyncio.gather(*[send_forever(port, kind, key) for _ in range(kind.connections)])


@contextmanager
def attacking(port: int, name: str, dim: int, sound: Path, key: str) -> Iterator[None]:
    """A process that sends requests of the kind."""
    words = ["--attack", name, "--port", port, "--dim", dim, "--sound", sound]
    process = subprocess.Popen(
        [sys.executable, "-m", "exp.stress.hostile_client", *map(str, words)], env={**os.environ, "HOSTILE_KEY": key}
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


class Watch:
    """The other client: its connection, and how long its requests took, in ms."""

    def __init__(self, port: int, dim: int, key: str) -> None:
        self.nearest_ms: list[float] = []
        self.livez_ms: list[float] = []
        self.faults: list[str] = []
        self._key = key
        self._body = json.dumps({"embedding": [1.0] * dim}).encode()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def _ask(self, method: str, path: str, body: bytes | None, spent_ms: list[float]) -> None:
        begun = time.perf_counter()
        self._connection.request(method, path, body, {"X-API-Key": self._key, "Content-Type": "application/json"})
        response = self._connection.getresponse()
        response.read()
        spent_ms.append(1e3 * (time.perf_counter() - begun))
        if response.status != 200:
            self.faults.append(f"{method} {path}: {response.status}")

    def once(self) -> None:
        """A search and a probe."""
        self._ask("POST", "/nearest?k=12", self._body, self.nearest_ms)
        self._ask("GET", "/livez", None, self.livez_ms)

    def until(self, is_over: Callable[[], bool]) -> None:
        """Send them every 20 ms."""
        while not is_over():
            self.once()
            time.sleep(0.02)


def percentile(values: list[float], share: float) -> float:
    return float(np.quantile(values, share)) if values else float("nan")


def made_index(folder: Path) -> Path:
    """A model directory of random vectors, without an encoder."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(N_ROWS, DIM)).astype(np.float32)
    items = [
        generation.Item(n, f"kind{n % 97}/s{n:05}.wav", label=f"kind{n % 97}", duration_s=5.0) for n in range(N_ROWS)
    ]
    rows = generation.rows_of(np.arange(N_ROWS), end_s=5.0)
    generation.publish(folder / "model", generation.Header(encoder="random", dim=DIM), vectors, rows, items)
    return folder / "model"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each kind")
    parser.add_argument("--only", default="", help="kinds whose name contains this")
    parser.add_argument("--model_dir", type=Path, help="an index instead of the random one")
    parser.add_argument("--markdown", type=Path, help="write the table there, too")
    for name, type_ in (("attack", str), ("port", int), ("dim", int), ("sound", Path)):
        parser.add_argument(f"--{name}", type=type_, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.attack is not None:
        kind = kinds(args.dim, args.sound.read_bytes())[args.attack]
        asyncio.run(attack(args.port, kind, os.environ["HOSTILE_KEY"]))
    with tempfile.TemporaryDirectory(prefix="boiler-hostile-") as name:
        folder = Path(name)
        write_collection(folder / "sounds", per_kind=1)
        sound = next((folder / "sounds").rglob("*.wav"))
        model_dir = args.model_dir or made_index(folder)
        dim = generation.open(model_dir).header.dim
        environment = {"BOILER_API_KEYS": f"read:{HOSTILE_KEY},read:{OTHER_KEY}", "OMP_NUM_THREADS": "1"}
        lines = [
            "| one client sends | requests of another | `POST /nearest` p50, p99, most (ms) | `/livez` p50, p99, most (ms) |",
            "| --- | --- | --- | --- |",
        ]
        print("\n".join(lines), flush=True)
        wrong = 0
        with running(["boiler.cli.serve", str(model_dir)], environment, folder / "log") as service:
            for name in kinds(dim, b""):
                if args.only not in name:
                    continue
                watch = Watch(service.port, dim, OTHER_KEY)
                watch.once()
                with attacking(service.port, name, dim, sound, HOSTILE_KEY):
                    time.sleep(1.5)  # until its process has started
                    watch = Watch(service.port, dim, OTHER_KEY)
                    until = time.monotonic() + args.seconds
                    watch.until(lambda until=until: time.monotonic() > until)  # type: ignore[misc]
                cells = [
                    ", ".join(f"{percentile(some, share):.1f}" for share in (0.5, 0.99, 1))
                    for some in (watch.nearest_ms, watch.livez_ms)
                ]
                lines.append(f"| {name} | {2 * len(watch.nearest_ms)} | {cells[0]} | {cells[1]} |")
                print(lines[-1], *sorted(set(watch.faults)), flush=True)
                late = percentile(watch.nearest_ms, 0.99) > NEAREST_MS or percentile(watch.livez_ms, 0.99) > LIVEZ_MS
                wrong += late or bool(watch.faults)
        lines += [
            "",
            f"Load of the machine at the end (1, 5, 15 minutes): {' '.join(f'{one:.1f}' for one in os.getloadavg())}",
        ]
        print(lines[-1])
        if args.markdown:
            args.markdown.write_text("\n".join(lines) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
