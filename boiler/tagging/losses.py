"""The losses of tag models, from log-odds and sparse labels. All are sums over tags, and means over examples.

`cross_entropy`: of independent yes-no decisions. `hamming`: the expected number of wrong tags. Both take a weight for
each tag by which its labels count more (`class_weights`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor
from torch.nn import functional

from boiler.arrays import Float32Array, Int64Array

TagLoss = Callable[[Tensor, Tensor, Tensor, Tensor | None, Tensor | None], Tensor]
"""logits [B, C], labels as rows [P] and classes [P], the weight of each label [P] or None, and the weight of each tag
of an example that does not have it, [C] or None -> scalar"""


def cross_entropy(
    logits: Tensor,
    rows: Tensor,
    classes: Tensor,
    label_weights: Tensor | None = None,
    tag_weights: Tensor | None = None,
) -> Tensor:
    """Binary cross-entropy."""
    # softplus(z) is the loss of a tag that is not a label, softplus(-z) = softplus(z) - z that of one that is.
    absent, of_labels = functional.softplus(logits), logits[rows, classes]
    present = functional.softplus(-of_labels)
    return _total(absent, present, functional.softplus(of_labels), classes, label_weights, tag_weights)


def hamming(
    logits: Tensor,
    rows: Tensor,
    classes: Tensor,
    label_weights: Tensor | None = None,
    tag_weights: Tensor | None = None,
) -> Tensor:
    """The sum over tags of the probability of the wrong answer."""
    absent, of_labels = logits.sigmoid(), logits[rows, classes].sigmoid()
    return _total(absent, 1 - of_labels, of_labels, classes, label_weights, tag_weights)


def _total(
    absent: Tensor,
    present: Tensor,
    not_absent: Tensor,
    classes: Tensor,
    label_weights: Tensor | None,
    tag_weights: Tensor | None,
) -> Tensor:
    """The loss of all tags as if none were a label, corrected for those that are."""
    if label_weights is not None:
        present = present * label_weights
    if tag_weights is not None:
        not_absent = not_absent * tag_weights[classes]
        whole = (absent * tag_weights).sum()
    else:
        whole = absent.sum()
    return (whole + (present - not_absent).sum()) / len(absent)


TAG_LOSSES: dict[str, TagLoss] = {"cross_entropy": cross_entropy, "hamming": hamming}


def class_weights(counts: Int64Array, n_examples: int, power: float) -> Float32Array:
    """The weight of the labels of each tag: (n examples / (n tags x n examples with it)) to a power. Shape: [C] -> [C]

    With power 1 each tag's labels count as much as those of any other; 0 weighs nothing. A tag without examples has
    weight 1.

    >>> [round(weight, 2) for weight in class_weights(np.array([6, 2, 0]), 8, 1.0).tolist()]
    [0.44, 1.33, 1.0]
    """
    balanced = n_examples / (len(counts) * np.maximum(counts, 1))
    weights: Float32Array = np.where(counts > 0, balanced**power, 1.0).astype(np.float32)
    return weights
