"""How many labels a model needs that chooses what it asks about, and one that asks at random.

    $ python -m exp.studies.active exp/esc10/JoinedDescriptors --dataset esc10

For each fold of the data set: questions are about the sounds of the other folds, one at a time, each answer is the class
of the sound, and after every `STEP` answers the mean average precision of the fold's own sounds is measured. The seconds
are of one answer at 50,000 items: the refit, the probabilities of all items, and the choice of the next one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from boiler import arguments
from boiler.arrays import BoolArray, Float32Array, Int64Array
from boiler.evaluation import datasets, ground_truth, labelled_index
from boiler.tagging.active import ActiveModel
from boiler.tagging.metrics import LogitHistogram

STEP = 5
MOST = 100
GOAL = 0.9


def curve(
    vectors: Float32Array, classes: Int64Array, in_pool: BoolArray, names: list[str], seed: int, at_random: bool
) -> list[float]:
    """The mean average precision after every `STEP` answers, from a first question at random; `at_random`: all."""
    rng = np.random.default_rng(seed)
    pool, test = rng.permutation(np.flatnonzero(in_pool)), np.flatnonzero(~in_pool)
    everything = np.concatenate([vectors[pool], vectors[test]])
    model = ActiveModel(everything, names)
    answers: dict[int, dict[str, bool]] = {}
    scores = []
    while len(answers) < min(MOST, len(pool)):
        if at_random or not answers:
            asked = [len(answers)]  # the pool is in random order
        else:
            asked = [at for at in model.next_items(len(test) + STEP).tolist() if at < len(pool)][:1]
        for at in asked:
            answers[at] = {name: number == classes[pool[at]] for number, name in enumerate(names)}
        model.set_answers(answers)
        if len(answers) % STEP == 0:
            probabilities = np.clip(model.probabilities()[len(pool) :], 1e-6, 1 - 1e-6)
            histogram = LogitHistogram(len(names))
            logits = np.log(probabilities / (1 - probabilities)).astype(np.float32)
            histogram.add(logits, np.arange(len(test)), classes[test])
            scores.append(float(np.nanmean(histogram.average_precision())))
    return scores


def needed(scores: Sequence[float]) -> float:
    """Labels until the goal; infinite if it is not reached."""
    return next((float(STEP * (at + 1)) for at, score in enumerate(scores) if score >= GOAL), float("inf"))


def seconds_per_answer(dim: int, n_tags: int, n_items: int = 50_000) -> float:
    rng = np.random.default_rng(0)
    names = [str(number) for number in range(n_tags)]
    model = ActiveModel(rng.normal(size=(n_items, dim)).astype(np.float32), names)
    answers = {at: {name: bool(rng.random() < 0.1) for name in names} for at in range(100)}
    model.set_answers(answers)
    took = []
    for at in range(100, 110):
        began = time.perf_counter()
        answers[at] = {name: bool(rng.random() < 0.1) for name in names}
        model.set_answers(answers)
        model.next_items(1)
        took.append(time.perf_counter() - began)
    return float(np.median(took))


def run(args: argparse.Namespace) -> int:
    labelled = labelled_index.open_labelled(
        args.model_dir,
        None,
        lambda items, wav_dir: ground_truth.from_dataset(args.dataset, [item.id for item in items], None, wav_dir),
    )
    vectors, classes = labelled.collection.vectors, labelled.truth.class_indices()
    names = list(labelled.truth.label_names)
    folds = ground_truth.as_indices(labelled.truth.folds)
    chosen, random = (
        [
            curve(vectors, classes, folds != fold, names, seed, at_random)
            for seed in range(args.seeds)
            for fold in np.unique(folds)
        ]
        for at_random in (False, True)
    )
    print("| labels | mAP, chosen | mAP, random |\n| --- | --- | --- |")
    for at in (10, 20, 30, 40, 50, 60, 80, 100):
        place = at // STEP - 1
        if place < len(chosen[0]):
            means = [np.mean([one[place] for one in scores]) for scores in (chosen, random)]
            print(f"| {at} | {means[0]:.3f} | {means[1]:.3f} |")
    mean_curves = [np.mean(scores, axis=0) for scores in (chosen, random)]
    print(f"labels until the mean mAP is {GOAL}: chosen {needed(mean_curves[0]):g}, random {needed(mean_curves[1]):g}")
    n_folds = len(np.unique(folds))
    for name, scores in (("chosen", chosen), ("random", random)):
        each = [needed(np.mean(scores[at : at + n_folds], axis=0)) for at in range(0, len(scores), n_folds)]
        print(f"by seed, {name}: {', '.join(f'{one:g}' for one in each)}")
    print(f"best mean mAP: chosen {mean_curves[0].max():.3f}, random {mean_curves[1].max():.3f}")
    print(f"one answer at 50,000 items: {seconds_per_answer(labelled.generation.header.dim, len(names)):.3f} s")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("model_dir", type=Path, metavar="MODEL_DIR")
        parser.add_argument("--seeds", type=arguments.at_least_1, default=3, help="(default: %(default)s)")
        parser.add_argument("--dataset", choices=sorted(datasets.LAYOUTS), default="esc10")

    return arguments.command(argv, prog="active", description=__doc__, add_arguments=add_arguments, run=run)


if __name__ == "__main__":
    sys.exit(main())
