"""`MediaPool` gives the same images and transcoded files as this process; an error affects one request only."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sounds import tone, write

from boiler.audio import spectrogram, transcode
from boiler.audio.media_pool import MediaPool
from boiler.errors import NotASoundError, SoundLimitError


@pytest.fixture(scope="module")
def pool() -> Iterator[MediaPool]:
    with MediaPool(workers=1, timeout_s=60.0) as pool:
        yield pool


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return write(tmp_path / "tone.wav", tone(440, 3.0, 44_100), 44_100)


def test_results_are_the_same_as_in_this_process(pool: MediaPool, sound: Path) -> None:
    made, here = pool.peaks(sound, 50, 0.5, 2.0), spectrogram.peaks(sound, 50, start_s=0.5, end_s=2.0)
    np.testing.assert_array_equal(made.low, here.low)
    np.testing.assert_array_equal(made.high, here.high)
    assert (made.start_s, made.end_s) == (here.start_s, here.end_s)
    assert pool.spectrogram_png(sound, 60, 40) == spectrogram.spectrogram_png(sound, 60, 40)
    assert pool.media_type(sound) == transcode.media_type(sound) == "audio/wav"
    copied = pool.flac_copy(sound, 1.0, 2.0)
    assert copied == transcode.flac_copy(sound, 1.0, 2.0)
    assert transcode.media_type(copied) == "audio/flac"


def test_errors_keep_their_type(pool: MediaPool, tmp_path: Path) -> None:
    (tmp_path / "no.wav").write_bytes(b"no sound")
    for make in (
        pool.media_type,
        pool.flac_copy,
        lambda path: pool.peaks(path, 5),
        lambda path: pool.spectrogram_png(path, 50, 50),
    ):
        with pytest.raises(NotASoundError):
            make(tmp_path / "no.wav")


def test_a_worker_that_died_is_replaced(pool: MediaPool, sound: Path) -> None:
    before = pool.peaks(sound, 5)
    (pid,) = pool.pids
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(Exception):
        pool.peaks(sound, 5)  # it may be the one that is lost
    np.testing.assert_array_equal(pool.peaks(sound, 5).low, before.low)
    assert pool.pids != [pid]


def test_a_request_that_takes_too_long_is_cancelled(sound: Path) -> None:
    with MediaPool(workers=1, timeout_s=0.001) as hurried, pytest.raises(SoundLimitError):
        hurried.spectrogram_png(sound, 4_000, 1_024)
