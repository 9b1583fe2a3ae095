"""Codes have unit length, move to the features, and dead codes are revived."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from boiler.model.quantizer import DEAD_SHARE, VectorQuantizer

N_CODES, DIM = 16, 8


def features(seed: int = 0, batch: int = 4) -> torch.Tensor:
    return torch.randn(batch, DIM, 5, 7, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def codebook() -> VectorQuantizer:
    torch.manual_seed(0)
    return VectorQuantizer(N_CODES, DIM)


def test_each_cell_gets_the_code_of_largest_cosine(codebook: VectorQuantizer) -> None:
    found = codebook.eval()(features())
    cells = normalize(features(), dim=1).permute(0, 2, 3, 1)
    assert torch.equal(found.codes, (cells @ codebook.codebook().T).argmax(-1))
    assert torch.equal(found.vectors.permute(0, 2, 3, 1), codebook.codebook()[found.codes])
    assert found.vectors.norm(dim=1) == pytest.approx(1.0)


def test_the_norm_of_the_features_does_not_matter(codebook: VectorQuantizer) -> None:
    assert torch.equal(codebook.eval()(features()).codes, codebook(features() * 1000).codes)


def test_commitment_is_zero_on_the_codes_themselves(codebook: VectorQuantizer) -> None:
    on_codes = codebook.codebook()[:, :, None, None] * 3
    assert codebook.eval()(on_codes).commitment == pytest.approx(0.0, abs=1e-6)
    assert codebook(-on_codes).commitment > 0.1


def test_the_first_training_batch_initialises_the_codes(codebook: VectorQuantizer) -> None:
    torch.manual_seed(1)
    codebook.train()(features())
    nearest = (codebook.codebook() @ normalize(features(), dim=1).permute(1, 0, 2, 3).flatten(1)).amax(dim=1)
    assert (nearest > 0.9).all()


def test_codes_move_to_the_features(codebook: VectorQuantizer) -> None:
    torch.manual_seed(1)
    first = codebook.train()(features()).commitment
    for _ in range(200):
        codebook(features())
    assert codebook(features()).commitment < 0.8 * first


@pytest.mark.parametrize("how", ["never assigned", "no weight at all"])
def test_a_dead_code_is_in_use_after_one_step(codebook: VectorQuantizer, how: str) -> None:
    torch.manual_seed(1)
    codebook.train()(features())
    # codes that point away from all features, as after the features have changed
    codebook.sums[:5] = -normalize(features().mean(dim=(0, 2, 3)), dim=0) * 100
    codebook.counts[:5] = 0.0 if how == "never assigned" else 1e-30
    dead = codebook.codebook()[:5].clone()
    codebook(features())
    assert not torch.allclose(codebook.codebook()[:5], dead)
    found = codebook.eval()(features())
    for code in range(5):
        assert (found.codes == code).any()


def test_all_codes_are_used_once_collapsed_features_spread(codebook: VectorQuantizer) -> None:
    torch.manual_seed(1)
    narrow = torch.ones(4, DIM, 5, 7) + 1e-3 * features()
    for _ in range(20):
        codebook.train()(narrow)
    for step in range(150):
        codebook(features(step))
    codes = codebook.eval()(features(0, batch=64)).codes
    counts = torch.bincount(codes.flatten(), minlength=N_CODES)
    assert (counts > DEAD_SHARE * codes.numel() / N_CODES).all()


def test_the_gradient_is_passed_straight_through(codebook: VectorQuantizer) -> None:
    given = features().requires_grad_()
    weights = features(1)
    (codebook.train()(given).vectors * weights).sum().backward()
    through = given.grad
    given.grad = None
    (normalize(given, dim=1) * weights).sum().backward()
    torch.testing.assert_close(through, given.grad)


def test_soft_assignment_sums_to_one_and_hardens_to_the_nearest_code(codebook: VectorQuantizer) -> None:
    shares = codebook.eval().soft_assignment(features(), 0.1)
    assert shares.shape == (4, 5, 7, N_CODES)
    torch.testing.assert_close(shares.sum(dim=-1), torch.ones(4, 5, 7))
    assert torch.equal(codebook.soft_assignment(features(), 1e-3).argmax(-1), codebook(features()).codes)


def test_eval_mode_changes_no_state(codebook: VectorQuantizer) -> None:
    before = {name: value.clone() for name, value in codebook.state_dict().items()}
    codebook.eval()(features())
    assert all(torch.equal(value, before[name]) for name, value in codebook.state_dict().items())


def test_zero_features_give_finite_results(codebook: VectorQuantizer) -> None:
    found = codebook.train()(torch.zeros(2, DIM, 3, 3))
    assert found.vectors.isfinite().all()
    assert found.commitment.isfinite()


def test_scripted_equals_eager(codebook: VectorQuantizer) -> None:
    codebook.train()(features())
    eager, scripted = codebook.eval()(features()), torch.jit.script(codebook.eval())(features())
    assert torch.equal(eager.vectors, scripted.vectors)
    assert torch.equal(eager.codes, scripted.codes)
