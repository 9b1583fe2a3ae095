"""Find where a short sound occurs inside the recordings of an index: in which ones, and at which second.

    $ boiler locate exp/radio/MFCCStats ~/sounds/jingle.wav
    $ boiler locate exp/radio/MFCCStats ~/sounds/show.wav --start_s 61 --end_s 63.5
    $ boiler locate exp/radio/MFCCStats jingles/a.ogg --within monday.mp3 --within tuesday.mp3 --json

A name that is a file is read; any other is the id of an item. This finds the same recording of a sound: quieter or
louder, mixed with others, or re-encoded. For sounds that are only similar use boiler search. `score`, 0 to 1, is the
normalised correlation: 1 if nothing else sounds there; `gain` is the level there relative to the given sound.

The recordings are read from the folder that was indexed. If they are longer than --max_hours, only the parts that the
index ranks highest are read.
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

from boiler import arguments, progress
from boiler.arguments import printable
from boiler.catalog.folder import path_or_address
from boiler.errors import QueryError
from boiler.search import locate
from boiler.search.locate import Occurrence
from boiler.search.nearest import ByItem, BySound, Nearest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `boiler locate`."""
    parser.add_argument("model_dir", type=Path, metavar="MODEL_DIR", help="the directory that boiler index printed")
    parser.add_argument("sound", metavar="SOUND_OR_ID", help="a sound file, or the id of an item")
    parser.add_argument("-k", type=int, default=10, help="number of occurrences (default: %(default)s)")
    parser.add_argument("--start_s", type=float, default=0.0, help="locate the part of the sound from here, seconds")
    parser.add_argument("--end_s", type=float, default=None, help="to here, seconds (default: to its end)")
    parser.add_argument(
        "--within", action="append", metavar="ID", help="search only this item; repeatable (default: all)"
    )
    max_hours = parser.add_argument(
        "--max_hours",
        type=float,
        default=locate.MAX_READ_S / 3600,
        help="read at most this many hours of sound; 0: all (default: %(default)s)",
    )
    arguments.add_renamed(parser, "--most_hours", max_hours)
    parser.add_argument(
        "--wav_dir", type=path_or_address, default=None, help="the folder of the sounds (default: as indexed)"
    )
    parser.add_argument(
        "--device", default="cpu", help="device to embed on: cpu, cuda, mps, auto (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list")


def run(args: argparse.Namespace) -> int:
    """Locate the sound and print its occurrences. The exit code is 1 if a recording could not be read.

    Raises: QueryError, SoundError, ModelDirError: see `Nearest.locate`.
    """
    if not args.max_hours >= 0:
        raise QueryError(f"--max_hours is 0 or more, not {args.max_hours}")
    path, part = Path(args.sound).expanduser(), (args.start_s, args.end_s)
    seed = BySound(path, *part) if path.is_file() else ByItem(args.sound, *part)
    with (
        Nearest(args.model_dir, wav_dir=args.wav_dir, device=args.device) as nearest,
        progress.meter("reading", 1.0) as meter,
    ):
        result = nearest.locate_result(
            seed,
            args.k,
            within=args.within,
            max_read_s=args.max_hours * 3600 or None,
            on_progress=meter.reach,
        )
    if args.json:
        print(json.dumps([asdict(one) for one in result.occurrences], ensure_ascii=False, indent=1))
    else:
        Console().print(occurrence_table(result.occurrences))
    for id, reason in result.unread:
        print(printable(f"boiler: {id} could not be read: {reason}"), file=sys.stderr)
    read = f"read {result.read_s / 3600:.2f} of {result.total_s / 3600:.2f} hours of sound"
    if not result.occurrences:
        print(f"boiler: no occurrence found; {read}", file=sys.stderr)
    elif not result.complete:
        print(f"boiler: {read}; --max_hours 0 reads all", file=sys.stderr)
    return 1 if result.unread else 0


def occurrence_table(occurrences: Sequence[Occurrence]) -> Table:
    """The occurrences as a table for a terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("score", "gain", "from", "to"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("id", overflow="fold")
    for one in occurrences:
        table.add_row(
            f"{one.score:.3f}",
            f"{one.gain_db:+.1f} dB",
            _clock(one.start_s),
            _clock(one.end_s),
            escape(printable(one.id)),
        )
    return table


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds with hundredths.

    >>> _clock(3725.04), _clock(-0.2)
    ('1:02:05.04', '-0:00:00.20')
    """
    hundredths = round(abs(seconds) * 100)
    sign = "-" if seconds < 0 and hundredths else ""
    minutes, rest = divmod(hundredths, 6_000)
    return f"{sign}{minutes // 60}:{minutes % 60:02}:{rest // 100:02}.{rest % 100:02}"


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m boiler.cli.locate`. Returns the exit code."""
    return arguments.command(
        argv, prog="python -m boiler.cli.locate", description=__doc__, add_arguments=add_arguments, run=run
    )


if __name__ == "__main__":
    sys.exit(main())
