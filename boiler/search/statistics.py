"""What a collection holds, counted once per generation: for the first page and for the page that looks after it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from boiler.catalog.items import Failure
from boiler.store import generation
from boiler.store.generation import Header


@dataclass(frozen=True)
class Holdings:
    """Counts over one generation. Labels, folders and formats with their numbers of sounds, the most frequent first;
    duplicates are groups of ids whose bytes are the same."""

    header: Header
    n_items: int
    n_silent: int
    duration_s: float
    size_bytes: int
    labels: tuple[tuple[str, int], ...]
    folders: tuple[tuple[str, int], ...]
    formats: tuple[tuple[str, int], ...]
    lengths_s: tuple[float, ...]
    failures: tuple[Failure, ...]
    duplicates: tuple[tuple[str, ...], ...]
    kept: tuple[str, ...]


MOST_FAILURES = 1_000
MOST_DUPLICATES = 200


def of(model_dir: Path) -> Holdings:
    """Count what the current generation holds.

    Raises: ModelDirError: it cannot be opened.
    """
    opened = generation.open(model_dir)
    with contextlib.closing(opened.connect()) as connection:
        count = connection.execute
        n_items, n_silent, duration_s, size_bytes = count(
            "SELECT COUNT(*), COALESCE(SUM(silent), 0), COALESCE(SUM(duration_s), 0), COALESCE(SUM(size_bytes), 0)"
            " FROM items"
        ).fetchone()

        def groups(column: str) -> tuple[tuple[str, int], ...]:
            # The column is one of ours, never a visitor's.
            rows = count(
                f"SELECT {column}, COUNT(*) AS n FROM items WHERE {column} IS NOT NULL AND {column} <> ''"  # noqa: S608
                f" GROUP BY {column} ORDER BY n DESC, {column}"
            )
            return tuple((str(name), int(n)) for name, n in rows)

        same = count(
            "SELECT json_group_array(id) FROM (SELECT id, sha256 FROM items WHERE sha256 <> '' ORDER BY id)"
            " GROUP BY sha256 HAVING COUNT(*) > 1 ORDER BY MIN(id) LIMIT ?",
            (MOST_DUPLICATES,),
        )
        return Holdings(
            header=opened.header,
            n_items=n_items,
            n_silent=n_silent,
            duration_s=duration_s,
            size_bytes=size_bytes,
            labels=groups("label"),
            folders=groups("folder"),
            formats=groups("format"),
            lengths_s=tuple(row[0] for row in count("SELECT duration_s FROM items WHERE duration_s > 0")),
            failures=tuple(
                Failure(*row)
                for row in count("SELECT id, reason, sha256 FROM failures ORDER BY id LIMIT ?", (MOST_FAILURES,))
            ),
            duplicates=tuple(tuple(json.loads(row[0])) for row in same),
            kept=tuple(generation.names(Path(model_dir))),
        )
