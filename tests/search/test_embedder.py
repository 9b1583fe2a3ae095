"""A sound is cut and embedded for a query exactly as it was for the index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from boiler.audio import stream
from boiler.catalog.items import Item
from boiler.errors import ModelDirError, SilentSoundError
from boiler.model import checkpoint
from boiler.search.embedder import Embedder, TimeSpan
from boiler.store import generation
from boiler.store.generation import Generation, Header, rows_of

DIM = 8


class Bands(nn.Module):
    """The level of eight frequency bands."""

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return torch.fft.rfft(waveform[:, 0]).abs()[:, : 8 * 8000].reshape(len(waveform), 8, -1).sum(dim=2) + 1e-9


class Broken(nn.Module):
    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return waveform[:, 0, :4]


def opened(folder: Path, module: nn.Module | None, **header: object) -> Generation:
    encoder_pt = None
    if module is not None:
        encoder_pt = folder / "made.pt"
        checkpoint.save_script(module, encoder_pt, {"encoder": "Bands", "dim": DIM})
    return generation.publish(
        folder / "model",
        Header(encoder="Bands", dim=DIM, **header),  # type: ignore[arg-type]
        np.eye(DIM, dtype=np.float32)[:2],
        rows_of([0, 1]),
        [Item(0, "a.wav"), Item(1, "b.wav")],
        encoder_pt=encoder_pt,
    )


def noise(seconds: float, seed: int = 0) -> stream.Samples:
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * 16_000)).astype(np.float32)


def test_windows_are_cut_as_in_the_index_without_silent_ones(tmp_path: Path) -> None:
    index = opened(tmp_path, Bands(), hop_s=8.192)
    sound = np.concatenate([noise(8.192), np.zeros(2**17, np.float32), noise(8.192, 1)])
    embedded = Embedder().embed(index, [sound], "long", from_s=100.0)
    assert [one.window for one in embedded] == [
        TimeSpan(100.0, pytest.approx(108.192)),
        TimeSpan(pytest.approx(116.384), pytest.approx(124.576)),
    ]
    for one, samples in zip(embedded, (sound[: 2**17], sound[-(2**17) :]), strict=True):
        alone = Embedder().embed(index, [samples], "alone")[0].vector
        np.testing.assert_allclose(one.vector, alone, atol=1e-6)
        assert one.vector.dtype == np.float32
        assert np.linalg.norm(one.vector) == pytest.approx(1, abs=1e-6)


def test_with_an_index_of_first_windows_only_the_first_is_embedded(tmp_path: Path) -> None:
    index = opened(tmp_path, Bands(), windows="first")
    read = []

    def blocks():  # type: ignore[no-untyped-def]
        for second in range(100):
            read.append(second)
            yield noise(1, second)

    assert len(Embedder().embed(index, blocks(), "long")) == 1
    assert len(read) < 30  # and nothing after it is decoded


def test_more_windows_than_a_batch_keep_their_order(tmp_path: Path) -> None:
    index = opened(tmp_path, Bands(), hop_s=0.5)
    embedded = Embedder().embed(index, [noise(20)], "long")
    assert len(embedded) > 16
    starts = [one.window.start_s for one in embedded]
    assert starts == sorted(starts)
    assert starts[0] == 0


def test_silence_has_no_vector(tmp_path: Path) -> None:
    with pytest.raises(SilentSoundError, match="quiet"):
        Embedder().embed(opened(tmp_path, Bands()), [np.zeros(50_000, np.float32)], "quiet")


def test_only_the_encoder_of_the_index_is_loaded(tmp_path: Path) -> None:
    index = opened(tmp_path, Bands())
    stranger = tmp_path / "stranger.pt"
    checkpoint.save_script(Broken(), stranger, {"encoder": "Broken", "dim": 4})
    (index.path / "encoder.pt").unlink()
    with pytest.raises(ModelDirError, match="not the encoder this index was made with"):
        Embedder().embed(index, [noise(1)], "sound")
    (index.path / "encoder.pt").write_bytes(stranger.read_bytes())
    with pytest.raises(ModelDirError, match="not the encoder this index was made with"):
        Embedder().embed(index, [noise(1)], "sound")


def test_an_encoder_of_another_dimension_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelDirError, match="does not return 8 numbers"):
        Embedder().embed(opened(tmp_path, Broken()), [noise(1)], "sound")


def test_an_index_without_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelDirError, match="without an encoder"):
        Embedder().embed(opened(tmp_path, None), [noise(1)], "sound")
