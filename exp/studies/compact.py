"""Effect of quantizing stored vectors on retrieval: int8 per component, and 256 bits per vector.

    $ python -m exp.studies.compact exp/esc10/JoinedVQVAE --corpus esc10
    $ python -m exp.studies.compact exp/fsdd/JoinedVQVAE --corpus fsdd --group speaker

Measures, labels and excluded groups are those of `boiler evaluate`. Codes are fitted to the vectors of the index,
without labels. "both coded": the query is an item, and only its code is stored. "float32 query": the query is a new
sound. Figures of codes with a random rotation are means over three rotations.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boiler import arguments
from boiler.arrays import Float32Array, Float64Array, Int64Array
from boiler.engine import normalize
from boiler.evaluation import datasets, ground_truth, labelled_index, ranking
from boiler.evaluation.labelled_index import LabelledIndex

Codec = Callable[[Float32Array], Float32Array]
"""Encodes vectors [N, D] and returns their reconstruction."""

BITS = 256
DRAWS = 3
MEASURES = ("P@1", "P@10", "mAP")
GAUSSIAN = (1.0, 0.3634, 0.1175, 0.03454, 0.009497, 0.002499, 0.0006443, 0.0001652, 0.00004237)
"""Distortion (mean squared error over variance) of the optimal quantizer of a Gaussian with 0, 1, ... 8 bits.

Source: Max 1960; from 6 bits on divided by 3.88 per bit."""


@dataclass(frozen=True)
class Code:
    """A way to store vectors.

    `bits`: size of a code for a dimension; `fit(vectors, rng)` returns the codec as one function; `draws`: number of
    random seeds; `same_space`: reconstructions are in the space of the vectors, so that a float32 query can be compared
    with them."""

    name: str
    bits: Callable[[int], int]
    fit: Callable[[Float32Array, np.random.Generator], Codec]
    draws: int = 1
    same_space: bool = True


def as_int8(vectors: Float32Array, rng: np.random.Generator) -> Codec:
    """int8, scaled per vector by its largest component. The scale is not stored: cosine similarity ignores it."""
    return lambda x: np.rint(x / np.abs(x).max(axis=1, keepdims=True) * 127)


def as_int8_all(vectors: Float32Array, rng: np.random.Generator) -> Codec:
    """int8 with one scale for all vectors."""
    step = np.abs(vectors).max() / 127
    return lambda x: np.rint(x / step).clip(-127, 127)


def signs(vectors: Float32Array, rng: np.random.Generator) -> Codec:
    """One bit per component: above or below its mean; decoded as the mean of the components on that side."""
    return _two_levels(vectors, np.eye(vectors.shape[1]))


def rotated_signs(vectors: Float32Array, rng: np.random.Generator) -> Codec:
    """256 sign bits after a random rotation or projection. Source: Charikar 2002."""
    dim = vectors.shape[1]
    return _two_levels(vectors, rotation(max(dim, BITS), rng)[:dim, :BITS])


def itq(vectors: Float32Array, rng: np.random.Generator) -> Codec:
    """min(256, D) sign bits after the rotation of the principal components that minimises the quantization error.

    Source: Gong and Lazebnik 2011."""
    return _two_levels(vectors, _fitted(vectors, rng))


def itq_hamming(vectors: Float32Array, rng: np.random.Generator) -> Codec:
    """The bits of ITQ, compared by Hamming distance."""
    mean, turn = vectors.mean(axis=0), _fitted(vectors, rng)
    return lambda x: np.where((x - mean) @ turn >= 0, 1.0, -1.0)


def _fitted(vectors: Float32Array, rng: np.random.Generator) -> Float64Array:
    mean, directions, _ = components(vectors)
    directions = directions[:, :BITS]
    flat = (vectors - mean) @ directions
    turn = rotation(flat.shape[1], rng)
    for _ in range(50):
        left, _, right = np.linalg.svd(flat.T @ np.where(flat @ turn >= 0, 1.0, -1.0))
        turn = left @ right
    return directions @ turn


def _two_levels(vectors: Float32Array, turn: Float64Array) -> Codec:
    """One bit per column of `turn`, decoded as the mean of the vectors on that side. Shape: turn [D, B]"""
    mean = vectors.mean(axis=0, dtype=np.float64)
    flat = (vectors - mean) @ turn
    above = np.where(flat >= 0, flat, 0).sum(axis=0) / (flat >= 0).sum(axis=0).clip(min=1)
    below = np.where(flat < 0, flat, 0).sum(axis=0) / (flat < 0).sum(axis=0).clip(min=1)
    return lambda x: np.where((x - mean) @ turn >= 0, above, below) @ turn.T + mean


def allocated(vectors: Float32Array, rng: np.random.Generator) -> Codec:
    """256 bits allocated among the principal components by reverse water-filling, each with its optimal levels.

    Source: Lloyd 1957."""
    mean, directions, variances = components(vectors)
    flat = (vectors - mean) @ directions
    bits = np.zeros(len(variances), int)
    losses = np.array(GAUSSIAN)
    for _ in range(BITS):
        wins = variances * (losses[bits] - losses[np.minimum(bits + 1, len(losses) - 1)])
        bits[wins.argmax()] += 1
    used = np.flatnonzero(bits)
    levels = [lloyd(flat[:, at], 2 ** bits[at]) for at in used]

    def decode(x: Float32Array) -> Float32Array:
        numbers = (x - mean) @ directions[:, used]
        for at, level in enumerate(levels):
            numbers[:, at] = level[np.searchsorted((level[1:] + level[:-1]) / 2, numbers[:, at])]
        return numbers @ directions[:, used].T + mean

    return decode


def allocated_from_half(vectors: Float32Array, rng: np.random.Generator) -> Codec:
    """The same, fitted to half of the vectors: shows how it works for vectors added later."""
    return allocated(vectors[rng.permutation(len(vectors))[: len(vectors) // 2]], rng)


CODES = (
    Code("int8, one scale per vector", lambda dim: 8 * dim, as_int8),
    Code("int8, one scale for all", lambda dim: 8 * dim, as_int8_all),
    Code("one sign per component", lambda dim: dim, signs),
    Code("256 signs after a random rotation", lambda dim: BITS, rotated_signs, DRAWS),
    Code("at most 256 signs after a fitted rotation (ITQ)", lambda dim: min(BITS, dim), itq, DRAWS),
    Code("the same, Hamming distance", lambda dim: min(BITS, dim), itq_hamming, DRAWS, same_space=False),
    Code("256 bits allocated among components", lambda dim: BITS, allocated),
    Code("the same, fitted to half of the vectors", lambda dim: BITS, allocated_from_half, DRAWS),
)


def rotation(dim: int, rng: np.random.Generator) -> Float64Array:
    """A uniformly random orthogonal matrix. Shape: [dim, dim]"""
    turn, upper = np.linalg.qr(rng.normal(size=(dim, dim)))
    return turn * np.sign(np.diag(upper))


def components(vectors: Float32Array) -> tuple[Float64Array, ...]:
    """Mean [D], principal directions [D, D] as columns, their variances [D], largest first."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    centred = vectors - mean
    variances, directions = np.linalg.eigh(centred.T @ centred / len(vectors))
    return mean, directions[:, ::-1], variances[::-1].clip(min=0)


