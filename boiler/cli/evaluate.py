"""Measure how good the neighbours of an index are: every labelled item asked, itself left out.

    $ boiler evaluate exp/sounds/MFCCStats                                    labels as the folders name them
    $ boiler evaluate exp/esc10/vqvae_012/BagTopVQVAE --corpus esc10          and folds; other takes left out
    $ boiler evaluate exp/fsdd/MFCCStats --corpus fsdd --group none --group speaker
    $ boiler evaluate exp/loops/MFCCStats --labels loops.csv --group album
    $ boiler evaluate exp/takes/MFCCStats --group 're:^(.*)_take[0-9]+'
    $ boiler evaluate exp/loops/MFCCStats --feedback                           likes and dislikes instead of labels

Writes evaluation.json, evaluation.md and pictures to MODEL_DIR/evaluation/GENERATION/, and prints the tables. What the
measures mean stands in boiler.evaluation.metrics. MFCC statistics and altered sounds need the folder that was indexed; without it
the rest is measured, and the notes say so.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from boiler import arguments
from boiler import files as files_module
from boiler.errors import QueryError
from boiler.evaluation import checks, datasets, metrics
from boiler.evaluation.evaluate import EvaluateSettings, _evaluate, draw
from boiler.evaluation.feedback_agreement import agreement
from boiler.search.feedback import FeedbackStore
from boiler.search.snapshot import Snapshot


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model_dir", type=Path, metavar="MODEL_DIR", help="what boiler index wrote")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--labels", type=Path, metavar="CSV", help="columns id and label (or labels, parted by ;)")
    which.add_argument("--corpus", metavar="NAME", help=f"a known data set: {', '.join(datasets.TABLE)}")
    which.add_argument(
        "--feedback", action="store_true", help="only: do the stored likes and dislikes agree with the ranking?"
    )
    parser.add_argument("--label_column", metavar="NAME", help="the column of the table, or of the metadata, to take")
    parser.add_argument("--corpus_dir", type=Path, metavar="DIR", help="root of the data set, if not what was indexed")
    parser.add_argument("--wav_dir", type=Path, metavar="DIR", help="where the indexed folder lies now")
    parser.add_argument(
        "--group",
        action="append",
        metavar="GROUP",
        help="what must not answer for each other: a column (recording, speaker, album, ...), folder, none, or"
        " re:PATTERN on the id; several times for several tables (default: what the data set suggests)",
    )
    parser.add_argument("--top_labels", type=int, metavar="N", help="keep the N most frequent labels alone")
    parser.add_argument("--k", type=int, nargs="+", default=list(metrics.KS), help="cut-offs (default 1 5 10)")
    parser.add_argument("--knn", type=int, default=5, metavar="K", help="neighbours that vote, where there are folds")
    parser.add_argument(
        "--robustness", type=int, default=100, metavar="N", help="sounds to alter and ask for (default 100; 0: none)"
    )
    parser.add_argument(
        "--floor",
        choices=("auto", "always", "never"),
        default="auto",
        help=f"MFCC statistics beside it (auto: up to {checks.FLOOR_UP_TO:,} sounds)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default MODEL_DIR/evaluation/...)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")


def run(args: argparse.Namespace) -> int:
    if args.feedback:
        return _feedback(args.model_dir)
    for name, least in (("knn", 1), ("robustness", 0), ("top_labels", 1), ("seed", 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise QueryError(f"--{name} {value}: at least {least} is needed")
    if min(args.k) < 1:
        raise QueryError(f"--k {min(args.k)}: at least 1 is needed")
    settings = EvaluateSettings(
        model_dir=args.model_dir,
        labels=args.labels,
        label_column=args.label_column,
        corpus=args.corpus,
        corpus_dir=args.corpus_dir,
        wav_dir=args.wav_dir,
        groups=tuple(args.group or ()),
        top_labels=args.top_labels,
        ks=tuple(sorted(set(args.k))),
        knn=args.knn,
        robustness=args.robustness,
        floor=args.floor,
        seed=args.seed,
        device=args.device,
    )
    scorecard, index = _evaluate(settings)
    folder = args.out or settings.model_dir / "evaluation" / scorecard.generation
    markdown = scorecard.to_markdown()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (("evaluation.json", scorecard.to_json()), ("evaluation.md", markdown)):
            with files_module.replacing(folder / name) as aside:
                aside.write_text(text, encoding="utf-8")
        files = draw(scorecard, index, folder)
    except OSError as error:
        raise QueryError(f"{folder} cannot be written ({error}): name another folder with --out") from error
    print(markdown)
    print(f"{folder}: evaluation.json, evaluation.md, {', '.join(path.name for path in files)}")
    return 0


def _feedback(model_dir: Path) -> int:
    snapshot, store = Snapshot.open(model_dir), FeedbackStore(model_dir)
    if not store.exists:
        raise QueryError(f"nothing was judged yet in {model_dir}: like or dislike an answer first")
    print(agreement(snapshot, store).to_markdown())
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return arguments.command(argv, prog="boiler evaluate", description=__doc__, add_arguments=add_arguments, run=run)


if __name__ == "__main__":
    sys.exit(main())
