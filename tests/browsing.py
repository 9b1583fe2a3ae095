"""Helpers for the tests of the browser: a small synthetic collection with a real index, the pages, and the server."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import wave
from collections.abc import Iterator
from concurrent.futures import Future
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image
from streamlit.testing.v1 import AppTest
from tags import tag_model

import boiler
from boiler.audio import synthesis
from boiler.browser.indexes import OpenIndex
from boiler.indexing.pipeline import IndexSettings, index, tag
from boiler.store import generation
from boiler.store.generation import Header, Item, rows_of

APP = Path(boiler.__file__).parent / "app.py"
SCRIPT = APP.parent / "browser" / "main.py"
RUN_S = 60
KINDS = ("bell", "kick", "rain", "vowel")
PER_KIND = 5
LONG = "long/three.wav"


@functools.cache
def collection() -> tuple[Path, Path]:
    """A folder of sounds and its model directory: short sounds of a few kinds, one of half a minute, a silent one, and
    a file that is no sound. Made once per test run; tests must not write into either."""
    root = Path(tempfile.mkdtemp(prefix="boiler-tests-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    folder, model_dir = root / "sounds", root / "exp" / "sounds" / "MFCCStats"
    chance = np.random.default_rng(5)
    for kind in KINDS:
        for n in range(PER_KIND):
            write(folder / kind / f"{kind}-{n}.wav", synthesis.synthesize(kind, chance))
    pieces = [
        np.resize(synthesis.synthesize(kind, chance), 12 * synthesis.RATE_HZ) for kind in ("bell", "rain", "vowel")
    ]
    write(folder / LONG, np.concatenate(pieces))
    write(folder / "quiet" / "nothing.wav", np.zeros(3 * synthesis.RATE_HZ, np.float32))
    (folder / "broken").mkdir()
    (folder / "broken" / "text.wav").write_text("no sound at all")
    index(IndexSettings(wav_dir=folder, encoder="MFCCStats", model_dir=model_dir))
    return folder, model_dir


TAGS = tuple(f"tag {n}" for n in range(14))


@functools.cache
def tagged_collection() -> Path:
    """A copy of that model directory with `TAGS`, of a model with random weights; not to be written to."""
    model_dir = Path(tempfile.mkdtemp(prefix="boiler-tests-")) / "model"
    atexit.register(shutil.rmtree, model_dir.parent, ignore_errors=True)
    shutil.copytree(collection()[1], model_dir, symlinks=True)
    header = generation.open(model_dir).header
    tag_model(header.dim, TAGS, header.encoder_sha256).save(model_dir.parent / "tags.safetensors")
    tag(model_dir, model_dir.parent / "tags.safetensors")
    return model_dir


def write(path: Path, samples: np.ndarray) -> None:
    """A WAV file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    synthesis.write_wav(path, np.asarray(samples, np.float32))


