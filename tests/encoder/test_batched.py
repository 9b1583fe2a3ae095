"""The batched forms of encoders: the same vectors as clip by clip, for clips of every kind in one batch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pretrained_files import RATES_HZ, write_for
from torch import Tensor
from torch.nn.functional import normalize

from boiler import encoder
from boiler.encoder import Encoder, batched, onnx_export
from boiler.encoder.joined_pretrained import JoinedPretrained
from boiler.encoder.mean_shift import MIN_REFERENCES, MeanShift

DRAW = torch.Generator().manual_seed(0)


def noise(n: int) -> Tensor:
    return torch.randn(n, generator=DRAW)


def windows(window_samples: int) -> Tensor:
    """Repeated clips: long, full, between silence, very short, decaying, tonal, silent, with a gap, quiet, a click."""
    clips = [
        noise(40_000),
        noise(window_samples),
        torch.cat([torch.zeros(9_000), noise(20_000), torch.zeros(4_000)]),
        noise(700),
        noise(3_000) * torch.linspace(1, 0, 3_000),
        torch.sin(torch.arange(30_000) / 5.7),
        torch.zeros(100),
        torch.cat([noise(8_000), torch.zeros(16_000), noise(500), torch.zeros(5_000)]),
        0.001 * noise(1_500),
        torch.cat([noise(60), torch.zeros(3_000)]),
    ]
    return 0.1 * torch.stack([clip.repeat(window_samples // len(clip) + 1)[:window_samples] for clip in clips])[:, None]


@pytest.fixture(scope="module")
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    name: str = request.param
    if name in RATES_HZ:
        found = encoder.create(name, write_for(name, tmp_path_factory.mktemp("weights") / "a.safetensors"))
        if isinstance(found, JoinedPretrained):
            found.mean_shift = MeanShift(normalize(torch.randn(MIN_REFERENCES, found.dim, generator=DRAW), dim=1))
        return found
    needs_checkpoint = encoder.find_encoder(name).needs_checkpoint
    return encoder.create(name, request.getfixturevalue("checkpoint_path") if needs_checkpoint else None)


@pytest.mark.slow
@pytest.mark.parametrize("made", onnx_export.EXPORTABLE, indirect=True)
def test_a_batch_gives_the_same_vectors_as_its_clips(made: Encoder) -> None:
    sounds = windows(made.window_samples)
    form = batched.batched(made)
    assert form is not None
    torch.testing.assert_close(form(sounds), made(sounds), atol=1e-5, rtol=0)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.floats(-6, 3), st.integers(0, 2**31))
def test_the_matrix_root_squares_to_the_matrix(size: int, spread: float, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    factor = torch.randn(size, size, generator=draw, dtype=torch.float64) * 10 ** torch.linspace(0, spread, size)
    matrix = (factor @ factor.T / size + 1e-3 * torch.eye(size)).float()
    root = batched.matrix_root(matrix[None])[0].double()
    assert (root @ root - matrix).abs().max() <= 1e-5 * matrix.abs().max()
    assert torch.linalg.eigvalsh((root + root.T) / 2).min() > 0
