"""Encoders exported to ONNX: the same vectors in onnxruntime, and usable as an encoder again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from boiler import encoder
from boiler.encoder.onnx_export import BatchedPooled, export_onnx
from boiler.errors import SettingsError

WINDOW = 2**17


def windows(n: int) -> torch.Tensor:
    """Repeated clips, one after silence, and one that fills its window."""
    draw = torch.Generator().manual_seed(0)
    clips = [torch.randn(40_000, generator=draw), torch.randn(WINDOW, generator=draw)]
    clips.append(torch.cat([torch.zeros(9_000), torch.randn(20_000, generator=draw), torch.zeros(4_000)]))
    filled = [clip.repeat(WINDOW // len(clip) + 1)[:WINDOW] for clip in clips]
    return 0.1 * torch.stack(filled[:n])[:, None]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MFCCStats", "BagTopVQVAE", "BagBottomVQVAE", "MeanFreqTopVQVAE", "PooledVQVAE"])
def test_onnxruntime_gives_the_same_vectors(name: str, checkpoint_path: Path, tmp_path: Path) -> None:
    made = encoder.create(name, checkpoint_path if encoder.find_encoder(name).needs_checkpoint else None)
    export_onnx(made, tmp_path / "a.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    for n in (1, 3):
        (vectors,) = session.run(None, {"waveform": windows(n).numpy()})
        np.testing.assert_allclose(vectors, made(windows(n)), atol=1e-4)
    again = encoder.create("ONNXEncoder", tmp_path / "a.onnx")
    assert (again.dim, again.sample_rate_hz, again.window_samples) == (made.dim, 16_000, WINDOW)
    assert torch.allclose(again(windows(2)), made(windows(2)), atol=1e-4)


@pytest.mark.slow
def test_the_batched_form_gives_the_same_vectors(checkpoint_path: Path) -> None:
    made = encoder.create("PooledVQVAE", checkpoint_path)
    batched = BatchedPooled(made).eval()  # type: ignore[arg-type]
    assert torch.allclose(batched(windows(3)), made(windows(3)), atol=1e-5)


def test_an_unsupported_encoder_is_refused_with_the_supported_ones(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"JoinedDescriptors cannot .*MFCCStats"):
        export_onnx(encoder.create("JoinedDescriptors"), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())
