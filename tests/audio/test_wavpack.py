"""The undamaged blocks of a WavPack file are found."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sounds import write

from boiler.audio.wavpack import block_runs


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    sound = np.random.default_rng(0).uniform(-0.1, 0.1, 44_100 * 5)
    data = write(tmp_path_factory.mktemp("wv") / "sound.wv", sound, 44_100, "wv").read_bytes()
    return data[: data.index(b"APETAGEX")]  # tags, which are no blocks


def test_a_whole_file_is_one_stretch(whole: bytes) -> None:
    file = io.BytesIO(whole)
    file.seek(5)
    assert block_runs(file) == [(0, len(whole))]
    assert file.tell() == 5


@pytest.mark.parametrize("hole", [b"", bytes(50_000), b"wvpk" * 9_000])
def test_a_hole_lies_between_two_stretches(whole: bytes, hole: bytes) -> None:
    begin, end = len(whole) // 3, len(whole) * 2 // 3
    data = whole[:begin] + hole + whole[end:]
    first, *_, last = block_runs(io.BytesIO(data))
    assert first[0] == 0
    assert last[0] >= begin + len(hole)
    assert sum(last) == len(data)
    assert data[last[0] :][:4] == b"wvpk"
    assert data.endswith(whole[end:])


@given(st.binary(max_size=400))
def test_any_bytes_give_stretches_within_them(data: bytes) -> None:
    data = b"wvpk" + data + b"wvpk"
    at = 0
    for offset, n_bytes in block_runs(io.BytesIO(data)):
        assert at <= offset < offset + n_bytes <= len(data)
        at = offset + n_bytes


def test_a_truncated_file_has_its_last_block(whole: bytes, tmp_path: Path) -> None:
    data = whole[: len(whole) // 2]
    runs = block_runs(io.BytesIO(data))
    assert runs[0][0] == 0
    assert sum(runs[-1]) <= len(data)
