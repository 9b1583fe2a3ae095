"""Ask an index what else sounds like this: like a file, or like one of its own items.

    $ boiler search exp/esc10/MFCCStats ~/sounds/dog.wav
    $ boiler search exp/esc10/MFCCStats dog/1-100032-A-0.ogg -k 5        an item, by its id
    $ boiler search exp/esc10/MFCCStats ~/walk.wav --start_s 61 --end_s 64
    $ boiler search exp/esc10/MFCCStats rain/a.ogg rain/b.ogg --less wind/c.ogg
    $ boiler search exp/esc10/MFCCStats rain/a.ogg --where "duration_s < 5 and label != 'rain'" --dedup_distance 0.1
    $ boiler search exp/esc10/BagTopVQVAE rain/a.ogg -k 3 --explain
    $ boiler search exp/esc10/MFCCStats rain/a.ogg --diversity 0.4 --per_group folder:2 --format m3u8 > rain.m3u8

What is a file is asked with as a file; anything else is looked up among the items. Nearest first; distance is angular,
from 0, the same, to 2. `closer than` says how unusual the closeness is: than how many of 100 random pairs. `--explain`
says of each answer which windows matched, which words made the match and when they sound, and how similar each stretch
of the one sound is to the other: in order, one digit for each, in tenths.

The filter of `--where` knows the columns n, id, url, label, folder, duration_s, sample_rate_hz, channels, format,
size_bytes, mtime_s, sha256, silent and metadata.NAME; ==, !=, <, <=, >, >=, in, and, or, not, glob(id, 'drums/*') and
under('drums').
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from boiler import arguments
from boiler.errors import QueryError, UnknownItemError
from boiler.search import export, filter_parser, relevance_feedback
from boiler.search.embedder import TimeSpan
from boiler.search.explain import Explanation, Moment
from boiler.search.export import PlaylistEntry
from boiler.search.nearest import ByItem, BySound, GroupLimit, Match, Nearest, Options
from boiler.search.seeds import Seed

WORDS_TOLD, MATCHES_TOLD = 5, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model_dir", type=Path, metavar="MODEL_DIR", help="what boiler index printed")
    parser.add_argument(
        "seeds", nargs="+", metavar="SOUND_OR_ID", help="sound files, or ids of items: like all of them"
    )
    parser.add_argument(
        "--less", action="append", default=[], metavar="SOUND_OR_ID", help="and unlike this; repeatable"
    )
    parser.add_argument("-k", type=int, default=10, help="how many answers (default: %(default)s)")
    parser.add_argument("--start_s", type=float, default=0.0, help="where the part that is meant begins, seconds")
    parser.add_argument("--end_s", type=float, default=None, help="where that part ends, seconds")
    parser.add_argument("--where", default=None, metavar="FILTER", help="only items that pass, see above")
    parser.add_argument("--min_similarity", type=float, default=None, help="only what is at least so similar, -1 to 1")
    parser.add_argument("--diversity", type=float, default=0.0, help="0 to 1: unlike the answers before (default: 0)")
    parser.add_argument(
        "--per_group", default=None, metavar="FIELD:MOST", help="at most so many of a folder, a label ..."
    )
    dedup_distance = parser.add_argument(
        "--dedup_distance",
        type=float,
        default=None,
        metavar="DISTANCE",
        help="merge results nearer to each other than this, 0 to 2",
    )
    csls = parser.add_argument("--csls", action="store_true", help="rank down hubs: items near to everything (CSLS)")
    arguments.add_renamed(parser, "--fold", dedup_distance)
    arguments.add_renamed(parser, "--set_back_hubs", csls)
    parser.add_argument("--per_window", action="store_true", help="every window that matches, not every item")
    parser.add_argument("--explain", action="store_true", help="and why: the windows, words and seconds of each match")
    parser.add_argument("--wav_dir", type=Path, default=None, help="where the sounds lie (default: where they were)")
    parser.add_argument("--device", default="cpu", help="where to embed: cpu, cuda, mps, auto (default: %(default)s)")
    parser.add_argument("--engine", default=None, help="exact, annoy, hnsw (default: what suits the index's size)")
    parser.add_argument("--format", choices=("table", "json", "csv", "m3u8"), default="table")
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")


def run(args: argparse.Namespace) -> int:
    if args.dedup_distance is not None and not 0 <= args.dedup_distance <= 2:
        raise QueryError(f"--dedup_distance is a distance, from 0 to 2, not {args.dedup_distance:g}")
    options = Options(
        where=None if args.where is None else filter_parser.parse(args.where),
        min_similarity=args.min_similarity,
        per_window=args.per_window,
        dedup_distance=args.dedup_distance,
        per_group=None if args.per_group is None else _per_group(args.per_group),
        diversity=args.diversity,
        csls=args.csls,
    )
    if args.explain and args.format != "table":
        raise QueryError(f"--explain is for reading: leave --format {args.format} out")
    if args.explain and (len(args.seeds) > 1 or args.less):
        raise QueryError("--explain is of one sound and its answers: ask with one at a time")
    part = (args.start_s, args.end_s)
    if part != (0.0, None) and len(args.seeds) > 1:
        raise QueryError("--start_s and --end_s are a part of one sound: give one sound with them")
    question = [_seed(word, part) for word in args.seeds] + [
        _seed(word, (0.0, None), -relevance_feedback.AWAY) for word in args.less
    ]
    with Nearest(args.model_dir, wav_dir=args.wav_dir, device=args.device, engine=args.engine) as nearest:
        try:
            answer = nearest.query(question, args.k, options)
        except UnknownItemError as error:
            raise UnknownItemError(f"{error}, nor is there such a file: an id is like bell/bell_003.wav") from error
        if args.format == "table":
            Console().print(table(answer.matches))
            if args.explain:
                for match in answer.matches:
                    print("\n" + told(nearest.explain(question, match.n), match.id))
        elif args.format == "m3u8":
            entries = [PlaylistEntry(one.n, one.id, nearest.item(one.n).duration_s) for one in answer.matches]
            sys.stdout.flush()
            sys.stdout.buffer.write(export.m3u8(entries, nearest.path))
        else:
            print(
                export.json_list(answer.matches) if args.format == "json" else export.csv_table(answer.matches), end=""
            )
    if answer.shortfall:
        print(f"boiler: {answer.shortfall}", file=sys.stderr)
    if answer.nothing_similar:
        print("boiler: nothing here is similar: even the closest is no closer than many a random pair", file=sys.stderr)
    return 0


def _seed(word: str, part: tuple[float, float | None], weight: float = 1.0) -> Seed:
    path = Path(word).expanduser()
    if path.is_dir():
        raise QueryError(f"{path} is a folder: give a sound, or the id of an item, such as bell/bell_003.wav")
    return BySound(path, *part, weight) if path.is_file() else ByItem(word, *part, weight)


def _per_group(text: str) -> GroupLimit:
    name, colon, most = text.rpartition(":")
    if not colon:
        return GroupLimit(text)
    if not most.isdecimal():
        raise QueryError(f"--per_group is written FIELD or FIELD:MOST, as in folder:2, not {text!r}")
    return GroupLimit(name, int(most))


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


def told(why: Explanation, id: str) -> str:
    """Why an answer is similar, for a reader."""
    lines = [f"{id}: similarity {why.similarity:.3f}"]
    for match in why.windows[:MATCHES_TOLD]:
        lines.append(f"  {_seconds(match.query)} matched {_seconds(match.answer)}, {match.similarity:.3f}")
    for word in why.words[:WORDS_TOLD]:
        times = (", ".join(map(_seconds, parts)) for parts in (word.query_parts, word.answer_parts))
        lines.append("  word {} adds {:.3f}; asked {}; answer {}".format(word.word, word.share, *times))
    rest = why.words[WORDS_TOLD:]
    if rest:
        lines.append(f"  {len(rest)} more words add {sum(word.share for word in rest):.3f}")
    lines += [f"  over time, asked:  {_course(why.query_course)}", f"  over time, answer: {_course(why.answer_course)}"]
    return "\n".join(lines)


def _seconds(part: TimeSpan) -> str:
    return f"{part.start_s:.1f}-{part.end_s:.1f} s"


def _course(course: Sequence[Moment]) -> str:
    """A digit for each stretch: its similarity in tenths, 0 also for below."""
    digits = "".join(str(min(max(int(10 * one.similarity), 0), 9)) for one in course)
    return f"{digits}  {_seconds(TimeSpan(course[0].start_s, course[-1].end_s))}"


def main(argv: Sequence[str] | None = None) -> int:
    return arguments.command(
        argv, prog="python -m boiler.cli.search", description=__doc__, add_arguments=add_arguments, run=run
    )


if __name__ == "__main__":
    sys.exit(main())
