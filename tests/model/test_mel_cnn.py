"""The convolutional network over log-mel spectrograms."""

from __future__ import annotations

from pathlib import Path

import torch

from boiler.model import checkpoint
from boiler.model.mel_cnn import DIM, N_FRAMES, WINDOW_SAMPLES, MelCNN, log_mel


def network() -> MelCNN:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MelCNN().eval()


def noise(n: int = 2) -> torch.Tensor:
    return torch.randn(n, 1, WINDOW_SAMPLES, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_spectrograms_computed_before_give_the_same_vectors() -> None:
    model, waveform = network(), noise()
    mel = log_mel(model, waveform[:, 0])
    assert (mel.dtype, mel.shape) == (torch.float16, (2, 80, N_FRAMES))
    torch.testing.assert_close(model.of_mel(mel), model(waveform), atol=1e-3, rtol=0)


@torch.no_grad()
def test_the_level_does_not_change_the_vector_and_silence_is_finite() -> None:
    model, waveform = network(), noise()
    torch.testing.assert_close(model(0.01 * waveform), model(waveform), atol=1e-4, rtol=0)
    assert torch.isfinite(model(torch.zeros(1, 1, WINDOW_SAMPLES))).all()


@torch.no_grad()
def test_it_is_scripted_as_an_encoder(tmp_path: Path) -> None:
    model, waveform = network(), noise()
    checkpoint.save_script(model, tmp_path / "cnn.pt", {"a": 1})
    loaded, header = checkpoint.load_script(tmp_path / "cnn.pt")
    assert header == {"a": 1}
    assert loaded(waveform).shape == (2, DIM)
    torch.testing.assert_close(loaded(waveform), model(waveform))
