"""A vector moves towards what is dense near it; far from everything, or with few references, it stays."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from boiler.encoder.mean_shift import MIN_REFERENCES, MeanShift, identity


@pytest.fixture(scope="module")
def two_places() -> Tensor:
    """Two places of 100 rows each, orthogonal to each other, in 32 dimensions."""
    random = torch.Generator().manual_seed(0)
    places = torch.eye(2, 32).repeat_interleave(100, dim=0)
    return normalize(places + 0.2 * torch.randn(200, 32, generator=random), dim=1)


def test_places_gather_and_separate(two_places: Tensor) -> None:
    moved = MeanShift(two_places)(two_places)
    torch.testing.assert_close(moved.norm(dim=1), torch.ones(200))
    before, after = two_places @ two_places.T, moved @ moved.T
    within = torch.block_diag(*[torch.ones(100, 100)] * 2).bool()  # type: ignore[no-untyped-call]
    assert float(after[within].mean()) > float(before[within].mean()) + 0.1
    assert float(after[~within].mean()) < float(before[~within].mean()) + 0.05


def test_the_step_is_that_of_the_formula(two_places: Tensor) -> None:
    row = two_places[:1].double()
    weights = torch.exp((row @ two_places.double().T)[0] / 0.07)
    weights[0] = 0.0  # the row itself
    expected = row[0] + 0.5 * (weights[:, None] * two_places).sum(dim=0) / weights.sum()
    torch.testing.assert_close(MeanShift(two_places)(row.float())[0], (expected / expected.norm()).float())


def test_a_sound_moves_as_if_it_were_no_reference(two_places: Tensor) -> None:
    apart = MeanShift(two_places[1:])
    nearly = normalize(two_places[:1] + 1e-4 * two_places[1:2], dim=1)
    for row in (two_places[:1], nearly):
        torch.testing.assert_close(MeanShift(two_places)(row), apart(row), rtol=1e-4, atol=1e-4)


def test_vectors_that_are_all_the_same_stay() -> None:
    same = torch.eye(8)[:1].expand(60, 8)
    assert torch.equal(MeanShift(same)(same), same)


def test_far_from_all_references_a_vector_stays(two_places: Tensor) -> None:
    centred = two_places - two_places.mean(dim=0)
    far = normalize(torch.linalg.svd(centred)[2][-1:], dim=1)  # the direction in which they differ least
    moved = MeanShift(normalize(centred, dim=1))(far)
    assert float(moved @ far.T) > 0.98


def test_few_references_move_nothing(two_places: Tensor) -> None:
    for made in (identity(32), MeanShift(two_places[: MIN_REFERENCES - 1])):
        assert torch.equal(made(two_places), two_places)
        assert torch.equal(torch.jit.script(made)(two_places), two_places)
    assert not torch.equal(MeanShift(two_places[:MIN_REFERENCES])(two_places), two_places)
