"""Half-whitening: against numpy, with few or equal rows, and unit length."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from boiler.encoder.whitening import Whitening, fit
from boiler.errors import BoilerError


def spread(rows: int, seed: int = 0) -> torch.Tensor:
    """Features of very different scale and with large means."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy((rng.normal(size=(rows, 6)) * [9, 5, 3, 1, 0.3, 0.1] + 100).astype(np.float32))


@pytest.mark.parametrize(("power", "deviations"), [(0.0, "kept"), (0.5, "root"), (1.0, "one")])
def test_the_power_determines_how_much_of_the_deviation_remains(power: float, deviations: str) -> None:
    features = spread(5000)
    learned = fit([features], 6, power)
    left = ((features - learned["mean"]) @ learned["matrix"]).std(0)
    original = features.std(0)
    expected = {"kept": original, "root": original.sqrt(), "one": torch.ones(6)}[deviations]
    torch.testing.assert_close(left, expected, rtol=0.05, atol=0)


def test_batches_agree_with_the_whole_and_with_numpy() -> None:
    features = spread(1000)
    whole, parts = fit([features], 4), fit(features.split(37), 4)
    torch.testing.assert_close(whole["matrix"], parts["matrix"], rtol=1e-4, atol=1e-6)
    variances, directions = np.linalg.eigh(np.cov(features.numpy().T.astype(float), bias=True))
    numpys = directions[:, ::-1][:, :4] * variances[::-1][:4] ** -0.25
    np.testing.assert_allclose(np.abs(whole["matrix"].numpy()), np.abs(numpys), rtol=1e-3, atol=1e-5)


def test_rows_have_unit_length_also_with_fewer_sounds_than_dimensions() -> None:
    features = spread(3)
    whitening = Whitening(**fit([features], 6))
    rows = whitening(features)
    assert rows.shape == (3, 6)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))


def test_equal_features_give_finite_rows() -> None:
    features = torch.ones(5, 4)
    whitening = Whitening(**fit([features], 4))
    assert torch.isfinite(whitening(features)).all()
    assert torch.isfinite(whitening(features + 1)).all()


def test_fitting_to_nothing_is_refused() -> None:
    with pytest.raises(BoilerError, match="no sound"):
        fit([], 4)


@pytest.mark.parametrize("dim", [3, 5, 8])
def test_equal_features_are_kept(dim: int) -> None:
    features = torch.tensor([[0.5, -1.0, 2.0, 0.25, 3.0]]).repeat(6, 1)
    whiten = Whitening(**fit([features[:2], features[2:]], dim))
    vectors = whiten(features)
    assert vectors.shape == (6, dim)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(6))
    assert not torch.allclose(whiten(features.flip(1)), vectors, atol=0.1)
