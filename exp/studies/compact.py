"""How small the vectors of an index can be stored before the neighbours suffer: whole bytes, and 256 bits in all.

    $ python -m exp.studies.compact exp/esc10/JoinedVQVAE --corpus esc10
    $ python -m exp.studies.compact exp/fsdd/JoinedVQVAE --corpus fsdd --group speaker

The measures are those of `boiler evaluate` (its labels, and its rule of who must not answer for whom). Whatever a code
learns, it learns from the vectors of the index, without labels. "Both coded": a query is an item, and nothing but codes
was kept. "Query whole": the query is a new sound, in float32. What draws a rotation is the mean over three.
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

Decode = Callable[[Float32Array], Float32Array]
"""What is left of vectors [N, D] once they were stored and read again."""

BITS = 256
DRAWS = 3
MEASURES = ("P@1", "P@10", "mAP")
GAUSSIAN = (1.0, 0.3634, 0.1175, 0.03454, 0.009497, 0.002499, 0.0006443, 0.0001652, 0.00004237)
"""What share of its variance a Gaussian number loses in the best code of 0, 1, ... 8 bits (Max 1960; from 6 bits on
divided by 3.88 a bit)."""


@dataclass(frozen=True)
class Code:
    """A way to store vectors. `learn(vectors, draw)` gives what is left of any after it. `numbers`: whether that are
    numbers of the same space, so that a whole query can be compared with them."""

    name: str
    bits: Callable[[int], int]
    learn: Callable[[Float32Array, np.random.Generator], Decode]
    draws: int = 1
    numbers: bool = True


def as_int8(vectors: Float32Array, draw: np.random.Generator) -> Decode:
    """Each number a byte, the largest of a vector 127 steps. The step is not kept: only directions count."""
    return lambda some: np.rint(some / np.abs(some).max(axis=1, keepdims=True) * 127)


def as_int8_all(vectors: Float32Array, draw: np.random.Generator) -> Decode:
    """Each number a byte, one step for all vectors."""
    step = np.abs(vectors).max() / 127
    return lambda some: np.rint(some / step).clip(-127, 127)


def signs(vectors: Float32Array, draw: np.random.Generator) -> Decode:
    """On which side of the mean each number is; read as the mean of those on that side."""
    return _two_levels(vectors, np.eye(vectors.shape[1]))


def rotated_signs(vectors: Float32Array, draw: np.random.Generator) -> Decode:
    """256 such after a random rotation (a projection, where there are fewer numbers): Charikar 2002."""
    dim = vectors.shape[1]
    return _two_levels(vectors, rotation(max(dim, BITS), draw)[:dim, :BITS])


def itq(vectors: Float32Array, draw: np.random.Generator) -> Decode:
    """256 such (D where D is less) after the rotation of the principal components that signs fit best: Gong and
    Lazebnik 2011."""
    return _two_levels(vectors, _fitted(vectors, draw))


def itq_counted(vectors: Float32Array, draw: np.random.Generator) -> Decode:
    """The same bits, compared by how many agree (Hamming), as a processor does quickest."""
    mean, turn = vectors.mean(axis=0), _fitted(vectors, draw)
    return lambda some: np.where((some - mean) @ turn >= 0, 1.0, -1.0)


def _fitted(vectors: Float32Array, draw: np.random.Generator) -> Float64Array:
    mean, directions, _ = components(vectors)
    directions = directions[:, :BITS]
    flat = (vectors - mean) @ directions
    turn = rotation(flat.shape[1], draw)
    for _ in range(50):
        left, _, right = np.linalg.svd(flat.T @ np.where(flat @ turn >= 0, 1.0, -1.0))
        turn = left @ right
    return directions @ turn


def _two_levels(vectors: Float32Array, turn: Float64Array) -> Decode:
    """Shape: turn [D, B]"""
    mean = vectors.mean(axis=0, dtype=np.float64)
    flat = (vectors - mean) @ turn
    above = np.where(flat >= 0, flat, 0).sum(axis=0) / (flat >= 0).sum(axis=0).clip(min=1)
    below = np.where(flat < 0, flat, 0).sum(axis=0) / (flat < 0).sum(axis=0).clip(min=1)
    return lambda some: np.where((some - mean) @ turn >= 0, above, below) @ turn.T + mean


def shared_out(vectors: Float32Array, draw: np.random.Generator) -> Decode:
    """256 bits shared out among the principal components by what they win, each with the levels that fit it best (Lloyd
    1957; reverse water-filling). What is read again are numbers, so that a query may be whole."""
    mean, directions, variances = components(vectors)
    flat = (vectors - mean) @ directions
    bits = np.zeros(len(variances), int)
    losses = np.array(GAUSSIAN)
    for _ in range(BITS):
        wins = variances * (losses[bits] - losses[np.minimum(bits + 1, len(losses) - 1)])
        bits[wins.argmax()] += 1
    used = np.flatnonzero(bits)
    levels = [lloyd(flat[:, at], 2 ** bits[at]) for at in used]

    def decode(some: Float32Array) -> Float32Array:
        numbers = (some - mean) @ directions[:, used]
        for at, level in enumerate(levels):
            numbers[:, at] = level[np.searchsorted((level[1:] + level[:-1]) / 2, numbers[:, at])]
        return numbers @ directions[:, used].T + mean

    return decode


def shared_out_by_half(vectors: Float32Array, draw: np.random.Generator) -> Decode:
    """The same, learned from half of the vectors: what it is worth to those that come later."""
    return shared_out(vectors[draw.permutation(len(vectors))[: len(vectors) // 2]], draw)


CODES = (
    Code("int8, a step for each vector", lambda dim: 8 * dim, as_int8),
    Code("int8, one step for all", lambda dim: 8 * dim, as_int8_all),
    Code("a sign a number", lambda dim: dim, signs),
    Code("256 signs, turned at random", lambda dim: BITS, rotated_signs, DRAWS),
    Code("256 signs at most, turned to fit (ITQ)", lambda dim: min(BITS, dim), itq, DRAWS),
    Code("the same, bits that agree counted", lambda dim: min(BITS, dim), itq_counted, DRAWS, numbers=False),
    Code("256 bits, shared out among components", lambda dim: BITS, shared_out),
    Code("the same, learned from half of them", lambda dim: BITS, shared_out_by_half, DRAWS),
)


def rotation(dim: int, draw: np.random.Generator) -> Float64Array:
    """Any rotation is as likely as any other. Shape: [dim, dim]"""
    turn, upper = np.linalg.qr(draw.normal(size=(dim, dim)))
    return turn * np.sign(np.diag(upper))


def components(vectors: Float32Array) -> tuple[Float64Array, ...]:
    """Mean [D], principal directions [D, D] as columns, their variances [D], largest first."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    centred = vectors - mean
    variances, directions = np.linalg.eigh(centred.T @ centred / len(vectors))
    return mean, directions[:, ::-1], variances[::-1].clip(min=0)


