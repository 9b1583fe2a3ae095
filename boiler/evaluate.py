"""Measure how good the neighbours of an index are: every labelled item asked, itself left out.

    $ boiler evaluate exp/sounds/MFCCStats                                    labels as the folders name them
    $ boiler evaluate exp/esc10/vqvae_012/BagTopVQVAE --corpus esc10          and folds; other takes left out
    $ boiler evaluate exp/fsdd/MFCCStats --corpus fsdd --group none --group speaker
    $ boiler evaluate exp/loops/MFCCStats --labels loops.csv --group album
    $ boiler evaluate exp/takes/MFCCStats --group 're:^(.*)_take[0-9]+'
    $ boiler evaluate exp/loops/MFCCStats --feedback                           likes and dislikes instead of labels

Writes evaluation.json, evaluation.md and pictures to MODEL_DIR/evaluation/GENERATION/, and prints the tables. What the
measures mean stands in boiler.metrics. MFCC statistics and altered sounds need the folder that was indexed; without it
the rest is measured, and the notes say so.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from boiler import (
    __version__,
    arguments,
    atomic,
    corpus,
    labelled,
    labels,
    metrics,
    pictures,
    ranking,
    tables,
    trials,
)
from boiler.agreement import agreement
from boiler.context import context
from boiler.errors import CorpusError, QueryError
from boiler.feedback import Feedback
from boiler.labelled import Labelled
from boiler.labels import Truth
from boiler.progress import meter
from boiler.ranking import Scores
from boiler.records import Item
from boiler.robustness import Robustness
from boiler.scorecard import Context, Scorecard, Table
from boiler.snapshot import Snapshot

HUB_K = 10
SAMPLE = 5_000  # queries that tell how answers stand among random pairs


@dataclass(frozen=True)
class EvaluateSettings:
    """What to evaluate, and by which labels."""

    model_dir: Path
    labels: Path | None = None
    label_column: str | None = None
    corpus: str | None = None
    corpus_dir: Path | None = None
    wav_dir: Path | None = None
    groups: tuple[str, ...] = ()  # none given: what the source of the labels suggests
    top_labels: int | None = None
    ks: tuple[int, ...] = metrics.KS
    knn: int = 5
    robustness: int = 100
    floor: str = "auto"
    seed: int = 0
    device: str = "cpu"


@dataclass
class _Clock:
    """Where the time goes, with a bar for each stage."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        began = time.monotonic()
        with meter(what, total) as bar:
            yield bar.step
        self.seconds[what] = self.seconds.get(what, 0.0) + time.monotonic() - began


def evaluate(settings: EvaluateSettings) -> Scorecard:
    """Measure the current generation of a model directory.

    Raises: ModelDirError: no index there, or a damaged one. CorpusError: no labels for its items, or none that two
    share. UnknownNameError: a corpus, group or column that is not there.
    """
    scorecard, _ = _evaluate(settings)
    return scorecard


def _evaluate(settings: EvaluateSettings) -> tuple[Scorecard, Labelled]:
    began, worked, clock, notes = time.monotonic(), time.process_time(), _Clock(), list[str]()
    index = labelled.open(settings.model_dir, settings.wav_dir, lambda items, place: _truth(settings, items, place))
    opened, truth = index.opened, index.truth
    with clock.timed(trials.FLOOR, len(index.items)) as step:
        floor = trials.floor(index, settings.floor, step)
    if isinstance(floor, str):
        notes.append(f"No floor of {trials.FLOOR}: {floor}.")
    collections = [index.collection, *([] if isinstance(floor, str) else [floor])]
    found: list[Table] = []
    scores: list[Scores] = []
    for group in settings.groups or (truth.default_group,):
        numbers = truth.group(group, index.ids)
        with clock.timed(f"ranking ({group})", len(collections) * len(index.items)) as step:
            scores = [
                ranking.score(labelled.grouped(one, numbers), index.labels, ks=settings.ks, step=step)
                for one in collections
            ]
        if not len(scores[0].queries):
            outside = "" if group == labels.NO_GROUP else f" outside its {group}"
            raise CorpusError(f"no sound has another of its label{outside}: there is nothing to measure")
        found.append(tables.table(group, truth, scores, seed=settings.seed))
    with clock.timed("kNN", 1):
        knn = tables.knn(truth, collections, settings.knn)
    with clock.timed("hubness", len(collections) * len(index.items)) as step:
        hubs = [metrics.hubness(ranking.neighbours(one, HUB_K, step=step), len(one)) for one in collections]
    with clock.timed("context", 1):
        placed = _context(index, scores[0], settings.seed)
    with clock.timed("engine", 1):
        recall = trials.engine_recall(index, settings.seed)
    with clock.timed("words", 1):
        used = trials.words(index, settings.seed, settings.device)
    robust: dict[str, Robustness] | str = {}
    if settings.robustness:
        with clock.timed("robustness", settings.robustness) as step:
            robust = trials.robustness(index, settings.robustness, settings.seed, settings.device, step)
    if isinstance(robust, str):
        notes.append(f"No altered sounds: {robust}.")
        robust = {}
    clock.seconds |= {"in all": time.monotonic() - began, "of one processor": time.process_time() - worked}
    scorecard = Scorecard(
        boiler_version=__version__,
        generation=opened.name,
        encoder=opened.header.encoder,
        dim=opened.header.dim,
        n_items=index.n_items,
        n_rows=opened.header.n_rows,
        n_evaluated=len(index.items),
        n_without_label=index.n_items - len(index.items),
        source=truth.source,
        n_labels=len(truth.names),
        several=truth.several,
        floor=trials.FLOOR,
        tables=found,
        knn=knn,
        hubness=hubs[0],
        floor_hubness=hubs[1] if len(hubs) > 1 else None,
        engine=recall,
        words=used,
        context=placed,
        robustness=robust,
        notes=notes,
        seconds=clock.seconds,
        seed=settings.seed,
    )
    return scorecard, index


