"""Evaluate an index: every labelled item a query, itself left out, against the labels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from boiler import __version__
from boiler import files as files_module
from boiler.catalog.items import Item
from boiler.engine.distance import angular_distance
from boiler.errors import CorpusError
from boiler.evaluation import aggregate, checks, ground_truth, labelled_index, metrics, plots, ranking
from boiler.evaluation.calibration import context
from boiler.evaluation.ground_truth import Truth
from boiler.evaluation.labelled_index import Labelled
from boiler.evaluation.ranking import Scores
from boiler.evaluation.robustness import Robustness
from boiler.evaluation.scorecard import Context, Scorecard, Table
from boiler.progress import meter

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
    index = labelled_index.open(
        settings.model_dir, settings.wav_dir, lambda items, place: _truth(settings, items, place)
    )
    opened, truth = index.opened, index.truth
    with clock.timed(checks.FLOOR, len(index.items)) as step:
        floor = checks.floor(index, settings.floor, step)
    if isinstance(floor, str):
        notes.append(f"No floor of {checks.FLOOR}: {floor}.")
    collections = [index.collection, *([] if isinstance(floor, str) else [floor])]
    found: list[Table] = []
    scores: list[Scores] = []
    for group in settings.groups or (truth.default_group,):
        numbers = truth.group(group, index.ids)
        with clock.timed(f"ranking ({group})", len(collections) * len(index.items)) as step:
            scores = [
                ranking.score(labelled_index.grouped(one, numbers), index.labels, ks=settings.ks, step=step)
                for one in collections
            ]
        if not len(scores[0].queries):
            outside = "" if group == ground_truth.NO_GROUP else f" outside its {group}"
            raise CorpusError(f"no sound has another of its label{outside}: there is nothing to measure")
        found.append(aggregate.table(group, truth, scores, seed=settings.seed))
    with clock.timed("kNN", 1):
        knn = aggregate.knn(truth, collections, settings.knn)
    with clock.timed("hubness", len(collections) * len(index.items)) as step:
        hubs = [metrics.hubness(ranking.neighbours(one, HUB_K, step=step), len(one)) for one in collections]
    with clock.timed("context", 1):
        placed = _context(index, scores[0], settings.seed)
    with clock.timed("engine", 1):
        recall = checks.engine_recall(index, settings.seed)
    with clock.timed("words", 1):
        used = checks.words(index, settings.seed, settings.device)
    robust: dict[str, Robustness] | str = {}
    if settings.robustness:
        with clock.timed("robustness", settings.robustness) as step:
            robust = checks.robustness(index, settings.robustness, settings.seed, settings.device, step)
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
        floor=checks.FLOOR,
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
        truth = ground_truth.from_corpus(settings.corpus, ids, settings.corpus_dir, wav_dir)
    elif settings.labels is not None:
        truth = ground_truth.from_csv(settings.labels, ids, settings.label_column)
    else:
        truth = ground_truth.from_catalog(items, settings.label_column)
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
        angular = angular_distance(np.take_along_axis(cosines, places, 1))
        distances[block] = np.where(there, angular, np.nan)
        gains[block] = np.where(there, np.take_along_axis(right, places, 1), np.nan)
    opened = index.opened
    return context(opened.pairs, opened.vectors, opened.rows["n"], distances, gains, seed=seed)


def draw(scorecard: Scorecard, index: Labelled, folder: Path) -> list[Path]:
    """The pictures of a scorecard: the files that were written."""
    truth, files = index.truth, []
    title = f"{scorecard.encoder}, {len(index.items):,} sounds of {truth.source}"

    def picture(name: str, make: Callable[[Path], None]) -> None:
        with files_module.replacing(folder / name) as aside:
            make(aside)
        files.append(folder / name)

    table = scorecard.tables[-1]
    if table.confusion is not None and len(truth.names) <= plots.MOST_CLASSES:
        shares = np.array(table.confusion)
        told = f"{title}\nthe first {table.confusion_k} answers, %"
        picture("confusion.png", lambda path: plots.confusion(path, shares, truth.names, told))
    measure = "P@10" if "P@10" in table.classes[0].encoder else next(iter(table.classes[0].encoder))
    values = {scorecard.encoder: np.array([line.encoder[measure] for line in table.classes])}
    if table.classes[0].floor is not None:
        values[scorecard.floor] = np.array([(line.floor or {})[measure] for line in table.classes])
    chance = next(line.chance for line in table.lines if line.measure == measure)
    named = [line.label for line in table.classes]
    picture("per_class.png", lambda path: plots.per_class(path, named, values, chance, measure, title))
    vectors, numbers = index.collection.vectors, truth.numbers()
    picture("map.png", lambda path: plots.map_of(path, vectors, numbers, truth.names, title))
    return files
