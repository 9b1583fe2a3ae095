"""The results of an evaluation as dataclasses, and their two output formats: JSON and Markdown.

In the JSON, a number that does not exist (the mean of no values) is null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from boiler.evaluation.metrics import CodebookStats, Hubness, Interval
from boiler.evaluation.robustness import Robustness

FORMAT_VERSION = 2

_DEPRECATED_KEYS = {
    "baseline": "floor",
    "over_baseline": "over_floor",
    "baseline_hubness": "floor_hubness",
    "codebook": "words",
    "calibration": "context",
    "multilabel": "several",
    "name": "answers",
    "bins": "right",
    "share_closer_than_998": "closer_than_998",
}
"""Keys of format 1, written beside the new ones for one version."""


@dataclass(frozen=True)
class MeasureRow:
    """One measure.

    encoder, baseline: mean over the queries, with its interval
    over_baseline: mean difference of the two over the same queries; negative if the encoder is worse
    chance: expected value for a random order
    """

    measure: str
    encoder: Interval
    baseline: Interval | None
    over_baseline: Interval | None
    chance: float


@dataclass(frozen=True)
class ClassRow:
    """Measures over the queries of one class, by name."""

    label: str
    n_queries: int
    encoder: Mapping[str, float]
    baseline: Mapping[str, float] | None


@dataclass(frozen=True)
class ResultTable:
    """Leave-one-out over all items, with the items of the query's `group` excluded from the answers too.

    n_queries: items with at least one relevant answer; n_unanswerable: the others
    confusion: shares of the labels of the first `confusion_k` answers; rows are the labels of the queries, columns
        those of the answers. None for multi-label ground truth
    """

    group: str
    n_queries: int
    n_unanswerable: int
    lines: Sequence[MeasureRow]
    classes: Sequence[ClassRow]
    confusion: Sequence[Sequence[float]] | None
    confusion_k: int


@dataclass(frozen=True)
class KNNResult:
    """Accuracy of a majority vote of the k nearest items of the other folds, by fold."""

    k: int
    folds: Mapping[str, float]
    mean: float
    deviation: float
    baseline: float | None
    chance: float


@dataclass(frozen=True)
class EngineRecall:
    """Recall of the approximate engine.

    name: the engine that answers the searches of this index
    annoy: the fraction of the true `k` nearest rows that annoy finds, over `n_queries`
    published: the same, measured when the index was published
    """

    name: str
    k: int
    n_queries: int
    annoy: float
    published: float | None


@dataclass(frozen=True)
class Calibration:
    """What a distance means in this collection.

    n_pairs: number of random pairs stored in the index
    quantiles: by share of random pairs, the distance that is closer than this share of them
    n_new_pairs: number of pairs drawn to check the stored ones
    deviation: the Kolmogorov-Smirnov statistic: the largest difference between a share x and the fraction of new pairs
        that are closer than x of the stored ones; ideally 0; by chance it exceeds 1.63 / sqrt(n) in 1 % of the cases
    share_closer_than_998: the fraction of new pairs closer than 99.8 % of the stored ones; ideally .002
    bins: of the first answers closer than `low` to `high` of random pairs: their number `n` and mean `gain`
    """

    n_pairs: int
    quantiles: Mapping[str, float]
    n_new_pairs: int
    deviation: float
    share_closer_than_998: float
    bins: Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Scorecard:
    """All results of one evaluation.

    generation: the generation of the index; n_items: its searchable items; n_rows: its windows
    n_evaluated, n_without_label: items with and without a label
    source: where the labels are from; n_labels: how many different ones
    baseline: the encoder of the baseline
    notes: what was not measured, and why
    seconds: wall-clock time by stage
    """

    boiler_version: str
    generation: str
    encoder: str
    dim: int
    n_items: int
    n_rows: int
    n_evaluated: int
    n_without_label: int
    source: str
    n_labels: int
    multilabel: bool
    baseline: str
    tables: Sequence[ResultTable]
    knn: KNNResult | None
    hubness: Hubness
    baseline_hubness: Hubness | None
    engine: EngineRecall
    codebook: CodebookStats | None
    calibration: Calibration
    robustness: Mapping[str, Robustness]
    notes: Sequence[str]
    seconds: Mapping[str, float]
    seed: int
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        return json.dumps(_to_json_types(asdict(self)), indent=1, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """All results as tables."""
        kinds = f"{self.n_labels} {'tags' if self.multilabel else 'classes'}"
        parts = [
            f"# {self.encoder} on {self.n_evaluated:,} sounds of {kinds}",
            f"Labels from {self.source}. Index {self.generation}: {self.n_items:,} items, {self.n_rows:,} windows,"
            f" D = {self.dim}. boiler {self.boiler_version}, seed {self.seed}."
            + (f" {self.n_without_label:,} items have no label and are left out." if self.n_without_label else ""),
            *[self._measures(table) for table in self.tables],
            *([self._knn(self.knn)] if self.knn else []),
            self._structure(),
            *([self._robustness()] if self.robustness else []),
            self._calibration(),
            *[self._classes(table) for table in self.tables],
            *([f"Notes: {' '.join(self.notes)}"] if self.notes else []),
            "Seconds: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in self.seconds.items()) + ".",
        ]
        return "\n\n".join(parts) + "\n"

    def _measures(self, table: ResultTable) -> str:
        excluded = "itself" if table.group == "none" else f"itself and its {table.group}"
        with_baseline = table.lines and table.lines[0].baseline is not None
        header = ["measure", self.encoder, "95 %"]
        header += [self.baseline, "difference, 95 %", "chance"] if with_baseline else ["chance"]
        rows = []
        for line in table.lines:
            cells = [line.measure, f"**{_share(line.encoder.mean)}**", _range(line.encoder)]
            if line.baseline is not None and line.over_baseline is not None:
                cells += [_share(line.baseline.mean), _range(line.over_baseline, signed=True)]
            rows.append([*cells, _share(line.chance)])
        unanswerable = f"; {table.n_unanswerable:,} more have no relevant answer" if table.n_unanswerable else ""
        return (
            f"## Excluded from the answers: {excluded}\n\n{table.n_queries:,} queries{unanswerable}.\n\n"
            f"{_table(header, rows)}"
        )

    def _knn(self, knn: KNNResult) -> str:
        folds = ", ".join(f"{name} {_share(value)}" for name, value in knn.folds.items())
        baseline = f" {self.baseline}: {_share(knn.baseline)}." if knn.baseline is not None else ""
        return (
            f"## kNN over folds\n\nAccuracy of a majority vote of the {knn.k} nearest items of the other folds:"
            f" **{_share(knn.mean)}** (standard deviation over folds {_share(knn.deviation)}); chance"
            f" {_share(knn.chance)}.{baseline} By fold: {folds}."
        )

    def _structure(self) -> str:
        rows = [_hubness_row(self.encoder, self.hubness)]
        if self.baseline_hubness is not None:
            rows.append(_hubness_row(self.baseline, self.baseline_hubness))
        header = ["", f"k-occurrence skewness, k = {self.hubness.k}", "never an answer", "most often"]
        engine = self.engine
        parts = [
            f"## Structure\n\n{_table(header, rows)}",
            f"Engine: annoy finds {engine.annoy:.3f} of the true {engine.k} nearest ({engine.n_queries} queries);"
            f" searches are answered by {engine.name}.",
        ]
        if self.codebook is not None:
            parts.append(
                f"Codebook: perplexity {self.codebook.perplexity:.1f} of {self.codebook.size},"
                f" {self.codebook.used} codes used; perplexity within one sound {self.codebook.per_sound:.1f}."
            )
        return "\n\n".join(parts)

    def _robustness(self) -> str:
        rows = [
            [
                name,
                f"**{_share(result.first.mean)}**",
                _range(result.first),
                f"{result.median_rank:g}",
                f"{result.worst_rank:,}",
                f"{result.mean_cosine:.3f}",
                f"{result.lowest_cosine:.3f}",
            ]
            for name, result in self.robustness.items()
        ]
        n_sounds = max(result.n_sounds for result in self.robustness.values())
        header = ["alteration", "original first", "95 %", "median rank", "worst rank", "mean cosine", "lowest cosine"]
        return (
            f"## Robustness\n\n{n_sounds} altered sounds as queries against all {self.n_evaluated:,}.\n\n"
            f"{_table(header, rows)}"
        )

    def _calibration(self) -> str:
        found = self.calibration
        distances = [f"{distance:.3f}" for distance in found.quantiles.values()]
        quantiles = _table(["closer than", *found.quantiles], [["distance", *distances]])
        bins = [
            [f"{100 * bin['low']:g} to {100 * bin['high']:g} %", f"{bin['n']:,.0f}", _share(bin["gain"])]
            for bin in found.bins
        ]
        return (
            f"## Calibration of distances\n\nAgainst {found.n_pairs:,} random pairs:\n\n{quantiles}\n\n"
            f"Of {found.n_new_pairs:,} new pairs, {100 * found.share_closer_than_998:.2f} % are closer than 99.8 % (it"
            f" should be 0.20 %); the largest deviation of any share is {found.deviation:.4f}.\n\n"
            + _table(["answers closer than", "answers", "relevant"], bins)
        )

    def _classes(self, table: ResultTable) -> str:
        measures = list(table.classes[0].encoder) if table.classes else []
        with_baseline = bool(table.classes) and table.classes[0].baseline is not None
        header = ["class", "queries", *measures]
        header += [f"{self.baseline} {name}" for name in measures] if with_baseline else []
        rows = [
            [
                row.label,
                f"{row.n_queries:,}",
                *(_share(row.encoder[name]) for name in measures),
                *(_share(row.baseline[name]) for name in measures if row.baseline is not None),
            ]
            for row in table.classes
        ]
        group = "" if table.group == "none" else f", {table.group} excluded"
        return f"## By class{group}\n\n{_table(header, rows)}"


def _hubness_row(name: str, hubness: Hubness) -> list[str]:
    return [name, f"{hubness.skewness:.2f}", f"{100 * hubness.never:.1f} %", f"{hubness.most:,}"]


def _share(value: float) -> str:
    """A share as .123, without the leading zero, as tables of retrieval results are printed."""
    if math.isnan(value):
        return "-"
    text = f"{abs(value):.3f}"
    return ("-" if value < 0 and float(text) else "") + (text[1:] if text.startswith("0") else text)


def _range(interval: Interval, *, signed: bool = False) -> str:
    low, high = (
        _share(bound) if not signed or bound < 0 else "+" + _share(bound) for bound in (interval.low, interval.high)
    )
    return f"{low} to {high}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _to_json_types(value: Any) -> Any:
    """Convert to types that JSON has: NaN and infinity become null. Renamed keys are written under both names."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        plain = {key: _to_json_types(one) for key, one in value.items()}
        return plain | {_DEPRECATED_KEYS[key]: one for key, one in plain.items() if key in _DEPRECATED_KEYS}
    if isinstance(value, list | tuple):
        return [_to_json_types(one) for one in value]
    return value
