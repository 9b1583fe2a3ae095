"""Spectrograms of a folder: windows of each sound, without silent ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sounds import tone, write

from boiler.crossmodal.mel_windows import WINDOWS, WINDOWS_A_SOUND, mel_windows
from boiler.errors import CorpusError
from boiler.model.mel_cnn import MelCNN, log_mel


def test_windows_are_those_of_their_sounds(tmp_path: Path) -> None:
    rate = WINDOWS.sample_rate_hz
    write(tmp_path / "long.wav", tone(300.0, 30.0, rate), rate)
    write(tmp_path / "quiet.wav", np.zeros(rate), rate)
    one = tone(2_000.0, WINDOWS.window_s, rate)
    write(tmp_path / "one.wav", one, rate)
    (tmp_path / "text.wav").write_text("no sound")
    found = mel_windows(tmp_path, ["long.wav", "quiet.wav", "one.wav", "text.wav"], tmp_path / "mels")
    assert found.sounds.tolist() == [0] * WINDOWS_A_SOUND + [2]
    assert [failure.id for failure in found.failures] == ["quiet.wav", "text.wav"]
    expected = log_mel(MelCNN(), torch.from_numpy(one.astype(np.float32))[None])[0].numpy()
    assert np.abs(found.mels[-1] - expected).mean() < 0.01  # written with 16 bits
    assert np.abs(found.mels[0] - expected).mean() > 0.05
    with pytest.raises(CorpusError, match="has no sound that can be learned from, of 1"):
        mel_windows(tmp_path, ["text.wav"], tmp_path / "none")
