"""What an evaluation found, as rows with names, and how it is told: JSON for programs, Markdown for people.

In the JSON a figure that does not exist (the mean of nothing) is null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from boiler.evaluation.metrics import Hubness, Interval, Words
from boiler.evaluation.robustness import Robustness

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Line:
    """One measure: of the encoder, of the floor where it was computed, how much the encoder is above the floor for the
    same queries (below 0: beneath it), and of chance."""

    measure: str
    encoder: Interval
    floor: Interval | None
    over_floor: Interval | None
    chance: float


@dataclass(frozen=True)
class ClassLine:
    """The measures of the queries that have one label."""

    label: str
    n_queries: int
    encoder: Mapping[str, float]
    floor: Mapping[str, float] | None


@dataclass(frozen=True)
class Table:
    """Every item asked, with the items of its `group` left out of the answers.

    `confusion`: shares of the first `confusion_k` answers, rows asked, columns answered; none for several labels.
    """

    group: str
    n_queries: int
    n_unanswerable: int
    lines: Sequence[Line]
    classes: Sequence[ClassLine]
    confusion: Sequence[Sequence[float]] | None
    confusion_k: int


@dataclass(frozen=True)
class KNN:
    """Accuracy of the vote of the k nearest items of the other folds, by fold."""

    k: int
    folds: Mapping[str, float]
    mean: float
    deviation: float
    floor: float | None
    chance: float


@dataclass(frozen=True)
class EngineRecall:
    """What the engine finds of the nearest `k` rows; `answers` is the engine that answers searches of this index."""

    answers: str
    k: int
    n_queries: int
    annoy: float
    published: float | None


@dataclass(frozen=True)
class Context:
    """What a distance means in this collection.

    `quantiles`: the distance that this share of random pairs is closer than. `deviation`: the largest difference
    between "closer than a share x of random pairs" and the share x it should be, over new random pairs (0 is right;
    1.63 / sqrt(n) is exceeded by chance once in a hundred). `closer_than_998`: the share of new pairs said to be closer
    than 99.8 %; it should be .002. `right`: of the first answers said to be closer than `low` to `high` of random
    pairs, how many there are and the mean gain.
    """

    n_pairs: int
    quantiles: Mapping[str, float]
    n_new_pairs: int
    deviation: float
    closer_than_998: float
    right: Sequence[Mapping[str, float]]


@dataclass(frozen=True)
class Scorecard:
    """All that one evaluation found."""

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
    several: bool
    floor: str
    tables: Sequence[Table]
    knn: KNN | None
    hubness: Hubness
    floor_hubness: Hubness | None
    engine: EngineRecall
    words: Words | None
    context: Context
    robustness: Mapping[str, Robustness]
    notes: Sequence[str]
    seconds: Mapping[str, float]
    seed: int
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        return json.dumps(_plain(asdict(self)), indent=1, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """The same as tables."""
        kinds = f"{self.n_labels} {'tags' if self.several else 'classes'}"
        parts = [
            f"# {self.encoder} on {self.n_evaluated:,} sounds of {kinds}",
            f"Labels from {self.source}. Index {self.generation}: {self.n_items:,} items, {self.n_rows:,} windows,"
            f" D = {self.dim}. boiler {self.boiler_version}, seed {self.seed}."
            + (f" {self.n_without_label:,} items have no label and are left out." if self.n_without_label else ""),
            *[self._measures(table) for table in self.tables],
            *([self._knn(self.knn)] if self.knn else []),
            self._structure(),
            *([self._robustness()] if self.robustness else []),
            self._context(),
            *[self._classes(table) for table in self.tables],
            *([f"Notes: {' '.join(self.notes)}"] if self.notes else []),
            "Seconds: " + ", ".join(f"{what} {seconds:.1f}" for what, seconds in self.seconds.items()) + ".",
        ]
        return "\n\n".join(parts) + "\n"

    def _measures(self, table: Table) -> str:
        left_out = "itself" if table.group == "none" else f"itself and its {table.group}"
        with_floor = table.lines and table.lines[0].floor is not None
        header = ["measure", self.encoder, "95 %", *([self.floor, "above it, 95 %"] if with_floor else []), "chance"]
        rows = []
        for line in table.lines:
            cells = [line.measure, f"**{_share(line.encoder.mean)}**", _span(line.encoder)]
            if line.floor is not None and line.over_floor is not None:
                cells += [_share(line.floor.mean), _span(line.over_floor, signed=True)]
            rows.append([*cells, _share(line.chance)])
        told = f"{table.n_queries:,} queries" + (
            f", {table.n_unanswerable:,} more that nothing left could answer" if table.n_unanswerable else ""
        )
        return f"## Left out of the answers: {left_out}\n\n{told}.\n\n{_table(header, rows)}"

    def _knn(self, knn: KNN) -> str:
        folds = ", ".join(f"{name} {_share(value)}" for name, value in knn.folds.items())
        floor = f" {self.floor}: {_share(knn.floor)}." if knn.floor is not None else ""
        return (
            f"## kNN over the folds\n\nThe vote of the {knn.k} nearest of the other folds is right in"
            f" **{_share(knn.mean)}** (deviation {_share(knn.deviation)}) of the queries; chance"
            f" {_share(knn.chance)}.{floor} By fold: {folds}."
        )

    def _structure(self) -> str:
        rows = [_hub_row(self.encoder, self.hubness)]
        if self.floor_hubness is not None:
            rows.append(_hub_row(self.floor, self.floor_hubness))
        header = ["", f"k-occurrence skewness, k = {self.hubness.k}", "never returned", "most often"]
        parts = ["## Structure", _table(header, rows)]
        recall = f"annoy finds {self.engine.annoy:.3f} of the true {self.engine.k} nearest"
        parts.append(
            f"Engine: {recall} ({self.engine.n_queries} queries); searches are answered by {self.engine.answers}."
        )
        if self.words is not None:
            parts.append(
                f"Codebook: perplexity {self.words.perplexity:.1f} of {self.words.size}, {self.words.used} words used;"
                f" one sound's bag {self.words.per_sound:.1f}."
            )
        return "\n\n".join(parts)

    def _robustness(self) -> str:
        rows = [
            [
                name,
                f"**{_share(found.first.mean)}**",
                _span(found.first),
                f"{found.median_rank:g}",
                f"{found.worst_rank:,}",
                f"{found.mean_cosine:.3f}",
                f"{found.lowest_cosine:.3f}",
            ]
            for name, found in self.robustness.items()
        ]
        n_asked = max(found.n_sounds for found in self.robustness.values())
        header = ["altered by", "original first", "95 %", "median rank", "worst", "mean cosine", "lowest"]
        return f"## Robustness\n\n{n_asked} sounds, altered, as queries against all {self.n_evaluated:,}.\n\n" + _table(
            header, rows
        )

    def _context(self) -> str:
        context = self.context
        marks = _table(
            ["closer than", *context.quantiles], [["distance", *(f"{d:.3f}" for d in context.quantiles.values())]]
        )
        rows = [
            [f"{100 * bin['low']:g} to {100 * bin['high']:g} %", f"{bin['n']:,.0f}", _share(bin["gain"])]
            for bin in context.right
        ]
        return (
            f"## Score in context\n\nOf {context.n_pairs:,} random pairs this share is farther apart:\n\n{marks}\n\n"
            f"Checked with {context.n_new_pairs:,} new pairs: {100 * context.closer_than_998:.2f} % of them are said to"
            f" be closer than 99.8 % (right is 0.20 %); the largest deviation anywhere is {context.deviation:.4f}.\n\n"
            + _table(["answers closer than", "answers", "right"], rows)
        )

    def _classes(self, table: Table) -> str:
        measures = list(table.classes[0].encoder) if table.classes else []
        with_floor = bool(table.classes) and table.classes[0].floor is not None
        header = ["class", "queries", *measures, *([f"{self.floor} {name}" for name in measures] if with_floor else [])]
        rows = [
            [
                line.label,
                f"{line.n_queries:,}",
                *(_share(line.encoder[name]) for name in measures),
                *(_share(line.floor[name]) for name in measures if line.floor is not None),
            ]
            for line in table.classes
        ]
        group = "" if table.group == "none" else f", {table.group} left out"
        return f"## By class{group}\n\n{_table(header, rows)}"


def _hub_row(name: str, hubs: Hubness) -> list[str]:
    return [name, f"{hubs.skewness:.2f}", f"{100 * hubs.never:.1f} %", f"{hubs.most:,}"]


def _share(value: float) -> str:
    """A share as .123, the way the tables of this field write it."""
    if math.isnan(value):
        return "-"
    text = f"{abs(value):.3f}"
    return ("-" if value < 0 and float(text) else "") + (text[1:] if text.startswith("0") else text)


def _span(interval: Interval, *, signed: bool = False) -> str:
    low, high = (
        _share(bound) if not signed or bound < 0 else "+" + _share(bound) for bound in (interval.low, interval.high)
    )
    return f"{low} to {high}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _plain(value: Any) -> Any:
    """The same for JSON: what is not a number becomes null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
