"""Counts over a published index: for `boiler status` and for the pages of the browser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from boiler.catalog.items import Failure
from boiler.store import generation
from boiler.store.generation import Generation, Header


@dataclass(frozen=True)
class CollectionStatistics:
    """Counts over one generation.

    labels, folders, formats: (value, number of items), most frequent first; items without a value are not counted
    n_unlabelled: items without a label
    durations_s: of each item that has one
    warnings: the items of which a part could not be decoded, and what
    same_bytes: groups of ids whose files have the same bytes
    kept: the generations on disk, oldest first
    """

    generation: Generation
    n_items: int
    n_silent: int
    duration_s: float
    size_bytes: int
    labels: tuple[tuple[str, int], ...]
    folders: tuple[tuple[str, int], ...]
    formats: tuple[tuple[str, int], ...]
    n_unlabelled: int
    durations_s: tuple[float, ...]
    failures: tuple[Failure, ...]
    warnings: tuple[Failure, ...]
    same_bytes: tuple[tuple[str, ...], ...]
    kept: tuple[str, ...]

    @property
    def header(self) -> Header:
        return self.generation.header


def collection_statistics(
    model_dir: Path, *, check: bool = False, max_failures: int | None = None, max_same_bytes: int | None = None
) -> CollectionStatistics:
    """Counts over the current generation, or over the newest undamaged one if that is damaged.

    check: verify the hash of every file first
    max_failures, max_same_bytes: the maximum number of failures, of warnings, and of groups with the same bytes to list

    Raises: ModelDirError: nothing is published there, or it is damaged.
    """
    opened = generation.check(model_dir) if check else generation.open_last_good(model_dir)
    with opened.items() as database:
        totals = database.totals()
        counts = {name: dict(database.counts(name)) for name in ("label", "folder", "format")}
        n_unlabelled = counts["label"].get("", 0)
        labels, folders, formats = (
            tuple((value, count) for value, count in by_value.items() if value) for by_value in counts.values()
        )
        return CollectionStatistics(
            generation=opened,
            n_items=totals.n_items,
            n_silent=totals.n_silent,
            duration_s=totals.duration_s,
            size_bytes=totals.size_bytes,
            labels=labels,
            folders=folders,
            formats=formats,
            n_unlabelled=n_unlabelled,
            durations_s=tuple(database.durations_s()),
            failures=tuple(database.failures(max_failures)),
            warnings=tuple(database.warnings(max_failures)),
            same_bytes=tuple(map(tuple, database.same_bytes(max_same_bytes))),
            kept=tuple(generation.names(Path(model_dir))),
        )
