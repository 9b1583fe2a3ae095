"""The losses, against their dense definitions, and the weights of tags."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from boiler.tagging.losses import class_weights, cross_entropy, hamming


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 5, generator=generator) * 3
    return logits.requires_grad_(), (torch.rand(7, 5, generator=generator) < 0.3).float()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sampled", [False, True])
def test_losses_are_their_definitions_with_the_same_gradient(
    batch: tuple[torch.Tensor, torch.Tensor], weighted: bool, sampled: bool
) -> None:
    logits, truth = batch
    rows, classes = truth.nonzero().T
    per_tag = torch.tensor([1.0, 2.0, 0.5, 3.0, 1.5])
    label_weights, absent_weights = (
        per_tag if weighted else torch.ones(5),
        per_tag.flip(0) if sampled else torch.ones(5),
    )
    arguments = (
        rows,
        classes,
        label_weights[classes] if weighted else None,
        absent_weights if sampled else None,
    )
    weights = truth * label_weights + (1 - truth) * absent_weights
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    wrong = (truth - logits.sigmoid()).abs()
    for loss, dense in ((cross_entropy, entropy), (hamming, wrong)):
        ours = loss(logits, *arguments)
        theirs = (dense * weights).sum(1).mean()
        torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(
            torch.autograd.grad(ours, logits, retain_graph=True), torch.autograd.grad(theirs, logits, retain_graph=True)
        )


def test_weights_are_the_balanced_ones_of_scikit_learn() -> None:
    labels = np.repeat([0, 1, 2], [50, 5, 20])
    counts = np.bincount(labels)
    balanced = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(class_weights(counts, 75, 1.0), balanced, rtol=1e-6)
    np.testing.assert_allclose(class_weights(counts, 75, 0.5), np.sqrt(balanced), rtol=1e-6)
    assert class_weights(np.array([3, 0]), 5, 0.0).tolist() == [1, 1]
    assert class_weights(np.array([3, 0]), 5, 2.0)[1] == 1


def test_losses_do_not_overflow() -> None:
    logits = torch.tensor([[500.0, -500.0]], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([0]), torch.tensor([1]))
    loss.backward()
    assert loss.item() == 1000
    assert logits.grad is not None
    assert logits.grad.tolist() == [[1, -1]]
