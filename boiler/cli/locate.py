"""Find a short sound inside the recordings of an index: in which, and at which second, also below other sounds.

    $ boiler locate exp/radio/MFCCStats ~/sounds/jingle.wav
    $ boiler locate exp/radio/MFCCStats ~/sounds/show.wav --start_s 61 --end_s 63.5
    $ boiler locate exp/radio/MFCCStats jingles/a.ogg --within monday.mp3 --within tuesday.mp3 --json

What is a file is looked for as a file; anything else is looked up among the items. It is that very sound that is
found, quieter or louder, covered by others, through another codec; for what only sounds like it there is boiler
search. `score` is 0 to 1, how much of what sounds there it is; `gain` how much louder than as given.

The recordings are read for this, from the folder that was indexed. Where they are longer in all than --most_hours,
those parts are read that the index says are likeliest.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from boiler import arguments
from boiler.errors import QueryError
from boiler.search import locate
from boiler.search.locate import Occurrence
from boiler.search.nearest import ByItem, BySound, Nearest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model_dir", type=Path, metavar="MODEL_DIR", help="what boiler index printed")
    parser.add_argument("sound", metavar="SOUND_OR_ID", help="a sound file, or the id of an item")
    parser.add_argument("-k", type=int, default=10, help="how many places (default: %(default)s)")
    parser.add_argument("--start_s", type=float, default=0.0, help="where the part to look for begins, seconds")
    parser.add_argument("--end_s", type=float, default=None, help="where that part ends, seconds")
    parser.add_argument(
        "--within", action="append", metavar="ID", help="only in this item; repeatable (default: in all)"
    )
    parser.add_argument(
        "--most_hours",
        type=float,
        default=locate.MAX_READ_S / 3600,
        help="read no more sound than this; 0: everything (default: %(default)s)",
    )
    parser.add_argument("--wav_dir", type=Path, default=None, help="where the sounds lie (default: where they were)")
    parser.add_argument("--device", default="cpu", help="where to embed: cpu, cuda, mps, auto (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="as a JSON list")


def run(args: argparse.Namespace) -> int:
    if not args.most_hours >= 0:
        raise QueryError(f"--most_hours is 0 or more, not {args.most_hours}")
    path = Path(args.sound).expanduser()
    kind: type[BySound] | type[ByItem] = BySound if path.is_file() else ByItem
    seed = kind(path if kind is BySound else args.sound, args.start_s, args.end_s)  # type: ignore[arg-type]
    with Nearest(args.model_dir, wav_dir=args.wav_dir, device=args.device) as nearest:
        max_read_s = args.most_hours * 3600 or None
        located = nearest.locate_result(seed, args.k, within=args.within, max_read_s=max_read_s)
    if args.json:
        print(json.dumps([asdict(found) for found in located.occurrences], ensure_ascii=False, indent=1))
    else:
        Console().print(table(located.occurrences))
    for id, reason in located.unread:
        print(f"boiler: {id} was not read: {reason}", file=sys.stderr)
    hours = f"{located.read_s / 3600:.2f} of {located.total_s / 3600:.2f} hours of sound were read"
    if not located.occurrences:
        print(f"boiler: it occurs nowhere in what was looked at; {hours}", file=sys.stderr)
    elif not located.complete:
        print(f"boiler: {hours}; --most_hours 0 reads all", file=sys.stderr)
    return 1 if located.unread else 0


def table(found: Sequence[Occurrence]) -> Table:
    """The places for a reader."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("score", "gain", "from", "to"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("id", overflow="fold")
    for one in found:
        shown.add_row(
            f"{one.score:.3f}", f"{one.gain_db:+.1f} dB", _clock(one.start_s), _clock(one.end_s), escape(one.id)
        )
    return shown


def _clock(seconds: float) -> str:
    """
    >>> _clock(3725.04), _clock(-0.2)
    ('1:02:05.04', '-0:00:00.20')
    """
    hundredths = round(abs(seconds) * 100)
    sign = "-" if seconds < 0 and hundredths else ""
    minutes, rest = divmod(hundredths, 6_000)
    return f"{sign}{minutes // 60}:{minutes % 60:02}:{rest // 100:02}.{rest % 100:02}"


def main(argv: Sequence[str] | None = None) -> int:
    return arguments.command(
        argv, prog="python -m boiler.cli.locate", description=__doc__, add_arguments=add_arguments, run=run
    )


if __name__ == "__main__":
    sys.exit(main())
