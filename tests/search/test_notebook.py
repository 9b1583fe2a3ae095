"""Results in a notebook play what was found."""

from __future__ import annotations

import base64
import io
import re
import wave
from pathlib import Path

import numpy as np
import pytest
from sounds import tone, write

from boiler.indexing.pipeline import IndexSettings, index
from boiler.search.nearest import Nearest


@pytest.fixture
def nearest(tmp_path: Path) -> Nearest:
    for name, pitch_hz in (("a<b>.wav", 440.0), ("c.wav", 880.0), ("gone.wav", 1_000.0)):
        (tmp_path / "in").mkdir(exist_ok=True)
        write(tmp_path / "in" / name, tone(pitch_hz, 3.0, 16_000), 16_000)
    index(IndexSettings(tmp_path / "in", encoder="MFCCStats", model_dir=tmp_path / "m", device="cpu", workers=1))
    return Nearest(tmp_path / "m")


def test_each_result_has_a_player_of_the_window_that_was_found(nearest: Nearest, tmp_path: Path) -> None:
    (tmp_path / "in" / "gone.wav").unlink()
    result = nearest.query("a<b>.wav")
    page = nearest.players(result, max_s=1.0)._repr_html_()
    assert page.count("<tr>") == 1 + len(result.matches)
    assert "gone.wav" in page
    assert "run boiler index to update the index" in page
    (url,) = re.findall(r'src="data:audio/wav;base64,([^"]+)"', page)
    with wave.open(io.BytesIO(base64.b64decode(url))) as sound:
        assert (sound.getframerate(), sound.getnframes(), sound.getnchannels()) == (16_000, 16_000, 1)
        samples = np.frombuffer(sound.readframes(-1), "<i2")
    assert np.argmax(np.abs(np.fft.rfft(samples))) == 880  # c.wav, in hertz, of one second


def test_names_are_not_html(nearest: Nearest) -> None:
    page = nearest.players(nearest.query("c.wav"))._repr_html_()
    assert "a&lt;b&gt;.wav" in page
    assert "<b>" not in page