def publish_random(model_dir: Path, n_items: int) -> None:
    """Publish a generation of random vectors, without sounds and without a map."""
    vectors = np.random.default_rng(0).normal(size=(n_items, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    items = [Item(n, f"{n}.wav", duration_s=5.0) for n in range(n_items)]
    generation.publish(
        model_dir, Header(encoder="random", dim=8), vectors, rows_of(np.arange(n_items), end_s=5.0), items
    )


def new_page() -> AppTest:
    """The browser as the environment says."""
    return AppTest.from_file(str(SCRIPT), default_timeout=RUN_S)


def _single_page(module: str, model_dir: str) -> None:
    import importlib
    from pathlib import Path

    from boiler.browser import indexes

    importlib.import_module(f"boiler.browser.{module}").show_page(indexes.open_index(Path(model_dir)))


def page_of(module: str, model_dir: Path) -> AppTest:
    """One page of the browser, `map_page` say, over this index."""
    return AppTest.from_function(_single_page, default_timeout=RUN_S, args=(module, str(model_dir)))


def run_page(page: AppTest, **params: str) -> AppTest:
    """Run the page with these URL parameters, without an exception."""
    for name, text in params.items():
        page.query_params[name] = text
    page.run()
    assert not page.exception
    return page


def open_popover(page: AppTest, key: str) -> AppTest:
    """The page with that popover open: its fields are made only then."""
    page.session_state[key] = True
    return page


def components(page: AppTest) -> Iterator[dict[str, Any]]:
    """The data of each component on the page, except the one that takes dropped files."""
    for element in page.get("bidi_component"):
        data = json.loads(element.proto.json)
        if data.keys() != {"text"}:
            yield data


def item_number(index: OpenIndex, id: str) -> int:
    """The number of the item with this id."""
    return index.nearest.item(id).n


def sound_bytes(frequency_hz: float) -> bytes:
    """Half a second of a tone, as the bytes of a WAV file."""
    samples = 0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(8_000) / 16_000)
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((samples * 32_767).astype("<i2").tobytes())
    return stream.getvalue()


def picture_bytes(width: int = 60, height: int = 40, format: str = "PNG") -> bytes:
    """A picture of one colour, as the bytes of a file."""
    data = io.BytesIO()
    Image.new("RGB", (width, height), "orange").save(data, format)
    return data.getvalue()


def recording(seconds: int) -> bytes:
    """A WebM file as browsers record it, which does not state its duration: the same second of noise repeated."""
    stream = io.BytesIO()
    with av.open(stream, "w", format="webm", options={"live": "1"}) as container:
        track = container.add_stream("libopus", rate=48_000, layout="mono", bit_rate=24_000)
        noise = np.random.default_rng(0).integers(-3_000, 3_000, (1, 48_000), np.int16)
        frame = av.AudioFrame.from_ndarray(noise, format="s16", layout="mono")
        frame.sample_rate = 48_000
        sounds = [bytes(packet) for packet in track.encode(frame)]
        for n in range(seconds * 50):  # a packet is 20 ms
            packet = av.Packet(sounds[n % len(sounds)])
            packet.stream, packet.time_base = track, Fraction(1, 48_000)
            packet.pts = packet.dts = 960 * n
            container.mux(packet)
    return stream.getvalue()


@contextlib.contextmanager
def served(arguments: list[str], *flags: str, environment: dict[str, str] | None = None) -> Iterator[str]:
    """`streamlit run boiler/app.py FLAGS -- ARGUMENTS` on a free port, until the block ends; its URL. `environment`:
    more variables."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(APP), "--server.port", str(port)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BOILER_")}
    process = subprocess.Popen(
        [*command, "--server.headless", "true", *flags, "--", *arguments],
        env=clean | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    base_path = flags[flags.index("--server.baseUrlPath") + 1] if "--server.baseUrlPath" in flags else ""
    address = f"http://127.0.0.1:{port}/{base_path}".rstrip("/")
    try:
        wait_until_up(address, process)
        yield address
    finally:
        process.terminate()
        try:
            output, _ = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        print(output.decode())  # pytest shows it where a test failed


@contextlib.contextmanager
def proxied(address: str, prefix: str) -> Iterator[str]:
    """A reverse proxy that serves what is at `address` below `prefix`, which it strips, as `location /prefix/ {
    proxy_pass http://address/; }` of nginx; the URL of the prefix. Other paths are 404."""
    host, port = address.removeprefix("http://").split(":")

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            request, *fields = head.rstrip().split("\r\n")
            method, path, version = request.split(" ")
            if path.startswith(f"{prefix}/"):
                lines = [f"{method} {path.removeprefix(prefix)} {version}", *fields]
                if not any(line.lower().startswith("upgrade:") for line in fields):  # one request for a connection
                    lines = [line for line in lines if not line.lower().startswith("connection:")]
                    lines.append("Connection: close")
                up_reader, up_writer = await asyncio.open_connection(host, int(port))
                try:
                    up_writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
                    await asyncio.gather(_copy(reader, up_writer), _copy(up_reader, writer))
                finally:  # also when the proxy ends while connections are open
                    up_writer.close()
                    writer.close()
            else:
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                await writer.drain()
        writer.close()

    started: Future[str] = Future()
    stop = asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
            started.set_result(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{prefix}")
            await stop.wait()
            server.close()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:  # cancels open connections at the end
            runner.run(serve())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield started.result(timeout=10)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=30)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while block := await reader.read(2**16):
            writer.write(block)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()


def wait_until_up(address: str, process: subprocess.Popen[bytes], timeout_s: float = 60.0) -> None:
    """Wait until the server answers."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5) as response:  # noqa: S310  # our server
                if response.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"the browser did not start at {address}")