def lloyd(numbers: Float64Array, count: int, rounds: int = 30) -> Float64Array:
    """The `count` levels, rising, that numbers [N] lie nearest to."""
    level = np.quantile(numbers, (np.arange(count) + 0.5) / count)
    for _ in range(rounds):
        of = np.searchsorted((level[1:] + level[:-1]) / 2, numbers)
        n = np.bincount(of, minlength=count)
        level = np.sort(np.where(n > 0, np.bincount(of, numbers, minlength=count) / n.clip(min=1), level))
    return level


def measured(index: LabelledIndex, groups: Int64Array, store: Decode, ask: Decode) -> Float64Array:
    """P@1, P@10, mAP when the windows were stored by `store`, and the queries by `ask`."""
    whole = index.collection
    windows = whole.vectors if whole.windows is None else whole.windows
    first = np.arange(len(whole)) if whole.first is None else whole.first
    kept = normalize(store(windows))
    made = ranking.Collection(normalize(ask(whole.vectors)), groups, kept, first)
    found = ranking.score_queries(made, index.labels).by_query
    return np.array([found[name].mean() for name in MEASURES])


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments.Parser(description=__doc__)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument(
        "--corpus", choices=tuple(datasets.LAYOUTS), help="a known data set; by default folders are labels"
    )
    parser.add_argument("--group", help="what must not answer for each other (default: what the data set suggests)")
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
    learned_from = index.collection.vectors if index.collection.windows is None else index.collection.windows
    whole = measured(index, groups, np.asarray, np.asarray)
    print(
        f"| {len(index.items):,} items, {index.generation.header.encoder} ({dim}) | bits | both coded: P@1 / P@10 / mAP ",
        end="",
    )
    print("| P@1 less | query whole: P@1 / P@10 / mAP | P@1 less |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    print(f"| float32 | {32 * dim:,} | {row(whole)} | | | |")
    for code in CODES:
        draws = [np.random.default_rng(seed) for seed in range(code.draws)]
        decoders = [code.learn(learned_from, draw) for draw in draws]
        both = np.mean([measured(index, groups, one, one) for one in decoders], axis=0)
        print(f"| {code.name} | {code.bits(dim):,} | {row(both)} | {whole[0] - both[0]:+.4f} |", end="")
        if code.numbers:
            query = np.mean([measured(index, groups, one, np.asarray) for one in decoders], axis=0)
            print(f" {row(query)} | {whole[0] - query[0]:+.4f} |")
        else:
            print(" | |")
    return 0


def row(values: Float64Array) -> str:
    return " / ".join(f"{value:.3f}".removeprefix("0") for value in values)


if __name__ == "__main__":
    sys.exit(main())
