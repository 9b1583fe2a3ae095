"""Tag models on made-up records in the form of YouTube-8M, whose true probabilities are known.

    $ python -m exp.studies.tags_records make /tmp/records --n 200000 --classes 3862
    $ python -m exp.studies.tags_records compare /tmp/records --n 180000 --common 50 --rare 50 --random 100
    $ python -m exp.studies.tags_records rare /tmp/records

A record is a point in `LATENT` dimensions; its 1,152 features are a random projection of it, with noise. The log-odds of
a tag are linear in the point. The frequencies of tags follow Zipf's law, so that the first is in some 20 % of the
records and most are in fewer than 1 of 1,000; a record has about three labels.

`compare`: our linear model against scikit-learn's logistic regression, one for each tag, fitted to the same records, the
first n, with the same weight decay; both are measured on the last tenth of the records by the same code. The tags are
the most frequent and the rarest ones, and others drawn at random. `rare`: recall of the rarest decile of tags by the power of the class weights.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from boiler import arguments
from boiler.arrays import Int64Array
from boiler.tagging.examples import ArrayExamples, TFRecordExamples, find_files
from boiler.tagging.metrics import TagMetrics
from boiler.tagging.settings import TagSettings
from boiler.tagging.tfrecord import YOUTUBE_8M, encode_example, write_records
from boiler.tagging.trainer import TagData, evaluate, fit
from boiler.tagging.vocabulary import Vocabulary

LATENT = 32
NOISE = 0.5
PER_FILE = 10_000
DIM = sum(spec.size for spec in YOUTUBE_8M)


def records(n: int, n_classes: int, seed: int) -> Iterator[bytes]:
    """Encoded examples."""
    rng = np.random.default_rng(seed)
    projection = rng.normal(0, 1 / np.sqrt(LATENT), (LATENT, DIM)).astype(np.float32)
    weights = rng.normal(0, 2.5 / np.sqrt(LATENT), (LATENT, n_classes)).astype(np.float32)
    shares = 0.2 / (1 + np.arange(n_classes)) ** 0.8
    shares *= min(1.0, 3 / shares.sum()) if n_classes > 100 else 1.0
    # A logistic function of a normal variable of deviation 2.5 is flatter than one of its mean.
    biases = (np.log(shares / (1 - shares)) * np.sqrt(1 + np.pi * 2.5**2 / 8)).astype(np.float32)
    counts = np.zeros(n_classes, np.int64)
    for start in range(0, n, 1_000):
        points = rng.normal(size=(min(1_000, n - start), LATENT)).astype(np.float32)
        features = points @ projection + NOISE * rng.normal(size=(len(points), DIM)).astype(np.float32)
        labels = rng.random((len(points), n_classes)) < 1 / (1 + np.exp(-(points @ weights + biases)))
        counts += labels.sum(axis=0)
        for row, one in enumerate(features):
            yield encode_example(
                {
                    "id": [b"%d" % (start + row)],
                    "labels": np.flatnonzero(labels[row]),
                    "mean_rgb": one[:1024],
                    "mean_audio": one[1024:],
                }
            )


def make(args: argparse.Namespace) -> int:
    args.folder.mkdir(parents=True, exist_ok=True)
    source = records(args.n, args.classes, seed=0)
    for number in range(-(-args.n // PER_FILE)):
        part = (one for _, one in zip(range(PER_FILE), source))  # noqa: B905  # the first is the shorter
        write_records(args.folder / f"records-{number:03}.tfrecord", part)
    Vocabulary(tuple(f"tag {number}" for number in range(args.classes))).write(args.folder / "vocabulary.csv")
    return 0


def chosen_tags(args: argparse.Namespace) -> Int64Array:
    """The classes to use; the first is the most frequent."""
    n_classes = len(Vocabulary.read(args.folder / "vocabulary.csv").names)
    others = np.arange(args.common, n_classes - args.rare)
    drawn = np.random.default_rng(0).choice(others, min(args.random, len(others)), replace=False)
    return np.sort(np.concatenate([np.arange(args.common), drawn, np.arange(n_classes - args.rare, n_classes)]))


def read(folder: Path, n: int, tags: Int64Array) -> tuple[ArrayExamples, ArrayExamples]:
    """The first n records, and the last tenth of all, with these classes as labels."""
    names = Vocabulary.read(folder / "vocabulary.csv").names
    source = TFRecordExamples(find_files([str(folder / "*.tfrecord")]), YOUTUBE_8M, len(names), print)
    n_files = len(source.paths)

    def arrays(paths: Sequence[Path], limit: int) -> ArrayExamples:
        found = [one for _, one in zip(range(limit), replace(source, paths=paths).examples())]  # noqa: B905
        labels = [np.flatnonzero(np.isin(tags, one.labels)) for one in found]
        return ArrayExamples([one.id for one in found], np.stack([one.features for one in found]), labels, len(tags))

    n_test = -(-n_files // 10)
    return arrays(source.paths[:-n_test], n), arrays(source.paths[-n_test:], n)


def show(name: str, report: dict[str, Any], seconds: float) -> None:
    shown = ("hit_at_1", "gap", "map", "perr", "recall_of_rarest_decile", "calibration_error")
    print(
        f"{name:<24}",
        *(f"{key} {report[key]:.4f} " for key in shown if key in report),
        f"({seconds:.0f} s)",
        flush=True,
    )


def compare(args: argparse.Namespace) -> int:
    from sklearn.linear_model import LogisticRegression

    classes = chosen_tags(args)
    train, test = read(args.folder, args.n, classes)
    n_tags = len(classes)
    tags = tuple(f"tag {number}" for number in classes)
    settings = TagSettings(
        l2=args.decay,
        lr=args.lr,
        epoch=args.epoch,
        patience=args.epoch,
        batch_size=args.batch_size,
        thresholds="even_odds",
    )
    began = time.monotonic()
    ours = fit(TagData(train, None, test), tags, settings)
    assert ours.report is not None
    show("boiler", ours.report, time.monotonic() - began)
    began = time.monotonic()
    mean, std = train.features.mean(axis=0), train.features.std(axis=0)
    scaled, scaled_test = (train.features - mean) / std, (test.features - mean) / std
    truth = np.zeros((len(train.ids), n_tags), bool)
    for row, labels in enumerate(train.labels):
        truth[row, labels] = True
    logits = np.full((len(test.ids), n_tags), -18.0, np.float32)
    for tag in np.flatnonzero(truth.any(axis=0)):
        model = LogisticRegression(C=1 / (args.decay * len(truth)), max_iter=2_000).fit(scaled, truth[:, tag])
        logits[:, tag] = model.decision_function(scaled_test)
    metrics = TagMetrics(np.full(n_tags, 0.5, np.float32))
    rows = np.repeat(np.arange(len(test.ids)), [len(labels) for labels in test.labels])
    metrics.add(logits, rows, np.concatenate(list(test.labels)))
    theirs = metrics.results() | {"recall_of_rarest_decile": metrics.recall_of_rarest()}
    show("scikit-learn", theirs, time.monotonic() - began)
    gaps = {name: abs(ours.report[name] - theirs[name]) for name in ("hit_at_1", "gap", "map", "perr")}
    print("difference", json.dumps({name: round(value, 4) for name, value in gaps.items()}))
    return int(max(gaps["hit_at_1"], gaps["gap"]) > 0.005)


def rare(args: argparse.Namespace) -> int:
    classes = chosen_tags(args)
    train, test = read(args.folder, args.n, classes)
    tags = tuple(f"tag {number}" for number in classes)
    half = np.arange(len(test.ids)) % 2 == 0
    data = TagData(train, test.at(np.flatnonzero(half)), test.at(np.flatnonzero(~half)))
    for power in (0.0, 1.0, 1.5):
        began = time.monotonic()
        settings = TagSettings(
            class_weight_power=power, epoch=args.epoch, batch_size=args.batch_size, thresholds="even_odds"
        )
        made = fit(data, tags, settings)
        report, _ = evaluate(made.model, data.test) if data.test is not None else (None, {})
        assert report is not None
        show(f"power {power}", report, time.monotonic() - began)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    actions = {"make": make, "compare": compare, "rare": rare}

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("action", choices=actions)
        parser.add_argument("folder", type=Path)
        parser.add_argument("--n", type=arguments.at_least_1, default=10_000, help="records (default: %(default)s)")
        parser.add_argument(
            "--classes", type=arguments.at_least_1, default=3_862, help="of `make` (default: %(default)s)"
        )
        for name, default in (("common", 50), ("rare", 0), ("random", 0)):
            parser.add_argument(f"--{name}", type=int, default=default, help="tags (default: %(default)s)")
        parser.add_argument("--decay", type=float, default=0.05, help="of `compare` (default: %(default)s)")
        parser.add_argument("--lr", type=float, default=2e-3, help="of `compare` (default: %(default)s)")
        parser.add_argument("--batch_size", type=arguments.at_least_1, default=512, help="(default: %(default)s)")
        parser.add_argument("--epoch", type=arguments.at_least_1, default=120, help="epochs (default: %(default)s)")

    return arguments.command(
        argv,
        prog="tags_records",
        description=__doc__,
        add_arguments=add_arguments,
        run=lambda args: actions[args.action](args),
    )


if __name__ == "__main__":
    sys.exit(main())
