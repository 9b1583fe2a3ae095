"""Evaluate an index: leave-one-out over all labelled items, measured against their labels.

>>> from boiler.evaluation.evaluate import EvaluateSettings, evaluate
>>> scorecard = evaluate(EvaluateSettings(Path("exp/esc10/MFCCStats"), dataset="esc10")).scorecard  # doctest: +SKIP
>>> print(scorecard.to_markdown())  # doctest: +SKIP
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from boiler import __version__
from boiler.catalog.items import Item
from boiler.deprecated import renamed_arguments
from boiler.engine.distance import angular_distance
from boiler.errors import CorpusError
from boiler.evaluation import aggregate, checks, ground_truth, labelled_index, metrics, ranking
from boiler.evaluation.calibration import calibrate
from boiler.evaluation.ground_truth import GroundTruth
from boiler.evaluation.labelled_index import LabelledIndex
from boiler.evaluation.ranking import Scores
from boiler.evaluation.robustness import Robustness
from boiler.evaluation.scorecard import Calibration, ResultTable, Scorecard
from boiler.progress import meter

HUB_K = 10
CALIBRATION_QUERIES = 5_000


@renamed_arguments(corpus="dataset", corpus_dir="dataset_dir", floor="baseline")
@dataclass(frozen=True)
class EvaluateSettings:
    """What to evaluate, and by which labels.

    model_dir: the index
    labels: a CSV file with labels (see `boiler.evaluation.ground_truth`)
    label_column: its column of labels; without a file, a column of the index's metadata
    dataset: a known data set (see `boiler.evaluation.datasets`)
    dataset_dir: its root, if that is not the folder that was indexed
    wav_dir: the folder that was indexed, if it has moved
    groups: items of one group are excluded from each other's answers; one result table each. Empty: the group that the
        source of the labels suggests
    top_labels: keep only this many labels, the most frequent
    ks: cut-offs of the measures
    knn: number of neighbours that vote, if there are folds
    robustness: number of sounds to alter; 0 for none
    baseline: whether MFCC statistics are evaluated for comparison: `auto`, `always` or `never`
    seed: of the samples and of the bootstrap
    device: of the encoder
    """

    model_dir: Path
    labels: Path | None = None
    label_column: str | None = None
    dataset: str | None = None
    dataset_dir: Path | None = None
    wav_dir: Path | None = None
    groups: tuple[str, ...] = ()
    top_labels: int | None = None
    ks: tuple[int, ...] = metrics.KS
    knn: int = 5
    robustness: int = 100
    baseline: str = "auto"
    seed: int = 0
    device: str = "cpu"


class Evaluation(NamedTuple):
    """The results, and the labelled index that they were computed from."""

    scorecard: Scorecard
    labelled: LabelledIndex


@dataclass
class _Stages:
    """Shows the progress of each stage, and records its duration in seconds."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        began = time.monotonic()
        with meter(name, total) as bar:
            yield bar.step
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - began


