"""`MFCCStats`: fitting, and that it finds sounds of the same kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from boiler import encoder
from boiler.audio import synthesis
from boiler.audio.windows import WINDOW_SAMPLES
from boiler.encoder.mfcc_stats import MFCCStats


def windows(kinds: list[str], per_kind: int) -> torch.Tensor:
    """Synthetic sounds repeated to fill a window: [kinds * per_kind, 1, 2**17]."""
    rng = np.random.default_rng(5)
    made = [np.resize(synthesis.synthesize(kind, rng), WINDOW_SAMPLES) for kind in kinds for _ in range(per_kind)]
    return torch.from_numpy(np.stack(made))[:, None]


@pytest.fixture(scope="module")
def sounds() -> torch.Tensor:
    return windows(["pluck", "rain", "siren", "tick"], 4)


@pytest.fixture(scope="module")
def fitted(sounds: torch.Tensor) -> MFCCStats:
    made = encoder.create("MFCCStats")
    assert isinstance(made, MFCCStats)
    made.fit(sounds.split(3))
    return made


def test_rows_have_unit_length_and_do_not_depend_on_the_batch(fitted: MFCCStats, sounds: torch.Tensor) -> None:
    vectors = fitted(sounds)
    assert vectors.shape == (16, fitted.dim)
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(16))
    torch.testing.assert_close(fitted(sounds[3:4])[0], vectors[3], rtol=0, atol=1e-5)


def test_level_does_not_matter(fitted: MFCCStats, sounds: torch.Tensor) -> None:
    torch.testing.assert_close(fitted(0.01 * sounds), fitted(sounds), rtol=0, atol=1e-3)


def test_silence_is_finite(fitted: MFCCStats) -> None:
    assert torch.isfinite(fitted(torch.zeros(1, 1, WINDOW_SAMPLES))).all()


def test_it_works_before_it_is_fitted(sounds: torch.Tensor) -> None:
    vectors = encoder.create("MFCCStats")(sounds[:2])
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))


def test_fitting_does_not_depend_on_the_batches(fitted: MFCCStats, sounds: torch.Tensor) -> None:
    again = encoder.create("MFCCStats")
    assert isinstance(again, MFCCStats)
    again.fit([sounds])
    torch.testing.assert_close(again(sounds), fitted(sounds), rtol=0, atol=1e-4)


def test_scripted_and_eager_agree(fitted: MFCCStats, sounds: torch.Tensor) -> None:
    scripted = torch.jit.script(fitted)
    torch.testing.assert_close(scripted(sounds), fitted(sounds), rtol=0, atol=1e-5)


def test_it_finds_the_same_kind_of_sound(fitted: MFCCStats, sounds: torch.Tensor) -> None:
    vectors = fitted(sounds)
    likeness = vectors @ vectors.T - 2 * torch.eye(16)
    kind = torch.arange(16) // 4
    assert (kind[likeness.argmax(1)] == kind).float().mean() >= 0.75
