"""A file that ends before its end is recognized by what its container states."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sounds import FORMATS, write

from boiler.audio.truncation import is_cut, stated_s

CONTAINERS = {"wma": "asf", "avi": "avi", "caf": "caf"}


def made(folder: Path, form: str) -> bytes:
    sound = np.random.default_rng(0).uniform(-0.1, 0.1, 48_000 * 5)
    channels = FORMATS[form].channels[0]
    path = write(folder / f"sound{FORMATS[form].suffix}", np.stack([sound] * channels), 48_000, form)
    return path.read_bytes()


@pytest.mark.parametrize("form", CONTAINERS)
def test_the_header_states_the_duration_of_the_whole(form: str, tmp_path: Path) -> None:
    data = made(tmp_path, form)
    for part in (data, data[: len(data) // 2]):
        file = io.BytesIO(part)
        file.seek(3)
        assert stated_s(file, CONTAINERS[form]) == pytest.approx(5.0, abs=0.1)
        assert file.tell() == 3
    assert stated_s(io.BytesIO(data), "mp3") is None


@pytest.mark.parametrize("form", ["ogg-vorbis", "ogg-opus"])
def test_an_ogg_file_is_cut_without_its_last_page(form: str, tmp_path: Path) -> None:
    data = made(tmp_path, form)
    assert not is_cut(io.BytesIO(data), "ogg")
    assert not is_cut(io.BytesIO(data + b"TAG" + bytes(125)), "ogg")
    for n_bytes in (len(data) - 1, len(data) // 2, data.rfind(b"OggS")):
        assert is_cut(io.BytesIO(data[:n_bytes]), "ogg")
    assert not is_cut(io.BytesIO(data[:100]), "mp3")


@given(st.binary(max_size=300), st.sampled_from(["asf", "avi", "caf", "ogg"]))
def test_any_bytes_give_an_answer(data: bytes, container: str) -> None:
    heads = (
        b"",
        b"caff\0\1\0\0desc",
        bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"),
        b"strh\0\0\0\0auds",
        b"OggS\0",
    )
    for head in heads:
        found = stated_s(io.BytesIO(head + data), container)
        assert found is None or found > 0
        is_cut(io.BytesIO(head + data), container)
