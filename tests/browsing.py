"""For the tests of the browser: a small collection made up on the spot, and a real index of it."""

from __future__ import annotations

import atexit
import functools
import io
import shutil
import tempfile
import wave
from pathlib import Path

import numpy as np

from boiler import synthesis
from boiler.indexer import IndexSettings, index

SCRIPT = Path(synthesis.__file__).parent / "pages" / "script.py"
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