def evaluate(settings: EvaluateSettings) -> Evaluation:
    """Evaluate the current generation of a model directory.

    Raises: ModelDirError: no index there, or a damaged one. CorpusError: no item has a label, or no two items share
    one. UnknownNameError: no such data set, group or column.
    """
    began, cpu_began, stages, notes = time.monotonic(), time.process_time(), _Stages(), list[str]()
    index = open_index(settings)
    header, truth = index.generation.header, index.truth

    with stages.stage(checks.BASELINE, len(index.items)) as advance:
        baseline = checks.compute_baseline(index, settings.baseline, advance)
    if isinstance(baseline, str):
        notes.append(f"No baseline ({checks.BASELINE}): {baseline}.")
    collections = [index.collection, *([] if isinstance(baseline, str) else [baseline])]

    tables: list[ResultTable] = []
    scores: list[Scores] = []
    for group in settings.groups or (truth.default_group,):
        groups = truth.group_indices(group, index.ids)
        with stages.stage(f"ranking ({group})", len(collections) * len(index.items)) as advance:
            scores = [
                ranking.score_queries(
                    labelled_index.with_groups(collection, groups), index.labels, ks=settings.ks, advance=advance
                )
                for collection in collections
            ]
        if not len(scores[0].queries):
            outside = "" if group == ground_truth.NO_GROUP else f" outside of its {group}"
            raise CorpusError(f"no sound shares its label with another one{outside}: there is nothing to measure")
        tables.append(aggregate.result_table(group, truth, scores, seed=settings.seed))

    with stages.stage("kNN", 1):
        knn = aggregate.knn_result(truth, collections, settings.knn)
    with stages.stage("hubness", len(collections) * len(index.items)) as advance:
        hubness = [
            metrics.hubness(ranking.neighbours(collection, HUB_K, advance=advance), len(collection))
            for collection in collections
        ]
    with stages.stage("calibration", 1):
        calibration = _calibration(index, scores[0], settings.seed)
    with stages.stage("engine", 1):
        engine_recall = checks.measure_engine_recall(index, settings.seed)
    with stages.stage("codebook", 1):
        codebook = checks.measure_codebook(index, settings.seed, settings.device)
    robustness: dict[str, Robustness] | str = {}
    if settings.robustness:
        with stages.stage("robustness", settings.robustness) as advance:
            robustness = checks.measure_robustness(index, settings.robustness, settings.seed, settings.device, advance)
    if isinstance(robustness, str):
        notes.append(f"No robustness: {robustness}.")
        robustness = {}

    stages.seconds |= {"in all": time.monotonic() - began, "of one processor": time.process_time() - cpu_began}
    scorecard = Scorecard(
        boiler_version=__version__,
        generation=index.generation.name,
        encoder=header.encoder,
        dim=header.dim,
        n_items=index.n_items,
        n_rows=header.n_rows,
        n_evaluated=len(index.items),
        n_without_label=index.n_items - len(index.items),
        source=truth.source,
        n_labels=len(truth.label_names),
        multilabel=truth.multilabel,
        baseline=checks.BASELINE,
        tables=tables,
        knn=knn,
        hubness=hubness[0],
        baseline_hubness=hubness[1] if len(hubness) > 1 else None,
        engine=engine_recall,
        codebook=codebook,
        calibration=calibration,
        robustness=robustness,
        notes=notes,
        seconds=stages.seconds,
        seed=settings.seed,
    )
    return Evaluation(scorecard, index)


def open_index(settings: EvaluateSettings) -> LabelledIndex:
    """The index with the labels that the settings name. Raises: as `evaluate`."""
    return labelled_index.open_labelled(
        settings.model_dir, settings.wav_dir, lambda items, wav_dir: _ground_truth(settings, items, wav_dir)
    )


def _ground_truth(settings: EvaluateSettings, items: Sequence[Item], wav_dir: Path | None) -> GroundTruth:
    ids = [item.id for item in items]
    if settings.dataset is not None:
        truth = ground_truth.from_dataset(settings.dataset, ids, settings.dataset_dir, wav_dir)
    elif settings.labels is not None:
        truth = ground_truth.from_csv(settings.labels, ids, settings.label_column)
    else:
        truth = ground_truth.from_catalog(items, settings.label_column)
    return truth if settings.top_labels is None else truth.with_top_labels(settings.top_labels)


def _calibration(index: LabelledIndex, scores: Scores, seed: int) -> Calibration:
    """Calibration from the first answers to a sample of the queries."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(scores.queries))[:CALIBRATION_QUERIES])
    queries, near = scores.queries[chosen], scores.neighbours[chosen]
    distances, gains = np.full(near.shape, np.nan), np.full(near.shape, np.nan)
    gain_of = metrics.shared_tags if index.truth.multilabel else metrics.shared_labels
    labels = index.labels
    block_size = max(1, ranking.BLOCK_KEYS // len(index.items))
    for start in range(0, len(queries), block_size):
        block = slice(start, start + block_size)
        cosines = index.collection.similarities(index.collection.vectors[queries[block]])
        gain = gain_of(labels[queries[block]], labels)  # type: ignore[arg-type]  # each takes its own kind of labels
        answers = np.maximum(near[block], 0)
        exists = near[block] >= 0
        distances[block] = np.where(exists, angular_distance(np.take_along_axis(cosines, answers, 1)), np.nan)
        gains[block] = np.where(exists, np.take_along_axis(gain, answers, 1), np.nan)
    opened = index.generation
    return calibrate(opened.pairs, opened.vectors, opened.rows["n"], distances, gains, seed=seed)
