"""For the tests of the browser: a small collection made up on the spot, and a real index of it."""

from __future__ import annotations

import atexit
import contextlib
import functools
import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

import boiler
from boiler.audio import synthesis
from boiler.indexing.pipeline import IndexSettings, index

APP = Path(boiler.__file__).parent / "app.py"
SCRIPT = APP.parent / "browser" / "main.py"
KINDS = ("bell", "kick", "rain", "vowel")
PER_KIND = 5
LONG = "long/three.wav"


@functools.cache
def collection() -> tuple[Path, Path]:
    """A folder of sounds and a model directory of it: some short ones of a few kinds, one of half a minute, one that is
    silent, and one that is no sound at all. Made once per run of the tests; nothing may be written into them."""
    root = Path(tempfile.mkdtemp(prefix="boiler-tests-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    folder, model_dir = root / "sounds", root / "exp" / "sounds" / "MFCCStats"
    chance = np.random.default_rng(5)
    for kind in KINDS:
        for n in range(PER_KIND):
            write(folder / kind / f"{kind}-{n}.wav", synthesis.make(kind, chance))
    pieces = [np.resize(synthesis.make(kind, chance), 12 * synthesis.RATE_HZ) for kind in ("bell", "rain", "vowel")]
    write(folder / LONG, np.concatenate(pieces))
    write(folder / "quiet" / "nothing.wav", np.zeros(3 * synthesis.RATE_HZ, np.float32))
    (folder / "broken").mkdir()
    (folder / "broken" / "text.wav").write_text("no sound at all")
    index(IndexSettings(wav_dir=folder, encoder="MFCCStats", model_dir=model_dir))
    return folder, model_dir


def write(path: Path, samples: np.ndarray) -> None:
    """A WAV file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    synthesis.write_wav(path, np.asarray(samples, np.float32))


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


def recording(seconds: int) -> bytes:
    """As browsers record it: WebM written as it comes, which nowhere says how long it is. The same second of noise
    again and again."""
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
def served(words: list[str]) -> Iterator[str]:
    """`streamlit run boiler/app.py -- WORDS` on a free port, until the block ends; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(APP), "--server.port", str(port)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BOILER_")}
    process = subprocess.Popen(
        [*command, "--server.headless", "true", "--", *words],
        env=clean,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_up(address, process)
        yield address
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=60)
        print(said.decode())  # pytest shows it where a test failed


def wait_until_up(address: str, process: subprocess.Popen[bytes], within_s: float = 60.0) -> None:
    """Until it answers for its health."""
    end = time.monotonic() + within_s
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5) as answer:  # noqa: S310  # http, and ours
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"the browser did not come up at {address}")
