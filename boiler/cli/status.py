"""Show what an index contains: counts, hours, formats, duplicates, failures, size on disk.

    $ boiler status exp/sounds
    $ boiler status exp/sounds --check
    $ boiler status exp/sounds --near
    $ boiler status exp/sounds --json

`--check` compares every byte of the index with the hashes made at publication, and checks the catalog. If the current
index is damaged, the numbers are those of the newest undamaged one, and the exit code is 1, with `--check` 2.

Duplicates are listed, not merged: files of the same bytes, and near-duplicates, which sound the same and have about the
same duration. In a large collection near-duplicates are searched only with `--near`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import boiler.engine
from boiler import arguments
from boiler.arguments import printable
from boiler.catalog.catalog import CATALOG_FILE
from boiler.catalog.database import check_catalog
from boiler.errors import CatalogError, ModelDirError
from boiler.search import duplicates
from boiler.search.snapshot import Snapshot
from boiler.search.statistics import collection_statistics
from boiler.store import generation
from boiler.store.generation import Generation, current_name

NEAR_UP_TO_ITEMS = 30_000  # takes some seconds: the neighbours of every item are searched
_LISTED = 20
_OF_A_GROUP = 4


@dataclass(frozen=True)
class Status:
    """Statistics of an index. Ids are paths below the folder of sounds."""

    model_dir: str
    generation: str
    kept: list[str]  # stored generations, oldest first
    created: str
    encoder: str
    engine: str
    checked: bool  # every byte was compared with its hash
    n_items: int
    n_rows: int
    n_silent: int
    hours: float
    formats: dict[str, int]  # number of files by format, most frequent first
    labels: dict[str, int]
    size_bytes: int
    same_bytes: list[list[str]]
    near: list[tuple[str, str, float]] | None  # (id, id, distance); None: not searched among so many
    failures: dict[str, str]
    warnings: dict[str, str]  # sounds of which a part could not be decoded

    def lines(self) -> Iterator[str]:
        """The status as text."""
        yield f"{self.model_dir}: {self.n_items} sounds, {self.hours:.1f} hours, {self.n_rows} windows"
        yield f"  encoder {self.encoder}, answered by {self.engine} search"
        if boiler.engine.RERANK != "compiled":
            yield "  distances are computed by numpy, which is slower: boiler was installed without a C compiler"
        yield f"  generation {self.generation} of {self.created}{', every byte checked' if self.checked else ''}"
        others = [name for name in self.kept if name != self.generation]
        yield f"  {self.size_bytes / 1e6:.1f} MB on disk{', kept besides: ' + ', '.join(others) if others else ''}"
        yield f"  formats: {_counts(self.formats)}"
        yield f"  labels: {_counts(self.labels)}"
        yield f"  {self.n_silent} silent, {len(self.failures)} failed, {len(self.warnings)} decoded in part"
        if self.same_bytes:
            yield f"{sum(map(len, self.same_bytes))} files have the same bytes as another:"
            yield from _some([_group(group) for group in self.same_bytes])
        if self.near is None:
            yield "near-duplicates were not searched, because there are many files: give --near"
        elif self.near:
            yield f"{len(self.near)} pairs of near-duplicates:"
            yield from _some([f"{one} ~ {other} (distance {distance:.3f})" for one, other, distance in self.near])
        if self.failures:
            yield f"{len(self.failures)} files could not be decoded:"
            yield from (f"  {id}: {reason}" for id, reason in self.failures.items())
        if self.warnings:
            yield f"of {len(self.warnings)} files a part could not be decoded:"
            yield from (f"  {id}: {warning}" for id, warning in self.warnings.items())


def _counts(counts: dict[str, int]) -> str:
    shown = [f"{name or 'none'} {count}" for name, count in list(counts.items())[:12]]
    return ", ".join(shown) + (f" and {len(counts) - 12} more" if len(counts) > 12 else "")


def _group(ids: list[str]) -> str:
    shown = " = ".join(ids[:_OF_A_GROUP])
    return f"{shown} and {len(ids) - _OF_A_GROUP} more" if len(ids) > _OF_A_GROUP else shown


def _some(lines: list[str]) -> Iterator[str]:
    yield from (f"  {line}" for line in lines[:_LISTED])
    if len(lines) > _LISTED:
        yield f"  and {len(lines) - _LISTED} more: --json lists all"


def status(model_dir: Path, *, check: bool = False, near: bool = False) -> Status:
    """The state of the current generation. `near`: search near-duplicates in a collection of any size.

    Raises: ModelDirError: nothing published there, or it is damaged.
    """
    found = collection_statistics(model_dir, check=check)
    opened, header = found.generation, found.header
    labels = dict(found.labels) | ({"": found.n_unlabelled} if found.n_unlabelled else {})
    return Status(
        model_dir=str(model_dir),
        generation=opened.name,
        kept=list(found.kept),
        created=header.created,
        encoder=header.encoder,
        engine=str(header.engine.get("name", "exact")),
        checked=check,
        n_items=header.n_items,
        n_rows=header.n_rows,
        n_silent=found.n_silent,
        hours=found.duration_s / 3600,
        formats=dict(found.formats),
        labels=dict(sorted(labels.items(), key=lambda label: (-label[1], label[0]))),
        size_bytes=_size(Path(model_dir)),
        same_bytes=[list(group) for group in found.same_bytes],
        near=near_duplicates(opened) if near or len(opened.item_vectors) <= NEAR_UP_TO_ITEMS else None,
        failures={failure.id: failure.reason for failure in found.failures},
        warnings={warning.id: warning.reason for warning in found.warnings},
    )


def other_damage(model_dir: Path) -> Iterator[str]:
    """What is damaged beside the current generation, a sentence each: the other stored ones, and the catalog."""
    for name in generation.names(model_dir):
        if name != current_name(model_dir):
            try:
                generation.check(model_dir, name)
            except ModelDirError as error:
                yield f"boiler: not the current index: {error}"
    if (catalog := model_dir / CATALOG_FILE).is_file():
        try:
            check_catalog(catalog)
        except CatalogError as error:
            yield f"boiler: {error}"


def near_duplicates(opened: Generation) -> list[tuple[str, str, float]]:
    """Pairs of near-duplicates (`boiler.search.duplicates`) with different bytes, nearest first."""
    snapshot = Snapshot(opened)
    items = {row["n"]: row for row in snapshot.items.records()}
    found = [(items[one], items[other], apart) for one, other, apart in duplicates.find_pairs(snapshot)]
    pairs = [(one["id"], other["id"], apart) for one, other, apart in found if one["sha256"] != other["sha256"]]
    return sorted(pairs, key=lambda pair: (pair[2], pair[0]))


def _size(model_dir: Path) -> int:
    """Bytes on disk of all files in the model directory; hard links count once."""
    sizes = {}
    for path in model_dir.rglob("*"):
        if path.is_file() and not path.is_symlink():
            stat = path.stat()
            sizes[stat.st_dev, stat.st_ino] = stat.st_size
    return sum(sizes.values())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model_dir", type=Path, metavar="MODEL_DIR", help="the model directory")
    parser.add_argument("--check", action="store_true", help="compare every byte with its hash")
    parser.add_argument("--near", action="store_true", help="search near-duplicates in a collection of any size")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    found = status(args.model_dir, check=args.check, near=args.near)
    damage = list(other_damage(args.model_dir)) if args.check else []
    print(*map(printable, damage), sep="\n", end="\n" if damage else "", file=sys.stderr)
    print(json.dumps(asdict(found), indent=2, ensure_ascii=False) if args.json else printable("\n".join(found.lines())))
    return 1 if damage or found.generation != current_name(args.model_dir) else 0


def main(argv: Sequence[str] | None = None) -> int:
    return arguments.command(
        argv, prog="boiler status", description=__doc__ or "", add_arguments=add_arguments, run=run
    )


if __name__ == "__main__":
    sys.exit(main())
