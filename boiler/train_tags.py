"""Train a model that tags sounds, from labelled examples.

    $ boiler train_tags --model_dir exp/esc10/MFCCStats --save_path exp/tags_1
    $ boiler train_tags --model_dir exp/loops/MFCCStats --labels loops.csv --save_path exp/tags_2
    $ boiler train_tags --tfrecord 'records*.tfrecord' --vocabulary records.csv --save_path exp/tags_3

The examples are the labelled items of an index (its own labels; with --labels those of a table, whose column `labels`
may have several, separated by semicolons; with --dataset those of a data set), or TFRecord files. A part of them,
--held_share, is held out: one half chooses the end of training, the calibration and the thresholds, the other measures
the result.

Writes tags.safetensors, the model, report.json, reliability.png, tags_NNN.pt and TensorBoard events under --save_path.
Ctrl-C saves after the current step; --load_path exp/tags/tags_007.pt continues, bit for bit. Damaged records are named,
counted, and make the exit code 1. Records are decoded once, into a temporary file under --save_path that disappears
with the process; without room for it they are decoded in every epoch.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from boiler import arguments, files
from boiler.arguments import printable
from boiler.catalog.items import Item
from boiler.errors import CheckpointError, CorpusError, SettingsError
from boiler.evaluation import datasets, ground_truth, labelled_index
from boiler.evaluation.ground_truth import GroundTruth
from boiler.store import generation
from boiler.tagging import trainer
from boiler.tagging.calibration import plot_reliability
from boiler.tagging.example_cache import CachedExamples, cached
from boiler.tagging.examples import (
    ArrayExamples,
    DamageLog,
    ExampleSource,
    HashPart,
    TFRecordExamples,
    find_files,
    id_fraction,
)
from boiler.tagging.losses import TAG_LOSSES
from boiler.tagging.model import FILE, NETWORKS
from boiler.tagging.settings import THRESHOLDS, TagSettings
from boiler.tagging.tfrecord import YOUTUBE_8M, FeatureSpec
from boiler.tagging.trainer import TagData, TagTrainState
from boiler.tagging.vocabulary import Vocabulary
from boiler.training.stopping import StopSignals
from boiler.training.tensorboard import TensorBoardWriter

__all__ = ["TagSettings", "add_arguments", "main", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    flag = arguments.settings_flags(parser, TagSettings)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model_dir", type=Path, help="learn from the labelled items of this index")
    source.add_argument(
        "--tfrecord", action="append", metavar="GLOB", help="learn from TFRecord files; may be repeated"
    )
    parser.add_argument("--save_path", type=Path, required=True, help="the folder of the run, such as exp/tags")
    parser.add_argument("--load_path", type=Path, help="a checkpoint of the same run, tags_NNN.pt, to continue")
    parser.add_argument("--labels", type=Path, metavar="CSV", help="labels by id (columns id, label or labels)")
    parser.add_argument("--label_column", help="the column of the labels, of --labels or of the index's metadata")
    parser.add_argument("--dataset", choices=sorted(datasets.LAYOUTS), help="labels of a known data set")
    parser.add_argument("--dataset_dir", type=Path, help="the folder of the data set, if not the one that was indexed")
    parser.add_argument("--wav_dir", type=Path, help="the folder that was indexed, if it has moved")
    parser.add_argument("--vocabulary", type=Path, metavar="CSV", help="for --tfrecord: names of the labels")
    parser.add_argument(
        "--features",
        nargs="+",
        metavar="NAME:SIZE",
        default=[str(spec) for spec in YOUTUBE_8M],
        help="for --tfrecord: the features, as embedding:64 of boiler export (default: %(default)s)",
    )
    parser.add_argument(
        "--encoder_of",
        type=Path,
        metavar="MODEL_DIR",
        help="for --tfrecord: the features are vectors of the encoder of this index, as boiler export writes them, so"
        " that boiler tag can use the model for it",
    )
    flag("network", str, "logistic regression, a mixture of experts, or one hidden layer", NETWORKS)
    flag("loss", str, "the loss, a sum over tags", tuple(TAG_LOSSES))
    flag("class_weight_power", float, "weigh labels by (n examples / (n tags x n of the tag)) to this power; 0: not")
    flag("classes_per_step", int, "compute so many tags in a step, those of its labels and random others: faster with"
         " thousands of tags")  # fmt: skip
    flag("l2", float, "weight decay")
    flag("lr", float, "peak learning rate, which falls to 0 over all epochs; default: 0.5 by the number of features")
    flag("batch_size", int, "examples per step")
    flag("epoch", int, "the most epochs")
    flag("patience", int, "end after so many epochs without improvement")
    flag("held_share", float, "share of the examples that is held out")
    flag("thresholds", str, "the probability from which on a tag is predicted: the best F1 score on held-out examples,"
         " or even odds, as the loss weighs them", THRESHOLDS)  # fmt: skip
    flag("seed", int, "the same seed gives the same run")
    flag("threads", int, "threads of torch; default: its own choice")


def run(args: argparse.Namespace) -> int:
    """Train, and print the report. The exit code is 1 if records are damaged, 130 or 143 if a signal stopped it."""
    with ExitStack() as stack:
        return _run(args, stack)


def _run(args: argparse.Namespace, stack: ExitStack) -> int:
    names = {field.name for field in fields(TagSettings)}
    given = {name: value for name, value in vars(args).items() if name in names}
    resume = None
    if args.load_path is not None:
        resume = trainer.load_checkpoint(args.load_path)
        settings = TagSettings(**{**resume["settings"], **given})
    else:
        settings = TagSettings(**given)
        if existing := sorted(args.save_path.glob("tags_*.pt")):
            raise CheckpointError(
                f"{args.save_path} holds a run already: continue it with --load_path {existing[-1]}, or give another"
                " --save_path"
            )
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    damages = DamageLog(lambda damage: print(printable(f"boiler: {damage}"), file=sys.stderr))
    examples: ExampleSource
    examples, tags, origin = _from_index(args) if args.model_dir is not None else _from_records(args, damages)
    if resume is not None and tuple(resume["tags"]) != tags:
        raise CheckpointError(f"{args.load_path} was trained with other tags: start another run")
    args.save_path.mkdir(parents=True, exist_ok=True)
    if isinstance(examples, TFRecordExamples):
        try:
            examples = stack.enter_context(cached(examples, args.save_path, settings.seed))
        except OSError as error:
            print(f"boiler: records are decoded in every epoch, because {error}", file=sys.stderr)
    data = split(examples, settings)
    writer = TensorBoardWriter(args.save_path, 0 if resume is None else int(resume["epoch"]) + 1)

    def on_epoch(state: TagTrainState) -> None:
        trainer.save_checkpoint(args.save_path / f"tags_{state.epoch:03}.pt", state, settings, tags)
        _delete_older(args.save_path)
        writer.scalars("tags", state.history[-1], state.epoch)

    with StopSignals() as stop:
        state = trainer.train(data, settings, resume=resume, stop=lambda: stop.requested, on_epoch=on_epoch)
    if stop.number is not None and not state.is_finished(settings):
        path = args.save_path / f"tags_{state.epoch + (state.batch > 0):03}.pt"
        trainer.save_checkpoint(path, state, settings, tags)
        writer.close()
        print(f"{path}\nboiler: stopped; continue with --load_path {path}", file=sys.stderr)
        return 128 + stop.number
    fit = trainer.finish(state, data, tags, settings)
    replace(fit.model, **origin).save(args.save_path / FILE)
    report = {
        "tags": len(tags),
        "train_examples": state.statistics.n,
        "epochs": state.epoch,
        "examples_per_s": round(state.examples_per_s),
        "damaged_records": len(damages),
        "test": fit.report,
        "settings": settings.to_plain(),
    }
    with files.replacing(args.save_path / "report.json") as aside:
        aside.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    if fit.report is not None:
        plot_reliability(fit.curves, args.save_path / "reliability.png")
        writer.scalars("test", fit.report, state.epoch)
    writer.close()
    for name, value in (fit.report or {}).items():
        print(f"{name:<28} {value:.4g}" if name != "n_examples" else f"{name:<28} {value:.0f}")
    print(f"{args.save_path / FILE}: {len(tags)} tags, {state.statistics.n} examples, {state.epoch} epochs")
    if damages:
        print(f"boiler: {len(damages)} damaged records were left out", file=sys.stderr)
    return 1 if len(damages) else 0


def split(examples: ExampleSource, settings: TagSettings) -> TagData:
    """The parts to train on, to tune and to test with. Examples of the same id, or group, are in the same part."""
    part = partial(_part, examples, seed=settings.seed)
    test, tune = 1 - settings.held_share / 2, 1 - settings.held_share
    if not settings.held_share:
        return TagData(examples, None, None)
    return TagData(part(0.0, tune), part(tune, test), part(test, 1.0))


def _part(source: ExampleSource, low: float, high: float, seed: int) -> ExampleSource:
    if isinstance(source, ArrayExamples):  # chosen once, not in every epoch
        fractions = np.array([id_fraction(group, seed) for group in source.groups or source.ids])
        return source.at(np.flatnonzero((fractions >= low) & (fractions < high)))
    if isinstance(source, CachedExamples):
        return source.between(low, high)
    return HashPart(source, low, high, seed)


def _delete_older(save_path: Path) -> None:
    for path in sorted(save_path.glob("tags_*.pt"))[:-2]:
        path.unlink()


def _from_index(args: argparse.Namespace) -> tuple[ArrayExamples, tuple[str, ...], dict[str, str]]:
    """The labelled items of an index, one example each, with the mean of its windows."""
    if args.labels is not None and args.dataset is not None:
        raise SettingsError("--labels and --dataset are given: labels come from one of them")

    def label(items: Sequence[Item], wav_dir: Path | None) -> GroundTruth:
        ids = [item.id for item in items]
        if args.dataset is not None:
            return ground_truth.from_dataset(args.dataset, ids, args.dataset_dir, wav_dir)
        if args.labels is not None:
            return ground_truth.from_csv(args.labels, ids, args.label_column)
        return ground_truth.from_catalog(items, args.label_column)

    labelled = labelled_index.open_labelled(args.model_dir, args.wav_dir, label)
    examples, tags = index_examples(labelled)
    return examples, tags, {"encoder_sha256": labelled.generation.header.encoder_sha256}


def index_examples(labelled: labelled_index.LabelledIndex) -> tuple[ArrayExamples, tuple[str, ...]]:
    """The labelled items of an index as examples, each with the mean of its windows, and their tags in order. Items of
    one group, such as clips of one recording, are not separated.

    Raises: CorpusError: fewer than two tags.
    """
    truth = labelled.truth
    tags = truth.label_names
    if len(tags) < 2:
        raise CorpusError(f"there must be two tags or more to tell apart, not {len(tags)}: {', '.join(tags)}")
    number_of = {name: number for number, name in enumerate(tags)}
    labels = [np.array(sorted({number_of[name] for name in names}), np.int64) for names in truth.labels]
    groups = truth.columns.get(truth.default_group, ())
    whole = [group or id for group, id in zip(groups, labelled.ids, strict=True)] if groups else ()
    return ArrayExamples(labelled.ids, labelled.collection.vectors, labels, len(tags), whole), tags


def _from_records(
    args: argparse.Namespace, damages: DamageLog
) -> tuple[TFRecordExamples, tuple[str, ...], dict[str, Any]]:
    """The examples of TFRecord files.

    Raises: CorpusError: a file is missing; SettingsError: what is not features, a vocabulary, or of that encoder;
    ModelDirError: --encoder_of is no index.
    """
    if args.vocabulary is None:
        raise SettingsError("--tfrecord needs the names of the labels: give --vocabulary CSV")
    tags = Vocabulary.read(args.vocabulary).names
    try:
        specs = [FeatureSpec.parse(text) for text in args.features]
    except ValueError as error:
        raise SettingsError(f"--features: {error}") from error
    source = TFRecordExamples(find_files(args.tfrecord), specs, len(tags), damages)
    origin: dict[str, Any] = {"features": tuple(args.features)}
    if args.encoder_of is not None:
        header = generation.open(args.encoder_of).header
        if source.dim != header.dim:
            raise SettingsError(
                f"--features are {source.dim} numbers, but vectors of {args.encoder_of} have {header.dim}: give"
                f" --features embedding:{header.dim}"
            )
        origin["encoder_sha256"] = header.encoder_sha256
    return source, tags, origin


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m boiler.train_tags`."""
    return arguments.command(
        argv, prog="python -m boiler.train_tags", description=__doc__, add_arguments=add_arguments, run=run
    )


if __name__ == "__main__":
    sys.exit(main())