def _truth(settings: EvaluateSettings, items: Sequence[Item], wav_dir: Path | None) -> Truth:
    ids = [item.id for item in items]
    if settings.corpus is not None:
        truth = labels.from_corpus(settings.corpus, ids, settings.corpus_dir, wav_dir)
    elif settings.labels is not None:
        truth = labels.from_csv(settings.labels, ids, settings.label_column)
    else:
        truth = labels.from_catalogue(items, settings.label_column)
    return truth if settings.top_labels is None else truth.keeping(settings.top_labels)


def _context(index: Labelled, scores: Scores, seed: int) -> Context:
    """How the first answers stand among random pairs, for a sample of the queries."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(scores.queries))[:SAMPLE])
    queries, near = scores.queries[chosen], scores.neighbours[chosen]
    distances, gains = np.full(near.shape, np.nan), np.full(near.shape, np.nan)
    share = metrics.shared_tags if index.truth.several else metrics.shared_labels
    named = index.labels
    size = max(1, ranking.BLOCK_KEYS // len(index.items))
    for start in range(0, len(queries), size):
        block = slice(start, start + size)
        cosines = index.collection.answers(index.collection.vectors[queries[block]])
        right = share(named[queries[block]], named)  # type: ignore[arg-type]  # each its own kind
        places = np.maximum(near[block], 0)
        there = near[block] >= 0
        angular = np.sqrt(np.maximum(2 * (1 - np.take_along_axis(cosines, places, 1)), 0))
        distances[block] = np.where(there, angular, np.nan)
        gains[block] = np.where(there, np.take_along_axis(right, places, 1), np.nan)
    opened = index.opened
    return context(opened.pairs, opened.vectors, opened.rows["n"], distances, gains, seed=seed)


def draw(scorecard: Scorecard, index: Labelled, folder: Path) -> list[Path]:
    """The pictures of a scorecard: the files that were written."""
    truth, files = index.truth, []
    title = f"{scorecard.encoder}, {len(index.items):,} sounds of {truth.source}"

    def picture(name: str, make: Callable[[Path], None]) -> None:
        with atomic.replacing(folder / name) as aside:
            make(aside)
        files.append(folder / name)

    table = scorecard.tables[-1]
    if table.confusion is not None and len(truth.names) <= pictures.MOST_CLASSES:
        shares = np.array(table.confusion)
        told = f"{title}\nthe first {table.confusion_k} answers, %"
        picture("confusion.png", lambda path: pictures.confusion(path, shares, truth.names, told))
    measure = "P@10" if "P@10" in table.classes[0].encoder else next(iter(table.classes[0].encoder))
    values = {scorecard.encoder: np.array([line.encoder[measure] for line in table.classes])}
    if table.classes[0].floor is not None:
        values[scorecard.floor] = np.array([(line.floor or {})[measure] for line in table.classes])
    chance = next(line.chance for line in table.lines if line.measure == measure)
    named = [line.label for line in table.classes]
    picture("per_class.png", lambda path: pictures.per_class(path, named, values, chance, measure, title))
    vectors, numbers = index.collection.vectors, truth.numbers()
    picture("map.png", lambda path: pictures.map_of(path, vectors, numbers, truth.names, title))
    return files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model_dir", type=Path, metavar="MODEL_DIR", help="what boiler index wrote")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--labels", type=Path, metavar="CSV", help="columns id and label (or labels, parted by ;)")
    which.add_argument("--corpus", metavar="NAME", help=f"a known data set: {', '.join(corpus.TABLE)}")
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
        help=f"MFCC statistics beside it (auto: up to {trials.FLOOR_UP_TO:,} sounds)",
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
            with atomic.replacing(folder / name) as aside:
                aside.write_text(text, encoding="utf-8")
        files = draw(scorecard, index, folder)
    except OSError as error:
        raise QueryError(f"{folder} cannot be written ({error}): name another folder with --out") from error
    print(markdown)
    print(f"{folder}: evaluation.json, evaluation.md, {', '.join(path.name for path in files)}")
    return 0


def _feedback(model_dir: Path) -> int:
    snapshot, store = Snapshot.open(model_dir), Feedback(model_dir)
    if not store.begun:
        raise QueryError(f"nothing was judged yet in {model_dir}: like or dislike an answer first")
    print(agreement(snapshot, store).to_markdown())
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return arguments.command(
        argv, prog="python -m boiler.evaluate", description=__doc__, add_arguments=add_arguments, run=run
    )


if __name__ == "__main__":
    sys.exit(main())