def lloyd(numbers: Float64Array, count: int, rounds: int = 30) -> Float64Array:
    """The `count` quantization levels that fit numbers [N] best, ascending."""
    level = np.quantile(numbers, (np.arange(count) + 0.5) / count)
    for _ in range(rounds):
        of = np.searchsorted((level[1:] + level[:-1]) / 2, numbers)
        n = np.bincount(of, minlength=count)
        level = np.sort(np.where(n > 0, np.bincount(of, numbers, minlength=count) / n.clip(min=1), level))
    return level


def measured(index: LabelledIndex, groups: Int64Array, store: Codec, query: Codec) -> Float64Array:
    """P@1, P@10 and mAP with stored windows coded by `store` and queries by `query`."""
    whole = index.collection
    windows = whole.vectors if whole.windows is None else whole.windows
    first = np.arange(len(whole)) if whole.first is None else whole.first
    kept = normalize(store(windows))
    made = ranking.Collection(normalize(query(whole.vectors)), groups, kept, first)
    found = ranking.score_queries(made, index.labels).by_query
    return np.array([found[name].mean() for name in MEASURES])


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments.Parser(description=__doc__)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument(
        "--corpus", choices=tuple(datasets.LAYOUTS), help="a known data set; by default folders are labels"
    )
    parser.add_argument(
        "--group", help="items of the same group are excluded from the answers (default: that of the data set)"
    )
    args = parser.parse_args(argv)
    index = labelled_index.open_labelled(
        args.model_dir,
        None,
        lambda items, place: (
            ground_truth.from_catalog(items)
            if args.corpus is None
            else ground_truth.from_dataset(args.corpus, [item.id for item in items], None, place)
        ),
    )
    groups = index.truth.group_indices(args.group or index.truth.default_group, index.ids)
    dim = index.collection.vectors.shape[1]
    fitted_on = index.collection.vectors if index.collection.windows is None else index.collection.windows
    whole = measured(index, groups, np.asarray, np.asarray)
    print(
        f"| {len(index.items):,} items, {index.generation.header.encoder} ({dim}) | bits | both coded: P@1 / P@10 / mAP ",
        end="",
    )
    print("| P@1 loss | float32 query: P@1 / P@10 / mAP | P@1 loss |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    print(f"| float32 | {32 * dim:,} | {row(whole)} | | | |")
    for code in CODES:
        rngs = [np.random.default_rng(seed) for seed in range(code.draws)]
        codecs = [code.fit(fitted_on, rng) for rng in rngs]
        both = np.mean([measured(index, groups, one, one) for one in codecs], axis=0)
        print(f"| {code.name} | {code.bits(dim):,} | {row(both)} | {whole[0] - both[0]:+.4f} |", end="")
        if code.same_space:
            query = np.mean([measured(index, groups, one, np.asarray) for one in codecs], axis=0)
            print(f" {row(query)} | {whole[0] - query[0]:+.4f} |")
        else:
            print(" | |")
    return 0


def row(values: Float64Array) -> str:
    return " / ".join(f"{value:.3f}".removeprefix("0") for value in values)


if __name__ == "__main__":
    sys.exit(main())
