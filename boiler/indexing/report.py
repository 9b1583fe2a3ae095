"""The report of an indexing run, as text and as JSON."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from boiler.catalog.diff import Changes
from boiler.catalog.items import Failure
from boiler.catalog.metadata import TableMatch
from boiler.indexing.embed import EmbedTally

_LISTED = 50


@dataclass(frozen=True)
class Report:
    """What a run did, and what the index contains now."""

    model_dir: Path
    generation: str  # empty if there is nothing to publish
    published: bool
    changes: Changes
    tally: EmbedTally
    failures: list[Failure]
    n_relabelled: int  # files whose label or further columns changed
    table: TableMatch | None  # the table of metadata that was read
    warnings: list[Failure]  # sounds of which a part could not be decoded, and what
    passed_over: dict[str, int]  # sounds of formats that boiler does not read, by suffix
    n_items: int
    n_rows: int
    scan_s: float
    publish_s: float
    wall_s: float
    n_tagged: int = 0  # different sounds that the tag model of the directory tagged

    @property
    def files_per_s(self) -> float:
        """Files embedded per second of the whole run."""
        return self.tally.embedded / self.wall_s if self.wall_s else 0.0

    @property
    def sound_per_time(self) -> float:
        """Hours of sound per hour."""
        return self.tally.sound_s / self.wall_s if self.wall_s else 0.0

    @property
    def table_matches(self) -> bool:
        """Whether at least half of the rows of the table, if one was read, belong to a sound."""
        return self.table is None or 2 * self.table.n_matched >= self.table.n_rows

    def to_json(self) -> str:
        values = asdict(self) | {
            "model_dir": str(self.model_dir),
            "table": None if self.table is None else asdict(self.table) | {"path": str(self.table.path)},
            "files_per_s": self.files_per_s,
            "sound_per_time": self.sound_per_time,
            "bottleneck": self.tally.bottleneck,
        }
        return json.dumps(values, indent=2)

    def lines(self) -> Iterator[str]:
        """The report as text, failures and the export line left out."""
        changes, tally = self.changes, self.tally
        yield f"{self.model_dir}: {self.n_items} sounds, {self.n_rows} windows in the index"
        yield (
            f"  {len(changes.new)} new, {len(changes.changed)} changed, {len(changes.moved)} moved,"
            f" {len(changes.gone) + tally.vanished} gone, {changes.unchanged} unchanged"
        )
        if self.n_relabelled:
            yield f"  {self.n_relabelled} with another label or other metadata"
        if self.table is not None:
            yield f"  {self.table}"
        if tally.embedded or tally.reused or tally.failed:
            yield f"  {tally.embedded} embedded, {tally.reused} already known, {tally.failed} failed"
        if self.n_tagged:
            yield f"  {self.n_tagged} tagged"
        if tally.windows:
            yield (
                f"  {self.files_per_s:.1f} files per second, {self.sound_per_time:.0f} hours of sound per hour;"
                f" {tally.bottleneck} was the bottleneck"
            )
        yield (
            f"  {self.wall_s:.1f} s: scanning {self.scan_s:.1f}, encoder {tally.prepare_s:.1f},"
            f" waiting for decoders {tally.decode_wait_s:.1f}, embedding {tally.embed_s:.1f},"
            f" writing {tally.write_s:.1f}, publishing {self.publish_s:.1f}"
        )
        if not self.published:
            yield (
                "  nothing changed: the index is unchanged"
                if self.generation
                else "  nothing is published: there is only silence, or nothing that can be decoded. Add sounds to the"
                " folder and run boiler index again"
            )

    def failure_lines(self) -> Iterator[str]:
        """What was passed over, and the first files that could not be decoded, or not whole, each with the reason."""
        if self.passed_over:
            counts = ", ".join(f"{n} {suffix}" for suffix, n in sorted(self.passed_over.items()))
            yield f"not looked at, because boiler does not read them: {counts}"
        for found, title in (
            (self.failures, "{} files could not be decoded:"),
            (self.warnings, "of {} files a part could not be decoded:"),
        ):
            if found:
                yield title.format(len(found))
            for one in found[:_LISTED]:
                yield f"  {one.id}: {one.reason}"
            if len(found) > _LISTED:
                yield f"  and {len(found) - _LISTED} more: boiler status {shlex.quote(str(self.model_dir))}"


def plan_lines(changes: Changes) -> Iterator[str]:
    """What a run would do, one line per file."""
    for id in changes.new:
        yield f"new      {id}"
    for id in changes.changed:
        yield f"changed  {id}"
    for source, to in changes.moved:
        yield f"moved    {source} -> {to}"
    for id in changes.gone:
        yield f"gone     {id}"
    yield (
        f"{len(changes.new)} new, {len(changes.changed)} changed, {len(changes.moved)} moved, {len(changes.gone)} gone,"
        f" {changes.unchanged} unchanged"
    )
