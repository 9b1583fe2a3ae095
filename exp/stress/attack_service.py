"""Attack a running service and check each response: its status, time limit, content, and the memory used.

    python -m exp.stress.attack_service --markdown exp/records/attacks.md

Indexes a small collection with a secret file beside it, starts `boiler serve` with keys and short limits, and runs one
attack after another. No attack may get a 5xx other than 503, exceed its time limit, reveal the secret, or bring the
memory of all processes of the service above 1 GB (sampled ten times a second). Afterwards the service must still answer.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import socket
import statistics
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path

import av
import numpy as np

from exp.common.loopback import indexed, running
from exp.common.process_monitor import pss_mb

READ, FEEDBACK = "attack-reader-0123456789", "attack-feeder-0123456789"
SECRET = b"root of all secrets"
BODY_S, DECODE_S = 3.0, 10.0
MAX_MB = 1_024
JSON = b"Content-Type: application/json\r\n"


class Target:
    """The attacked service: its port, its process, and its peak memory."""

    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self.pid = pid
        self.peak_mb = 0.0
        self._ended = threading.Event()
        self._watching = threading.Thread(target=self._watch)
        self._watching.start()

    def close(self) -> None:
        self._ended.set()
        self._watching.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            self.peak_mb = max(self.peak_mb, pss_mb(self.pid))

    def raw(self, wire: bytes, within_s: float = 60.0) -> tuple[int, bytes]:
        """Send raw bytes; return the status and all bytes received. Status 0: closed without a response."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=within_s) as one:
            with contextlib.suppress(ConnectionError):
                one.sendall(wire)
            return receive(one)

    def request(
        self, method: str, path: str, body: bytes = b"", head: bytes = b"", key: str | None = READ, within_s: float = 60.0
    ) -> tuple[int, bytes]:
        lines = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n".encode()
        lines += f"X-API-Key: {key}\r\n".encode() if key else b""
        return self.raw(lines + head + b"\r\n" + body, within_s)

    def upload(self, content: bytes, path: str = "/embed") -> tuple[int, bytes]:
        return self.request("POST", path, *form(content))


