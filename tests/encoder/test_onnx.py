"""ONNX models as encoders: input shapes, log-mel spectrograms, and the same vectors from an index."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx_files import write_product
from torchaudio.transforms import MelSpectrogram

from boiler import encoder
from boiler.encoder.onnx import ATTACHED, SETTINGS_ATTACHED
from boiler.encoder.runtime import EncoderRuntime
from boiler.errors import CheckpointError, SettingsError
from boiler.model import checkpoint

T, D = 800, 5
OPTIONS: dict[str, Any] = {"sample_rate_hz": "8000", "window_s": "0.1"}
WEIGHTS = np.random.default_rng(0).standard_normal((T, D)).astype(np.float32)


def windows(n: int = 3) -> torch.Tensor:
    return torch.randn(n, 1, T, generator=torch.Generator().manual_seed(0))


def expected(samples: torch.Tensor, weights: np.ndarray = WEIGHTS) -> torch.Tensor:
    return torch.nn.functional.normalize(samples @ torch.from_numpy(weights), dim=-1)


@pytest.mark.parametrize("shape", [["N", T], [1, T], [2, T], ["N", 1, T], [T]])
def test_the_waveform_has_the_shape_that_the_model_accepts(tmp_path: Path, shape: list[int | str]) -> None:
    path = write_product(tmp_path / "a.onnx", WEIGHTS, input_shape=shape)
    if shape == [2, T]:
        with pytest.raises(CheckpointError, match=r"does not take an array \[1, 800\]"):
            encoder.create("ONNXEncoder", path, **OPTIONS)
        return
    made = encoder.create("ONNXEncoder", path, **OPTIONS)
    assert (made.dim, made.sample_rate_hz, made.window_samples) == (D, 8_000, T)
    assert torch.allclose(made(windows()), expected(windows()[:, 0]), atol=1e-5)


def test_frames_are_averaged(tmp_path: Path) -> None:
    """A model that keeps the time axis: [N, F, D]."""
    weights = WEIGHTS[:40]
    path = write_product(tmp_path / "a.onnx", weights, input_shape=["N", "F", 40])
    mel = {"n_mels": "40", "n_fft": "200", "hop_samples": "100", "layout": "NFM", "log": "log10", "offset": "0.01"}
    made = encoder.create("ONNXEncoder", path, **OPTIONS, **mel)
    frames = (MelSpectrogram(8_000, n_fft=200, hop_length=100, n_mels=40)(windows()[:, 0]) + 0.01).log10()
    by_hand = (frames.transpose(1, 2) @ torch.from_numpy(weights)).mean(dim=1)
    assert torch.allclose(made(windows()), torch.nn.functional.normalize(by_hand, dim=1), atol=1e-5)


def test_a_file_with_rate_and_window_in_its_metadata_needs_no_options(tmp_path: Path) -> None:
    metadata = {"sample_rate_hz": "8000", "window_samples": str(T)}
    path = write_product(tmp_path / "a.onnx", WEIGHTS, metadata=metadata)
    spec = encoder.find_encoder("ONNXEncoder").window_spec(path)
    assert (spec.sample_rate_hz, spec.window_samples, spec.hop_s) == (8_000, T, 0.05)
    assert torch.allclose(encoder.create("ONNXEncoder", path)(windows()), expected(windows()[:, 0]), atol=1e-5)


def test_missing_and_invalid_options_are_named(tmp_path: Path) -> None:
    path = write_product(tmp_path / "a.onnx", WEIGHTS)
    (tmp_path / "text.onnx").write_text("no model")
    create = encoder.create
    with pytest.raises(SettingsError, match="--sample_rate_hz"):
        create("ONNXEncoder", path)
    with pytest.raises(SettingsError, match="--window_s"):
        create("ONNXEncoder", path, sample_rate_hz=8_000)
    with pytest.raises(SettingsError, match="numbers"):
        create("ONNXEncoder", path, sample_rate_hz="fast", window_s=1)
    with pytest.raises(SettingsError, match="give n_mels"):
        create("ONNXEncoder", path, **OPTIONS, n_fft=512)
    with pytest.raises(SettingsError, match="layout"):
        create("ONNXEncoder", path, **OPTIONS, n_mels=40, layout="MNF")
    with pytest.raises(SettingsError, match="has no option hop"):
        create("ONNXEncoder", path, **OPTIONS, hop=1)
    with pytest.raises(CheckpointError, match=r"text\.onnx: onnxruntime cannot load it"):
        create("ONNXEncoder", tmp_path / "text.onnx", **OPTIONS)
    with pytest.raises(CheckpointError, match=r"missing\.onnx: cannot be read"):
        create("ONNXEncoder", tmp_path / "missing.onnx", **OPTIONS)
    with pytest.raises(CheckpointError, match="does not take"):
        create("ONNXEncoder", path, sample_rate_hz=8_000, window_s=0.2)


@pytest.mark.parametrize("mel", [{}, {"n_mels": "40", "n_fft": "200", "hop_samples": "100", "layout": "NFM"}])
def test_encoder_pt_holds_the_model_and_gives_the_same_vectors(tmp_path: Path, mel: dict[str, str]) -> None:
    weights = WEIGHTS[:40] if mel else WEIGHTS
    shape: list[int | str] = ["N", "F", 40] if mel else ["N", T]
    path = write_product(tmp_path / "a.onnx", weights, input_shape=shape)
    made = encoder.create("ONNXEncoder", path, **OPTIONS, **mel)
    saved = tmp_path / "encoder.pt"
    checkpoint.save_script(made.saved_module(), saved, {"runtime": made.runtime}, attachments=made.attachments())
    path.unlink()
    assert sorted(made.attachments()) == [ATTACHED, SETTINGS_ATTACHED]
    vectors = EncoderRuntime.load(saved).embed(windows()[:, 0].numpy())
    assert np.array_equal(vectors, made(windows()).numpy())
    module, _ = checkpoint.load_script(saved)
    with pytest.raises(Exception, match="onnxruntime"):
        module(windows())
