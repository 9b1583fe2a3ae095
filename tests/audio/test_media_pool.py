"""Pictures and copies are made in processes that may die: the same as made here, and a crash is one picture's loss."""

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
from boiler.audio.media_pool import Studio
from boiler.errors import NotASoundError, SoundLimitError


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    with Studio(workers=1, timeout_s=60.0) as studio:
        yield studio


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return write(tmp_path / "tone.wav", tone(440, 3.0, 44_100), 44_100)


def test_what_is_made_elsewhere_is_what_is_made_here(studio: Studio, sound: Path) -> None:
    made, here = studio.peaks(sound, 50, 0.5, 2.0), spectrogram.peaks(sound, 50, start_s=0.5, end_s=2.0)
    np.testing.assert_array_equal(made.low, here.low)
    np.testing.assert_array_equal(made.high, here.high)
    assert (made.start_s, made.end_s) == (here.start_s, here.end_s)
    assert studio.picture(sound, 60, 40) == spectrogram.spectrogram_png(sound, 60, 40)
    assert studio.kind(sound) == transcode.media_type(sound) == "audio/wav"
    copied = studio.copy(sound, 1.0, 2.0)
    assert copied == transcode.copy(sound, 1.0, 2.0)
    assert transcode.media_type(copied) == "audio/flac"


def test_what_is_no_sound_is_refused_by_its_kind_of_error(studio: Studio, tmp_path: Path) -> None:
    (tmp_path / "no.wav").write_bytes(b"no sound")
    for make in (
        studio.kind,
        studio.copy,
        lambda path: studio.peaks(path, 5),
        lambda path: studio.picture(path, 50, 50),
    ):
        with pytest.raises(NotASoundError):
            make(tmp_path / "no.wav")


def test_a_process_that_died_is_replaced(studio: Studio, sound: Path) -> None:
    before = studio.peaks(sound, 5)
    (pid,) = studio.pids
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(Exception):
        studio.peaks(sound, 5)  # it may be the one that is lost
    np.testing.assert_array_equal(studio.peaks(sound, 5).low, before.low)
    assert studio.pids != [pid]


def test_what_takes_too_long_is_ended(sound: Path) -> None:
    with Studio(workers=1, timeout_s=0.001) as hurried, pytest.raises(SoundLimitError):
        hurried.picture(sound, 4_000, 1_024)