def receive(one: socket.socket) -> tuple[int, bytes]:
    """Read until the connection is closed; return the status and all bytes received."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while block := one.recv(2**16):
            received += block
    match = re.match(rb"HTTP/1\.1 (\d+)", received)
    return int(match[1]) if match else 0, received


def form(content: bytes, name: str = "x") -> tuple[bytes, bytes]:
    """A multipart body and its Content-Type header."""
    part = f'--edge\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    return part + content + b"\r\n--edge--\r\n", b"Content-Type: multipart/form-data; boundary=edge\r\n"


# ------------------------------------------------------------------------------------------------- hostile files


BUILT_S = [0.0]  # time spent on building hostile files, not counted as response time


def timed(make: Callable[..., bytes]) -> Callable[..., bytes]:
    """Add the time that a call takes to `BUILT_S`."""

    def made(*arguments: object) -> bytes:
        start = time.monotonic()
        content = make(*arguments)
        BUILT_S[0] += time.monotonic() - start
        return content

    return made


@timed
def silence(format_: str, codec: str, hours: float, rate: int = 48_000) -> bytes:
    """An encoded file of hours of silence, which is small when compressed."""
    file = io.BytesIO()
    with av.open(file, "w", format=format_) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        size, at = 2**15, 0
        for _ in range(round(hours * 3600 * rate / size)):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, size), np.int16), "s16", "mono")
            frame.sample_rate, frame.pts, at = rate, at, at + size
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def repeated_mp3(megabytes: int) -> bytes:
    """Repeated seconds of silence as MP3, as many as fit."""
    second = silence("mp3", "libmp3lame", 10 / 3600)
    return second * (megabytes * 2**20 // len(second))


@timed
def zip_bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("x.wav", bytes(200 * 2**20))
    return file.getvalue()


def wav_with_false_header() -> bytes:
    """A WAV of 100 bytes whose header states 4 GB, 1,000 channels and 2e9 samples per second."""
    head = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\x00\x00\x00\x01\x00"
    return head + b"\xe8\x03" + b"\x00\x94\x35\x77" * 2 + b"\xd0\x07\x10\x00data\xff\xff\xff\xff" + bytes(60)


def playlist() -> bytes:
    return b"ffconcat version 1.0\nfile /etc/passwd\nfile http://127.0.0.1:1/x\n"


# ------------------------------------------------------------------------------------------------- the attacks

Attack = tuple[str, Collection[int], float, Callable[[Target], tuple[int, bytes]]]


def attacks() -> list[Attack]:
    """All attacks: name, allowed statuses, time limit in seconds, and the function that runs it."""
    refused, short = {400, 404, 422}, 10.0
    found: list[Attack] = []

    def add(name: str, right: Collection[int], within_s: float, attack: Callable[[Target], tuple[int, bytes]]) -> None:
        found.append((name, right, within_s, attack))

    for text in ("../../secret", "..%2f..%2fsecret", "%2e%2e%2f%2e%2e%2fsecret", "..%252f..%252fsecret", "%00", "1%00", "-1",
                 "99999999999999999999", "1e3", "0x1", "١", "....//....//secret", "%5c..%5c..%5csecret", "file:%2f%2f%2fetc%2fpasswd"):  # fmt: skip
        for template in ("/items/{}", "/items/{}/audio", "/items/{}/waveform", "/items/{}/spectrogram.png", "/items/{}/nearest", "/items/{}/places"):
            path = template.format(text).encode().decode("latin-1")
            add(f"traversal: GET {path.encode('latin-1').decode()}", refused, short, lambda t, path=path: t.request("GET", quoted(path)))
        add(f"traversal: DELETE /feedback/{text}", refused, short, lambda t, text=text: t.request("DELETE", quoted(f"/feedback/{text}"), key=FEEDBACK))
        for path in ("/explain?n={}&answer=1", "/explain?n=1&answer={}", "/path?from_n={}&to_n=1", "/path?from_n=1&to_n={}"):
            add(f"traversal: GET {path.format(text)}", refused, short, lambda t, p=path.format(text): t.request("GET", quoted(p)))
    add("traversal: n as text in JSON", {422}, short, lambda t: t.request("POST", "/nearest/query", b'{"seeds": [{"n": "../../secret"}]}', JSON))
    add("traversal: /docs/../../secret", refused | {401}, short, lambda t: t.request("GET", "/docs/../../secret", key=None))
    add("traversal: /static/..%2f..%2fsecret", refused | {401}, short, lambda t: t.request("GET", "/docs/files/..%2f..%2f..%2fsecret", key=None))
    add("the name of an upload is a path", {422}, 30.0, lambda t: t.request("POST", "/embed", *form(b"x", "../../secret")))

    add("zip bomb (200 MB in 200 kB) as a sound", {413, 415, 422}, 30.0, lambda t: t.upload(zip_bomb()))
    add("FLAC of 10 hours of silence", {413}, 30.0, lambda t: t.upload(silence("flac", "flac", 10, 8_000)))
    add("Opus of half an hour of silence", {413}, 40.0, lambda t: t.upload(silence("ogg", "libopus", 0.5)))
    add("MP3 of silence, as large as an upload may be", {413}, 40.0, lambda t: t.upload(repeated_mp3(7)))
    add("WAV that states 4 GB, 1,000 channels, 2 GHz", {413, 422}, 30.0, lambda t: t.upload(wav_with_false_header()))
    add("a playlist of addresses as a sound", {422}, 30.0, lambda t: t.upload(playlist()))
    add("noise as a sound", {422}, 30.0, lambda t: t.upload(np.random.default_rng(0).bytes(100_000)))
    add("gzip as the body's encoding", {415}, short, lambda t: t.request("POST", "/nearest", zip_bomb()[:1000], JSON + b"Content-Encoding: gzip\r\n"))
    add("an upload over the limit, declared", {413}, short, lambda t: t.raw(b"POST /embed HTTP/1.1\r\nHost: x\r\nX-API-Key: %b\r\nContent-Type: multipart/form-data; boundary=e\r\nContent-Length: 99999999999\r\n\r\n" % READ.encode()))
    add("an upload over the limit, in chunks", {413, 0}, 30.0, endless_chunks)
    add("1,500 parts in a form", {400, 422}, short, lambda t: t.request("POST", "/embed", b"".join(b'--edge\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nx\r\n' % n for n in range(1_500)) + b"--edge--\r\n", b"Content-Type: multipart/form-data; boundary=edge\r\n"))
    add("a form without a boundary", {400, 415, 422}, short, lambda t: t.request("POST", "/embed", b"x", b"Content-Type: multipart/form-data\r\n"))

    add("a body of one byte a second", {408}, BODY_S + 5, lambda t: byte_by_byte(t, "/nearest", b"application/json"))
    add("an upload of one byte a second", {408}, BODY_S + 5, lambda t: byte_by_byte(t, "/embed", b"multipart/form-data; boundary=edge"))
    add("a head of one megabyte", {400, 431}, short, lambda t: t.raw(b"GET /items HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 2**20 + b"\r\n\r\n"))
    add("a head of 10,000 lines", {200, 400, 413, 431, 0}, short, lambda t: t.request("GET", "/items?limit=1", head=b"".join(b"X-%d: y\r\n" % n for n in range(5_000))))
    add("a head that never ends", {431}, 30.0, endless_head)
    add("a head of one byte a second", {408}, 20.0, slow_head)
    add("empty lines between requests", {0}, 20.0, empty_lines)
    add("20 clients that read nothing: disconnected", {200}, 80.0, clients_that_do_not_read)
    add("a URL of 60,000 characters", {400, 414, 422, 431, 0}, short, lambda t: t.request("GET", "/items?text=" + "x" * 60_000))

    for name, numbers in (("NaN", b"NaN"), ("Infinity", b"Infinity"), ("1e999", b"1e999"), ("a string", b'"1"'), ("true", b"true"), ("a lone surrogate", b'"\\ud800"')):
        add(f"a vector of {name}", {422}, short, lambda t, numbers=numbers: t.request("POST", "/nearest", b'{"embedding": [' + b",".join([numbers] * 80) + b"]}", JSON))
    add("a vector of 1e308", {200}, short, lambda t: t.request("POST", "/nearest", json.dumps({"embedding": [1e308] * 80}).encode(), JSON))
    add("a vector of 5e-324", {200, 422}, short, lambda t: t.request("POST", "/nearest", json.dumps({"embedding": [5e-324] * 80}).encode(), JSON))
    add("10,000 keys in JSON", {422}, short, lambda t: t.request("POST", "/nearest", json.dumps({f"k{n}": n for n in range(10_000)}).encode(), JSON))
    add("JSON 100,000 deep", {422}, short, lambda t: t.request("POST", "/nearest", b'{"embedding": ' + b"[" * 100_000, JSON))
    add("a filter 500 deep", {422}, short, lambda t: t.request("POST", "/nearest/query", b'{"seeds": [{"n": 1}], "where": ' + b'{"not": ' * 501 + b'{"label": "x"}' + b"}" * 502, JSON))
    for where in ({"label": "' OR 1=1 --"}, {"label": {"==": "x'; DROP TABLE items; --"}}, {"metadata.x') OR 1=1 --": 1}, {"id; DROP TABLE items": 1}, {"under": "%' OR '1'='1"}, {"glob": ["id", "*'); --"]}):
        body = json.dumps({"seeds": [{"n": 1}], "where": where}).encode()
        add(f"SQL in a filter: {json.dumps(where)}", {200, 422}, short, lambda t, body=body: t.request("POST", "/nearest/query", body, JSON))
    add("SQL in a group", {422}, short, lambda t: t.request("POST", "/nearest/query", b'{"seeds": [{"n": 1}], "per_group": {"field": "n); DROP TABLE items; --"}}', JSON))
    add("SQL in the text of a list", {200}, short, lambda t: t.request("GET", "/items?text=%27%20OR%201%3D1%20--&label=%27%3B--"))
    add("k of 10^400", {422}, short, lambda t: t.request("POST", "/nearest?k=1" + "0" * 400, b'{"embedding": [1]}', JSON))
    add("no key", {401}, short, lambda t: t.request("GET", "/items", key=None))
    add("a wrong key", {401}, short, lambda t: t.request("GET", "/items", key="attack-reader-0123456788"))
    add("a key of 8 kB", {401}, short, lambda t: t.request("GET", "/items", key="x" * 8_000))
    add("a key without the scope", {403}, short, lambda t: t.request("GET", "/feedback", key=FEEDBACK))
    add("endless trailers", {401, 431}, 30.0, endless_trailers)
    add("an upgrade to a web socket", {200}, short, lambda t: t.raw(b"GET /livez HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n"))
    add("no Host header", {400}, short, lambda t: t.raw(b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n"))
    add("two Host headers", {400}, short, lambda t: t.raw(b"GET /livez HTTP/1.1\r\nHost: x\r\nHost: y\r\nConnection: close\r\n\r\n"))
    add("a vector of another encoder", {409}, short, lambda t: t.request("POST", "/nearest", json.dumps({"embedding": [1.0] * 80, "encoder": "0" * 64}).encode(), JSON))
    add("1 MB of seeds that are wrong", {422}, short, lambda t: t.request("POST", "/nearest/query", json.dumps({"seeds": [{"n": "x"}] * 60_000}).encode(), JSON))
    add("two lengths (request smuggling)", {400, 0}, short, lambda t: t.raw(b"POST /nearest HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /items HTTP/1.1\r\n\r\n"))
    add("spectrograms of the largest size, of all items", {200}, 60.0, spectrograms)
    return found


def quoted(path: str) -> str:
    return "".join(char if " " < char < "\x7f" else "".join(f"%{byte:02x}" for byte in char.encode()) for char in path)


def endless_chunks(target: Target) -> tuple[int, bytes]:
    wire = b"POST /embed HTTP/1.1\r\nHost: x\r\nX-API-Key: %b\r\nContent-Type: multipart/form-data; boundary=edge\r\nTransfer-Encoding: chunked\r\n\r\n"
    begin = form(b"")[0].split(b"\r\n--edge--")[0]
    with socket.create_connection(("127.0.0.1", target.port), timeout=60) as one:
        with contextlib.suppress(ConnectionError):
            one.sendall(wire % READ.encode() + b"%x\r\n%b\r\n" % (len(begin), begin))
            for _ in range(64):
                one.sendall(b"100000\r\n" + bytes(2**20) + b"\r\n")
        return receive(one)


def endless_trailers(target: Target) -> tuple[int, bytes]:
    with socket.create_connection(("127.0.0.1", target.port), timeout=60) as one:
        with contextlib.suppress(ConnectionError):
            one.sendall(b"POST /none HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
            for _ in range(200):
                one.sendall(b"a:\r\n" * 2**18)
        return receive(one)


def endless_head(target: Target) -> tuple[int, bytes]:
    with socket.create_connection(("127.0.0.1", target.port), timeout=60) as one:
        with contextlib.suppress(ConnectionError):
            one.sendall(b"GET /items HTTP/1.1\r\nHost: x\r\nX-Long: ")
            for _ in range(200):
                one.sendall(b"x" * 2**20)
        return receive(one)


def slow_head(target: Target) -> tuple[int, bytes]:
    with socket.create_connection(("127.0.0.1", target.port), timeout=60) as one:
        one.settimeout(1.0)
        for byte in b"GET /items HTTP/1.1\r\nHost: a.host.with.a.long.name":
            with contextlib.suppress(TimeoutError):
                received = one.recv(2**16)
                return int(received[9:12] or 0), received
            one.sendall(bytes([byte]))
    return -1, b""


def empty_lines(target: Target) -> tuple[int, bytes]:
    with socket.create_connection(("127.0.0.1", target.port), timeout=60) as one:
        one.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        one.recv(2**16)
        one.sendall(b"\r\n")
        return receive(one)


def clients_that_do_not_read(target: Target) -> tuple[int, bytes]:
    with contextlib.ExitStack() as held:
        for _ in range(20):
            one = held.enter_context(socket.create_connection(("127.0.0.1", target.port), timeout=60))
            one.sendall(40 * b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n")
        peak = 0.0
        for _ in range(80):
            time.sleep(1.0)
            status, page = target.request("GET", "/metrics")
            found = re.search(rb"in_progress ([\d.]+)\n", page)
            peak = max(peak, now := float(found[1]) if found else 0.0)
            if peak > 10 and now <= 1:
                return status, page
    return -1, b""


def byte_by_byte(target: Target, path: str, kind: bytes) -> tuple[int, bytes]:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {READ}\r\nContent-Length: 1000\r\nContent-Type: ".encode()
    with socket.create_connection(("127.0.0.1", target.port), timeout=60) as one:
        one.sendall(head + kind + b"\r\n\r\n")
        one.settimeout(1.0)
        received = b""
        content = form(b"")[0] if path == "/embed" else b'{"embedding": ['
        for at in range(60):
            with contextlib.suppress(TimeoutError):
                received = one.recv(2**16)
                break
            with contextlib.suppress(ConnectionError):
                one.sendall(content[at : at + 1] or b" ")
    match = re.match(rb"HTTP/1\.1 (\d+)", received)
    return int(match[1]) if match else 0, received


def spectrograms(target: Target) -> tuple[int, bytes]:
    worst, last = 200, b""
    for n in range(1, 17):
        status, last = target.request("GET", f"/items/{n}/spectrogram.png?width=4000&height=1024")
        worst = max(worst, status)
    return worst, last


def timing(target: Target) -> str:
    """Compare the response times of a key that is wrong in its last character and one wrong in its first."""
    times: dict[str, list[float]] = {READ[:-1] + "8": [], "x" + READ[1:]: []}
    for _ in range(300):
        for key, spent in times.items():
            start = time.perf_counter()
            target.request("GET", "/items", key=key)
            spent.append(time.perf_counter() - start)
    near, far = (statistics.median(spent) * 1e6 for spent in times.values())
    return f"median of 300 wrong keys: wrong in the last character {near:.0f} µs, in the first {far:.0f} µs"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="run only attacks whose name contains this text")
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="boiler-attack-") as name:
        folder = Path(name)
        (folder / "secret").write_bytes(SECRET)
        model_dir = indexed(folder, per_kind=1)
        environment = {
            "BOILER_API_KEYS": f"read:{READ},feedback:{FEEDBACK}", "BOILER_MAX_BODY_S": str(BODY_S), "BOILER_MAX_UPLOAD_BYTES": str(8 * 2**20),
            "BOILER_DECODE_TIMEOUT_S": str(DECODE_S), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        with running(["boiler.cli.serve", str(model_dir)], environment, folder / "log") as service:
            target = Target(service.port, service.pid)
            try:
                return run(target, args, folder)
            finally:
                target.close()


def run(target: Target, args: argparse.Namespace, folder: Path) -> int:
    lines, wrong = ["| attack | allowed status | status | s |", "| --- | --- | --- | --- |"], 0
    for name, right, within_s, attack in attacks():
        if args.only and args.only not in name:
            continue
        start, BUILT_S[0] = time.monotonic(), 0.0
        try:
            status, received = attack(target)
        except TimeoutError:
            status, received = -1, b""
        spent = time.monotonic() - start - BUILT_S[0]
        bad = status not in right or spent > within_s or SECRET in received or b"root:x:0" in received
        wrong += bad
        allowed = ", ".join(str(one or "closed") for one in sorted(right, key=lambda one: one or 999))
        lines.append(f"| {name[:90].replace('|', '/')} | {allowed} | {status or 'closed'}{' **wrong**' if bad else ''} | {spent:.1f} |")
        print(lines[-1], flush=True)
        if bad:
            print(received[:500])
    status, _ = target.request("GET", "/readyz")
    log = (folder / "log").read_text()
    faults = len(re.findall(r'"status":5(?!03)', log))
    after = [
        timing(target),
        f"peak memory of all processes of the service: {target.peak_mb:.0f} MB; afterwards /readyz returns {status}; its log has"
        f" {faults} responses with a 5xx other than 503 and {log.count('Traceback')} tracebacks",
    ]
    print("\n".join(after))
    wrong += status != 200 or faults > 0 or target.peak_mb > MAX_MB or "Traceback" in log
    if "Traceback" in log:
        print(log[log.index("Traceback") - 200 :][:3_000])
    if args.markdown:
        args.markdown.write_text("\n".join([*lines, "", *after]) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
