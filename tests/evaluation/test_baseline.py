"""The baseline equals the encoder MFCCStats fitted to the same sounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sounds import write

from boiler.audio import stream
from boiler.audio.windows import DEFAULT_WINDOWS, WindowSpec, cut_windows
from boiler.encoder.mfcc_stats import MFCCStats
from boiler.errors import SilentSoundError
from boiler.evaluation import baseline


def test_a_single_pass_gives_the_vectors_of_the_encoder(labelled_folder: Path, tmp_path: Path) -> None:
    long = tmp_path / "long.wav"
    write(long, np.random.default_rng(0).standard_normal(20 * 8000) * 0.1, 8000)
    paths = [*sorted(labelled_folder.rglob("*.wav")), long]
    done: list[int] = []
    vectors, counts = baseline.embed_sounds(paths, DEFAULT_WINDOWS, advance=done.append)
    assert counts.tolist()[:-1] == [1] * (len(paths) - 1)
    assert counts[-1] > 1
    assert sum(done) == len(paths)
    windows = [one.samples for path in paths for one in cut_windows(stream.stream(path))]
    waveforms = torch.from_numpy(np.stack(windows))[:, None]
    encoder = MFCCStats()
    encoder.fit([waveforms])
    np.testing.assert_allclose(vectors, encoder.eval()(waveforms).numpy(), atol=2e-4)


def test_only_first_windows_are_used_if_the_index_has_only_those(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.wav" for n in range(3)]
    for n, path in enumerate(paths):
        write(path, np.random.default_rng(n).standard_normal(12 * 8000) * 0.1, 8000)
    _, counts = baseline.embed_sounds(paths, WindowSpec(which="first"))
    assert counts.tolist() == [1, 1, 1]


def test_a_silent_sound_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path / "nothing.wav", np.zeros(8000), 8000)
    with pytest.raises(SilentSoundError, match=r"nothing\.wav"):
        baseline.embed_sounds([tmp_path / "nothing.wav"], DEFAULT_WINDOWS)
