"""Words have unit length, follow the features, and are alive again after they died."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from boiler.model.quantizer import DEAD_SHARE, VectorQuantizer

WORDS, LENGTH = 16, 8


def features(seed: int = 0, batch: int = 4) -> torch.Tensor:
    return torch.randn(batch, LENGTH, 5, 7, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def codebook() -> VectorQuantizer:
    torch.manual_seed(0)
    return VectorQuantizer(WORDS, LENGTH)


def test_each_cell_gets_the_word_of_largest_cosine(codebook: VectorQuantizer) -> None:
    found = codebook.eval()(features())
    cells = normalize(features(), dim=1).permute(0, 2, 3, 1)
    assert torch.equal(found.codes, (cells @ codebook.words().T).argmax(-1))
    assert torch.equal(found.words.permute(0, 2, 3, 1), codebook.words()[found.codes])
    assert found.words.norm(dim=1) == pytest.approx(1.0)


def test_length_of_the_features_does_not_matter(codebook: VectorQuantizer) -> None:
    assert torch.equal(codebook.eval()(features()).codes, codebook(features() * 1000).codes)


def test_commitment_is_zero_on_the_words_themselves(codebook: VectorQuantizer) -> None:
    on_words = codebook.words()[:, :, None, None] * 3
    assert codebook.eval()(on_words).commitment == pytest.approx(0.0, abs=1e-6)
    assert codebook(-on_words).commitment > 0.1


def test_the_first_training_batch_gives_the_first_words(codebook: VectorQuantizer) -> None:
    torch.manual_seed(1)
    codebook.train()(features())
    nearest = (codebook.words() @ normalize(features(), dim=1).permute(1, 0, 2, 3).flatten(1)).amax(dim=1)
    assert (nearest > 0.9).all()


def test_words_move_to_where_the_features_are(codebook: VectorQuantizer) -> None:
    torch.manual_seed(1)
    first = codebook.train()(features()).commitment
    for _ in range(200):
        codebook(features())
    assert codebook(features()).commitment < 0.8 * first


@pytest.mark.parametrize("how", ["never chosen", "no weight at all"])
def test_a_dead_word_is_alive_afterwards(codebook: VectorQuantizer, how: str) -> None:
    torch.manual_seed(1)
    codebook.train()(features())
    # words that point where no feature is, as after a change of the features
    codebook.sums[:5] = -normalize(features().mean(dim=(0, 2, 3)), dim=0) * 100
    codebook.counts[:5] = 0.0 if how == "never chosen" else 1e-30
    dead = codebook.words()[:5].clone()
    codebook(features())
    assert not torch.allclose(codebook.words()[:5], dead)
    found = codebook.eval()(features())
    for word in range(5):
        assert (found.codes == word).any()


def test_all_words_of_collapsed_features_come_to_life_when_they_spread(codebook: VectorQuantizer) -> None:
    torch.manual_seed(1)
    narrow = torch.ones(4, LENGTH, 5, 7) + 1e-3 * features()
    for _ in range(20):
        codebook.train()(narrow)
    for step in range(150):
        codebook(features(step))
    codes = codebook.eval()(features(0, batch=64)).codes
    counts = torch.bincount(codes.flatten(), minlength=WORDS)
    assert (counts > DEAD_SHARE * codes.numel() / WORDS).all()


def test_the_gradient_passes_straight_through(codebook: VectorQuantizer) -> None:
    given = features().requires_grad_()
    weights = features(1)
    (codebook.train()(given).words * weights).sum().backward()
    through = given.grad
    given.grad = None
    (normalize(given, dim=1) * weights).sum().backward()
    torch.testing.assert_close(through, given.grad)


def test_soft_shares_sum_to_one_and_harden_to_the_choice(codebook: VectorQuantizer) -> None:
    shares = codebook.eval().soft(features(), 0.1)
    assert shares.shape == (4, 5, 7, WORDS)
    torch.testing.assert_close(shares.sum(dim=-1), torch.ones(4, 5, 7))
    assert torch.equal(codebook.soft(features(), 1e-3).argmax(-1), codebook(features()).codes)


def test_eval_changes_nothing(codebook: VectorQuantizer) -> None:
    before = {name: value.clone() for name, value in codebook.state_dict().items()}
    codebook.eval()(features())
    assert all(torch.equal(value, before[name]) for name, value in codebook.state_dict().items())


def test_zero_features_give_finite_results(codebook: VectorQuantizer) -> None:
    found = codebook.train()(torch.zeros(2, LENGTH, 3, 3))
    assert found.words.isfinite().all()
    assert found.commitment.isfinite()


def test_scripted_is_eager(codebook: VectorQuantizer) -> None:
    codebook.train()(features())
    eager, scripted = codebook.eval()(features()), torch.jit.script(codebook.eval())(features())
    assert torch.equal(eager.words, scripted.words)
    assert torch.equal(eager.codes, scripted.codes)
