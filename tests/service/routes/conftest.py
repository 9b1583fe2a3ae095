"""A small index of real sounds, with a copy of one sound and a recording that contains another."""

from __future__ import annotations

import shutil
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient
from tags import tag_model

from boiler.audio.synthesis import write_collection
from boiler.indexing import pipeline
from boiler.indexing.pipeline import IndexSettings, index
from boiler.service.app import BoilerApp
from boiler.service.settings import Settings
from boiler.store import generation


@pytest.fixture(scope="package")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`copy.wav` is a copy of the first sound; `long.wav` has the second at 7 s, in noise."""
    folder = tmp_path_factory.mktemp("routes")
    write_collection(folder / "sounds", per_kind=1)
    sounds = sorted((folder / "sounds").rglob("*.wav"))
    shutil.copy(sounds[0], folder / "sounds" / "copy.wav")
    with wave.open(str(sounds[1])) as read:
        rate = read.getframerate()
        short = np.frombuffer(read.readframes(read.getnframes()), "<i2")
        assert (read.getnchannels(), read.getsampwidth()) == (1, 2)
    long = 300 * np.random.default_rng(0).normal(size=20 * rate)
    long[7 * rate : 7 * rate + len(short)] += short
    with wave.open(str(folder / "sounds" / "long.wav"), "wb") as written:
        written.setparams((1, 2, rate, 0, "NONE", ""))
        written.writeframes(long.clip(-32_768, 32_767).astype("<i2").tobytes())
    index(IndexSettings(wav_dir=folder / "sounds", encoder="MFCCStats", model_dir=folder / "model", device="cpu"))
    return folder / "model"


@pytest.fixture(scope="package")
def client(model_dir: Path) -> Iterator[TestClient]:
    settings = Settings(model_dir=model_dir, log="none")
    with TestClient(BoilerApp(settings), raise_server_exceptions=False) as client:
        yield client


TAGS = ("dog", "cat", "rain", "wind")


@pytest.fixture(scope="package")
def tagged(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of the package, copied and tagged."""
    folder = tmp_path_factory.mktemp("tagged")
    shutil.copytree(model_dir, folder / "model", symlinks=True)
    header = generation.open(folder / "model").header
    tag_model(header.dim, TAGS, header.encoder_sha256).save(folder / "tags.safetensors")
    pipeline.tag(folder / "model", folder / "tags.safetensors")
    return folder / "model"


@pytest.fixture(scope="package")
def number(client: TestClient) -> Callable[[str], int]:
    """Finds the number of the first item whose id contains a text."""
    return lambda text: int(client.get("/items", params={"text": text}).json()["items"][0]["n"])
