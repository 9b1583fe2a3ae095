"""Encoders exported to ONNX: the same vectors in onnxruntime, and usable as an encoder again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from pretrained_files import RATES_HZ, write_aisfx, write_for

from boiler import encoder
from boiler.encoder.onnx_export import EXPORTABLE, export_onnx
from boiler.errors import SettingsError


def windows(n: int, window_samples: int) -> torch.Tensor:
    """Repeated clips, one after silence, and one that fills its window."""
    draw = torch.Generator().manual_seed(0)
    clips = [torch.randn(40_000, generator=draw), torch.randn(window_samples, generator=draw)]
    clips.append(torch.cat([torch.zeros(9_000), torch.randn(20_000, generator=draw), torch.zeros(4_000)]))
    filled = [clip.repeat(window_samples // len(clip) + 1)[:window_samples] for clip in clips]
    return 0.1 * torch.stack(filled[:n])[:, None]


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTABLE)
def test_onnxruntime_gives_the_same_vectors(name: str, checkpoint_path: Path, tmp_path: Path) -> None:
    pt_path = write_for(name, tmp_path / "a.safetensors") if name in RATES_HZ else checkpoint_path
    made = encoder.create(name, pt_path if encoder.find_encoder(name).needs_checkpoint else None)
    export_onnx(made, tmp_path / "a.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    for n in (1, 3):
        (vectors,) = session.run(None, {"waveform": windows(n, made.window_samples).numpy()})
        np.testing.assert_allclose(vectors, made(windows(n, made.window_samples)), atol=1e-4)
    again = encoder.create("ONNXEncoder", tmp_path / "a.onnx")
    assert (again.dim, again.sample_rate_hz, again.window_samples) == (
        made.dim,
        made.sample_rate_hz,
        made.window_samples,
    )
    sounds = windows(2, made.window_samples)
    assert torch.allclose(again(sounds), made(sounds), atol=1e-4)


def test_an_unsupported_encoder_is_refused_with_the_supported_ones(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"AISFXEncoder cannot .*MFCCStats"):
        export_onnx(encoder.create("AISFXEncoder", write_aisfx(tmp_path / "w.safetensors")), tmp_path / "a.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]
