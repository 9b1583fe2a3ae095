"""Accuracy of a linear tag model on vectors of an index, over the folds of a data set.

    $ python -m exp.studies.tags_folds exp/esc10/MFCCStats exp/esc10/JoinedDescriptors --dataset esc10
    $ python -m exp.studies.tags_folds exp/esc10/JoinedDescriptors --calibration 0.1

A fold is predicted by a model that is trained on the other folds. Its weight decay is chosen among `DECAYS` by cross-
validation over these other folds alone. The predicted class is the most probable tag. Encoders that are fitted to a
folder saw all its sounds, without labels. `--calibration DECAY`: the expected calibration error instead, of models of
three folds, before and after they are calibrated on the fourth; the mean over folds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from boiler import arguments
from boiler.arrays import Int64Array
from boiler.evaluation import datasets, ground_truth, labelled_index
from boiler.tagging.examples import ArrayExamples
from boiler.tagging.settings import TagSettings
from boiler.tagging.trainer import TagData, evaluate, fit
from boiler.train_tags import index_examples

DECAYS = (0.03, 0.1, 0.3, 1.0)
SETTINGS = TagSettings(batch_size=64, epoch=30, patience=30)


def accuracy(train: ArrayExamples, test: ArrayExamples, tags: tuple[str, ...], decay: float) -> tuple[float, float]:
    """Share of the test examples whose most probable tag is their label, and the mean average precision."""
    made = fit(TagData(train, None, None), tags, replace(SETTINGS, l2=decay))
    report, _ = evaluate(made.model, test)
    assert report is not None
    return report["hit_at_1"], report["map"]


def by_folds(examples: ArrayExamples, tags: tuple[str, ...], folds: Int64Array) -> list[tuple[float, float, float]]:
    """Accuracy, mean average precision and chosen weight decay of each fold."""
    results = []
    for fold in np.unique(folds):
        others = [other for other in np.unique(folds) if other != fold]
        inner = {
            decay: np.mean(
                [
                    accuracy(
                        examples.at(np.flatnonzero((folds != fold) & (folds != other))),
                        examples.at(np.flatnonzero(folds == other)),
                        tags,
                        decay,
                    )[0]
                    for other in others
                ]
            )
            for decay in DECAYS
        }
        best = max(DECAYS, key=lambda decay: inner[decay])
        train, test = examples.at(np.flatnonzero(folds != fold)), examples.at(np.flatnonzero(folds == fold))
        results.append((*accuracy(train, test, tags, best), best))
    return results


def calibration_errors(
    examples: ArrayExamples, tags: tuple[str, ...], folds: Int64Array, decay: float
) -> list[tuple[float, ...]]:
    """Of each fold: over all tags, and over the most probable tags, before and after calibration."""
    known, results = np.unique(folds), []
    for at, fold in enumerate(known):
        tune_fold = known[(at + 1) % len(known)]
        train, tune, test = (
            examples.at(np.flatnonzero(chosen))
            for chosen in ((folds != fold) & (folds != tune_fold), folds == tune_fold, folds == fold)
        )
        errors: list[float] = []
        for held_out in (None, tune):
            made = fit(TagData(train, held_out, test), tags, replace(SETTINGS, l2=decay))
            assert made.report is not None
            errors += [made.report["calibration_error"], made.report["calibration_error_of_first"]]
        results.append(tuple(errors))
    return results


def run(args: argparse.Namespace) -> int:
    print("| index | accuracy | of the folds | mAP | weight decay |\n| --- | --- | --- | --- | --- |")
    for model_dir in args.model_dirs:
        labelled = labelled_index.open_labelled(
            model_dir,
            None,
            lambda items, wav_dir: ground_truth.from_dataset(
                args.dataset,
                [item.id for item in items],
                None,
                wav_dir,
            ),
        )
        examples, tags = index_examples(labelled)
        folds = ground_truth.as_indices(labelled.truth.folds)
        if args.calibration is not None:
            means = np.mean(calibration_errors(examples, tags, folds, args.calibration), axis=0)
            print(
                f"{labelled.generation.header.encoder}: calibration error of all tags {means[0]:.3f}, calibrated"
                f" {means[2]:.3f}; of the most probable tag {means[1]:.3f}, calibrated {means[3]:.3f}"
            )
            continue
        results = by_folds(examples, tags, folds)
        scores = [score for score, _, _ in results]
        print(
            f"| {labelled.generation.header.encoder} ({examples.dim} numbers) | {np.mean(scores):.3f} |"
            f" {', '.join(f'{score:.3f}' for score in scores)} | {np.mean([one[1] for one in results]):.3f} |"
            f" {', '.join(f'{one[2]:g}' for one in results)} |",
            flush=True,
        )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("model_dirs", nargs="+", type=Path, metavar="MODEL_DIR")
        parser.add_argument("--calibration", type=float, metavar="DECAY", help="measure calibration, with this decay")
        parser.add_argument("--dataset", choices=sorted(datasets.LAYOUTS), default="esc10")

    return arguments.command(argv, prog="tags_folds", description=__doc__, add_arguments=add_arguments, run=run)


if __name__ == "__main__":
    sys.exit(main())
