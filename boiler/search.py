"""Ask an index what else sounds like this: like a file, or like one of its own items.

    $ boiler search exp/esc10/MFCCStats ~/sounds/dog.wav
    $ boiler search exp/esc10/MFCCStats dog/1-100032-A-0.ogg -k 5        an item, by its id
    $ boiler search exp/esc10/MFCCStats ~/walk.wav --start_s 61 --end_s 64
    $ boiler search exp/esc10/MFCCStats ~/sounds/dog.wav --json | jq -r '.[].id'

What is a file is asked with as a file; anything else is looked up among the items. Nearest first; distance is angular,
from 0, the same, to 2. `closer than` says how unusual the closeness is: than how many of 100 random pairs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from boiler import arguments
from boiler.api.nearest import Match, Nearest
from boiler.errors import QueryError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model_dir", type=Path, metavar="MODEL_DIR", help="what boiler index printed")
    parser.add_argument("sound", metavar="SOUND_OR_ID", help="a sound file, or the id of an item")
    parser.add_argument("-k", type=int, default=10, help="how many answers (default: %(default)s)")
    parser.add_argument("--start_s", type=float, default=0.0, help="of a file: where the part begins, seconds")
    parser.add_argument("--end_s", type=float, default=None, help="of a file: where the part ends, seconds")
    parser.add_argument("--device", default="cpu", help="where to embed: cpu, cuda, mps, auto (default: %(default)s)")
    parser.add_argument("--engine", default=None, help="exact, annoy, hnsw (default: what suits its size)")
    parser.add_argument("--json", action="store_true", help="print rows as JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    with Nearest(args.model_dir, device=args.device, engine=args.engine) as nearest:
        path = Path(args.sound).expanduser()
        if path.is_file():
            matches = nearest.by_sound(path, args.k, start_s=args.start_s, end_s=args.end_s)
        elif args.start_s or args.end_s is not None:
            raise QueryError(f"there is no file {path}: a part can be asked with of a file")
        else:
            matches = nearest.by_item(args.sound, args.k)
    if args.json:
        print(json.dumps([dataclasses.asdict(match) for match in matches], indent=2, ensure_ascii=False))
    else:
        Console().print(table(matches))
    return 0


def table(matches: Sequence[Match]) -> Table:
    """The answers for a reader."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("distance", "closer than", "from", "to"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("id", overflow="fold")
    labelled = any(match.label is not None for match in matches)
    if labelled:
        shown.add_column("label", overflow="fold")
    for match in matches:
        shown.add_row(
            f"{match.distance:.3f}",
            f"{100 * match.closer_than:.1f} %",
            f"{match.start_s:.1f} s",
            f"{match.end_s:.1f} s",
            # Text, not markup: a name may hold brackets.
            *(escape(text) for text in ([match.id, match.label or ""] if labelled else [match.id])),
        )
    return shown


def main(argv: Sequence[str] | None = None) -> int:
    return arguments.command(
        argv, prog="python -m boiler.search", description=__doc__, add_arguments=add_arguments, run=run
    )


if __name__ == "__main__":
    sys.exit(main())
