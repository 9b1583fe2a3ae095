"""Measure how good the neighbours of an index are: leave-one-out over all labelled items.

    $ boiler evaluate exp/sounds/MFCCStats                                    labels: names of folders, or metadata
    $ boiler evaluate exp/esc10/vqvae_012/BagTopVQVAE --dataset esc10         other takes of a recording excluded
    $ boiler evaluate exp/fsdd/MFCCStats --dataset fsdd --group none --group speaker
    $ boiler evaluate exp/loops/MFCCStats --labels loops.csv --group album
    $ boiler evaluate exp/takes/MFCCStats --group 're:^(.*)_take[0-9]+'
    $ boiler evaluate exp/loops/MFCCStats --feedback                          likes and dislikes instead of labels
    $ boiler evaluate exp/esc10/JoinedGeneral --zero_shot words               names of classes that were not seen
    $ boiler evaluate exp/esc10/JoinedGeneral --zero_shot pictures --pictures class_pictures

Prints tables, and writes them with evaluation.json and plots to MODEL_DIR/evaluation/GENERATION/. The measures are
defined in boiler.evaluation.metrics. The MFCC baseline and the robustness need the folder that was indexed; without it
they are left out, with a note.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from boiler import arguments
from boiler.errors import QueryError, SettingsError
from boiler.evaluation import checks, datasets, metrics
from boiler.evaluation.evaluate import EvaluateSettings, evaluate, open_index
from boiler.evaluation.feedback_agreement import measure_agreement
from boiler.evaluation.report import ZERO_SHOT_FILE, default_folder, write_report, write_text
from boiler.evaluation.zero_shot import evaluate_zero_shot
from boiler.search.feedback import open_feedback
from boiler.search.snapshot import Snapshot
from boiler.vision import image_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model_dir", type=Path, metavar="MODEL_DIR", help="the index")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--labels",
        type=Path,
        metavar="CSV",
        help="a table with the columns id and label (or labels, separated by semicolons)",
    )
    dataset = source.add_argument("--dataset", metavar="NAME", help=f"a known data set: {', '.join(datasets.LAYOUTS)}")
    source.add_argument(
        "--feedback",
        action="store_true",
        help="measure only whether the stored likes and dislikes agree with the ranking",
    )
    parser.add_argument(
        "--feedback_url", metavar="URL", help="with --feedback: likes and dislikes in PostgreSQL, not in a file"
    )
    parser.add_argument("--label_column", metavar="NAME", help="the column of labels, in the table or the metadata")
    dataset_dir = parser.add_argument(
        "--dataset_dir", type=Path, metavar="DIR", help="root of the data set, if not the folder that was indexed"
    )
    parser.add_argument("--wav_dir", type=Path, metavar="DIR", help="the folder that was indexed, if it has moved")
    parser.add_argument(
        "--group",
        action="append",
        metavar="GROUP",
        help="items of one group are excluded from each other's answers: a column (recording, speaker, album, ...),"
        " folder, none, or re:PATTERN on the id; repeat it for more tables (default: what the data set suggests)",
    )
    parser.add_argument("--top_labels", type=int, metavar="N", help="keep only the N most frequent labels")
    parser.add_argument("--k", type=int, nargs="+", default=list(metrics.KS), help="cut-offs (default 1 5 10)")
    parser.add_argument(
        "--knn", type=int, default=5, metavar="K", help="number of neighbours that vote, if there are folds"
    )
    parser.add_argument(
        "--robustness", type=int, default=100, metavar="N", help="sounds to alter and query (default 100; 0: none)"
    )
    baseline = parser.add_argument(
        "--baseline",
        choices=("auto", "always", "never"),
        default="auto",
        help=f"whether to measure MFCC statistics too (auto: for up to {checks.MAX_BASELINE_SOUNDS:,} sounds)",
    )
    parser.add_argument(
        "--zero_shot",
        choices=("words", "pictures"),
        help="measure only whether words, or pictures of --pictures, find sounds of unseen classes: over ten random "
        "halves of the labels",
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="with --zero_shot pictures: DIR/CLASS/*.jpg, or DIR/CLASS.jpg (the names of the labels)",
    )
    parser.add_argument(
        "--unseen",
        type=int,
        metavar="FOLD",
        help="with --zero_shot: only this one of the halves, 0 to 9 (default: all)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="output folder (default MODEL_DIR/evaluation/...)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="where the encoder runs (default cpu)")
    image_model.add_arguments(parser)
    arguments.add_renamed(source, "--corpus", dataset)
    arguments.add_renamed(parser, "--corpus_dir", dataset_dir)
    arguments.add_renamed(parser, "--floor", baseline)


def run(args: argparse.Namespace) -> int:
    if args.feedback:
        return _print_agreement(args.model_dir, args.feedback_url)
    if args.feedback_url:
        raise SettingsError("--feedback_url says where the feedback is: give --feedback, too")
    for name, least in (("knn", 1), ("robustness", 0), ("top_labels", 1), ("seed", 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise QueryError(f"--{name} is {value}: it must be at least {least}")
    if min(args.k) < 1:
        raise QueryError(f"--k is {min(args.k)}: it must be at least 1")
    if args.unseen is not None and args.zero_shot is None:
        raise QueryError("--unseen is an option of --zero_shot")
    if (args.pictures is not None) != (args.zero_shot == "pictures"):
        raise QueryError("--zero_shot pictures and --pictures DIR belong together")
    settings = EvaluateSettings(
        model_dir=args.model_dir,
        labels=args.labels,
        label_column=args.label_column,
        dataset=args.dataset,
        dataset_dir=args.dataset_dir,
        wav_dir=args.wav_dir,
        groups=tuple(args.group or ()),
        top_labels=args.top_labels,
        ks=tuple(sorted(set(args.k))),
        knn=args.knn,
        robustness=args.robustness,
        baseline=args.baseline,
        seed=args.seed,
        device=args.device,
    )
    if args.zero_shot is not None:
        return _print_zero_shot(settings, args)
    evaluation = evaluate(settings)
    folder = args.out or default_folder(args.model_dir, evaluation.scorecard.generation)
    written = write_report(evaluation, folder)
    print(evaluation.scorecard.to_markdown())
    print(f"{folder}: {', '.join(path.name for path in written)}")
    return 0


def _print_zero_shot(settings: EvaluateSettings, args: argparse.Namespace) -> int:
    index = open_index(settings)
    network = image_model.from_arguments(args)
    found = evaluate_zero_shot(
        index, unseen=args.unseen, seed=settings.seed, pictures=args.pictures, image_model=network
    )
    folder = args.out or default_folder(settings.model_dir, index.generation.name)
    path = write_text(folder, ZERO_SHOT_FILE, found.to_json())
    print(found.to_markdown())
    print(path)
    return 0


def _print_agreement(model_dir: Path, feedback_url: str | None) -> int:
    with closing(open_feedback(model_dir, feedback_url)) as feedback:
        if not feedback.exists:
            raise QueryError(f"{model_dir} has no feedback yet: like or dislike an answer first")
        print(measure_agreement(Snapshot.open(model_dir), feedback).to_markdown())
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return arguments.command(argv, prog="boiler evaluate", description=__doc__, add_arguments=add_arguments, run=run)


if __name__ == "__main__":
    sys.exit(main())
