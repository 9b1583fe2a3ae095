"""Find the sounds of an index that sound like a file, or like an item of the index.

    $ boiler search exp/esc10/MFCCStats ~/sounds/dog.wav
    $ boiler search exp/esc10/MFCCStats dog/1-100032-A-0.ogg -k 5        an item, by its id
    $ boiler search exp/esc10/MFCCStats ~/walk.wav --start_s 61 --end_s 64
    $ boiler search exp/esc10/MFCCStats rain/a.ogg rain/b.ogg --less wind/c.ogg
    $ boiler search exp/esc10/MFCCStats rain/a.ogg --where "duration_s < 5 and label != 'rain'" --dedup_distance 0.1
    $ boiler search exp/esc10/JoinedGeneral "dog barking -indoor"            words
    $ boiler search exp/esc10/JoinedGeneral rain/a.ogg "thunder" --less "people talking"
    $ boiler search exp/esc10/MFCCStats "hound" --words_model exp/words/words.safetensors
    $ boiler search exp/esc10/JoinedGeneral photo.jpg                        what a picture shows
    $ boiler search exp/esc10/MFCCStats photo.jpg --pictures_model exp/pictures/pictures.safetensors
    $ boiler search exp/esc10/BagTopVQVAE rain/a.ogg -k 3 --explain
    $ boiler search exp/esc10/MFCCStats rain/a.ogg --diversity 0.4 --per_group folder:2 --format m3u8 > rain.m3u8

A name that is a file is read; any other is the id of an item, or else, in an index of GeneralEncoder or JoinedGeneral,
or with --words_model, words that describe a sound. Words with a minus are avoided; what was understood is printed. The
nearest come first. The distance is angular, from 0 (the same) to 2 (the opposite). `closer than` is the share of random
pairs of the collection that are farther apart; with words, the share of the collection that matches less well.
A picture (JPEG, PNG, WebP ...) searches with the names of what it shows, which are printed; it takes the same indexes
as words, and a network that `boiler encoders add efficientnet-lite0` fetches once. With --pictures_model it searches by
what was learned from pairs of a picture and a sound, in an index of the encoder of that training. --image_model takes
any other network that classifies pictures: ONNX, TorchScript or an exported program, with the names of its classes.
`--explain` prints for each match which windows matched, which codes of the codebook contribute to the similarity and
when they are active, and the similarity over time: one digit, in tenths, per half second.

Filters of `--where` compare the fields n, id, url, label, folder, duration_s, sample_rate_hz, channels, format,
size_bytes, mtime_s, sha256, silent, metadata.NAME and tag:NAME (a probability) with ==, !=, <, <=, >, >=, in; combine
them with and, or, not; and take glob(id, 'drums/*') and under('drums').
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from boiler import arguments
from boiler.arguments import printable
from boiler.catalog.folder import path_or_address
from boiler.errors import QueryError, UnknownItemError
from boiler.search import export, filter_parser, relevance_feedback
from boiler.search.embedder import TimeSpan
from boiler.search.explain import Explanation, Moment
from boiler.search.export import PlaylistEntry
from boiler.search.nearest import ByItem, ByPicture, BySound, ByText, GroupLimit, Match, Nearest, Options, QueryResult
from boiler.search.seeds import Seed
from boiler.search.words import Understood
from boiler.vision import image, image_model

_PATH = re.compile(r"[/\\]|\.\w+$")
"""What has a folder or a suffix is meant as a path and not as words."""
SHOWN_CODES, SHOWN_WINDOWS = 5, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `boiler search`."""
    parser.add_argument("model_dir", type=Path, metavar="MODEL_DIR", help="the directory that boiler index printed")
    parser.add_argument(
        "seeds",
        nargs="+",
        metavar="SOUND_OR_ID",
        help="sound files, ids of items, or words in quotation marks; several are combined",
    )
    parser.add_argument(
        "--less", action="append", default=[], metavar="SOUND_OR_ID", help="results should be unlike this; repeatable"
    )
    parser.add_argument("-k", type=int, default=10, help="number of results (default: %(default)s)")
    parser.add_argument(
        "--start_s", type=float, default=0.0, help="search with the part of the sound from here, seconds"
    )
    parser.add_argument("--end_s", type=float, default=None, help="to here, seconds (default: to its end)")
    parser.add_argument("--where", default=None, metavar="FILTER", help="only items that pass this filter, see above")
    parser.add_argument("--min_similarity", type=float, default=None, help="minimum cosine similarity, -1 to 1")
    parser.add_argument(
        "--diversity", type=float, default=0.0, help="0 to 1: how much results should differ (default: %(default)s)"
    )
    parser.add_argument(
        "--per_group", default=None, metavar="FIELD:LIMIT", help="at most LIMIT results with the same folder, label ..."
    )
    dedup_distance = parser.add_argument(
        "--dedup_distance",
        type=float,
        default=None,
        metavar="DISTANCE",
        help="merge results nearer to each other than this, 0 to 2",
    )
    csls = parser.add_argument(
        "--csls", action="store_true", help="rank hubs, items that are near to everything, lower"
    )
    arguments.add_renamed(parser, "--fold", dedup_distance)
    arguments.add_renamed(parser, "--set_back_hubs", csls)
    parser.add_argument("--per_window", action="store_true", help="rank windows instead of items")
    parser.add_argument("--explain", action="store_true", help="print why each match is similar")
    parser.add_argument(
        "--wav_dir", type=path_or_address, default=None, help="the folder of the sounds (default: as indexed)"
    )
    parser.add_argument(
        "--device", default="cpu", help="device to embed on: cpu, cuda, mps, auto (default: %(default)s)"
    )
    parser.add_argument(
        "--engine", default=None, help="search engine: exact, annoy, hnsw (default: chosen by boiler index)"
    )
    parser.add_argument(
        "--words_model",
        type=Path,
        default=None,
        metavar="FILE",
        help="search in words with this words.safetensors of boiler train_words, for an index of the same encoder",
    )
    parser.add_argument(
        "--sentence_model",
        type=Path,
        default=None,
        metavar="DIR",
        help="the model of sentences that --words_model was trained with (default: what boiler encoders add "
        "all-minilm-l6-v2 wrote)",
    )
    parser.add_argument(
        "--pictures_model",
        type=Path,
        default=None,
        metavar="FILE",
        help="search by pictures with this pictures.safetensors of boiler train_pictures, for an index of the same "
        "encoder",
    )
    parser.add_argument("--format", choices=("table", "json", "csv", "m3u8"), default="table", help="of the output")
    parser.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")
    image_model.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Search once and print the result.

    Raises: QueryError, SoundError, ModelDirError: see `Nearest.query`.
    """
    if args.dedup_distance is not None and not 0 <= args.dedup_distance <= 2:
        raise QueryError(f"--dedup_distance is from 0 to 2, not {args.dedup_distance:g}")
    options = Options(
        where=None if args.where is None else filter_parser.parse(args.where),
        min_similarity=args.min_similarity,
        per_window=args.per_window,
        dedup_distance=args.dedup_distance,
        per_group=None if args.per_group is None else _group_limit(args.per_group),
        diversity=args.diversity,
        csls=args.csls,
    )
    if args.explain and args.format != "table":
        raise QueryError(f"--explain prints text and cannot be combined with --format {args.format}")
    if args.explain and (len(args.seeds) > 1 or args.less):
        raise QueryError("--explain needs a single sound: search with one at a time")
    part = (args.start_s, args.end_s)
    if part != (0.0, None) and len(args.seeds) > 1:
        raise QueryError("--start_s and --end_s need a single sound: search with one at a time")
    with Nearest(
        args.model_dir,
        wav_dir=args.wav_dir,
        device=args.device,
        engine=args.engine,
        words_model=args.words_model,
        sentence_model=args.sentence_model,
        pictures_model=args.pictures_model,
        image_model=image_model.from_arguments(args),
    ) as nearest:
        seeds = [_seed(nearest, name, part) for name in args.seeds]
        seeds += [_seed(nearest, name, (0.0, None), -relevance_feedback.DISLIKE_WEIGHT) for name in args.less]
        if args.explain and any(isinstance(seed, ByText | ByPicture) for seed in seeds):
            raise QueryError("--explain compares two sounds: words and pictures have none")
        try:
            result = nearest.query(seeds, args.k, options)
        except UnknownItemError as error:
            raise UnknownItemError(f"{error}; and there is no such file") from error
        for one in result.understood:
            print(f"boiler: {understood_text(one)}", file=sys.stderr)
        _print_result(nearest, result, args.format)
        if args.explain:
            for match in result.matches:
                print("\n" + explanation_text(nearest.explain(seeds, match.n), match.id))
    if result.shortfall:
        print(f"boiler: {result.shortfall}", file=sys.stderr)
    if result.has_no_background:
        print("boiler: too few different sounds in this index to say how similar these are", file=sys.stderr)
    if result.nothing_similar:
        print("boiler: nothing similar: even the best match is hardly closer than a random pair", file=sys.stderr)
    return 0


def _print_result(nearest: Nearest, result: QueryResult, form: str) -> None:
    if form == "json":
        print(export.json_list(result.matches), end="")
    elif form == "csv":
        print(export.csv_table(result.matches), end="")
    elif form == "m3u8":
        entries = [PlaylistEntry(one.n, one.id, nearest.item(one.n).duration_s) for one in result.matches]
        sys.stdout.flush()
        sys.stdout.buffer.write(export.m3u8(entries, nearest.path))
    else:
        Console().print(match_table(result.matches))


def _seed(nearest: Nearest, name: str, part: tuple[float, float | None], weight: float = 1.0) -> Seed:
    path = Path(name).expanduser()
    if path.is_dir():
        raise QueryError(f"{path} is a folder: give a sound file, or the id of an item")
    if path.is_file() and path.suffix.lower() in image.SUFFIXES:
        return ByPicture(path, weight)
    if path.is_file():
        return BySound(path, *part, weight)
    if nearest.has_words and not _PATH.search(name) and nearest.find_item(name) is None:
        return ByText(name, weight)
    return ByItem(name, *part, weight)


def understood_text(understood: Understood) -> str:
    """How a query in words was understood, as a line of text."""
    classes = ", ".join(f"{one.name} {one.score:.2f}" for one in understood.wanted)
    if understood.unwanted:
        classes += "; away from " + ", ".join(f"{one.name} {one.score:.2f}" for one in understood.unwanted)
    if understood.seen:
        seen = ", ".join(f"{one.name} {one.score:.2f}" for one in understood.seen)
        return printable(f"picture: {seen} (sounds of: {classes or 'similar pictures of the training'})")
    return printable(f"words: {understood.text.describe()} (sounds of: {classes})")


def _group_limit(text: str) -> GroupLimit:
    field, colon, limit = text.rpartition(":")
    if not colon:
        return GroupLimit(text)
    if not limit.isdecimal():
        raise QueryError(f"--per_group is FIELD or FIELD:LIMIT, as in folder:2, not {text!r}")
    return GroupLimit(field, int(limit))


def match_table(matches: Sequence[Match]) -> Table:
    """The matches as a table for a terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("distance", "closer than", "from", "to"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("id", overflow="fold")
    labelled = any(match.label is not None for match in matches)
    if labelled:
        table.add_column("label", overflow="fold")
    in_words = any(match.words for match in matches)
    if in_words:
        table.add_column("sounds like", overflow="fold")
    for match in matches:
        table.add_row(
            f"{match.distance:.3f}",
            "-" if match.closer_than is None else format_percent(match.closer_than),
            f"{match.start_s:.1f} s",
            f"{match.end_s:.1f} s",
            # Escaped: rich reads [brackets] in a name as markup.
            *(escape(printable(text)) for text in ([match.id, match.label or ""] if labelled else [match.id])),
            *([", ".join(f"{one.name} {one.score:.2f}" for one in match.words)] if in_words else []),
        )
    return table


def format_percent(share: float) -> str:
    """A share from 0 to 1 in per cent. Shares close to 1 get more digits, so that they remain distinguishable.

    >>> [format_percent(share) for share in (0.5, 0.9984, 0.9995, 0.99998, 1.0)]
    ['50.0 %', '99.8 %', '99.95 %', '99.998 %', '100 %']
    """
    if share == 1:
        return "100 %"
    digits = 1
    while digits < 4 and 100 * (1 - share) < 10**-digits:
        digits += 1
    return f"{100 * share:.{digits}f} %"


def explanation_text(why: Explanation, id: str) -> str:
    """Why a match is similar, as lines of text."""
    lines = [f"{printable(id)}: similarity {why.similarity:.3f}"]
    for window in why.windows[:SHOWN_WINDOWS]:
        lines.append(f"  {_seconds(window.query)} matches {_seconds(window.answer)}: {window.similarity:.3f}")
    for code in why.codes[:SHOWN_CODES]:
        query, match = (", ".join(map(_seconds, spans)) for spans in (code.query_spans, code.answer_spans))
        lines.append(f"  code {code.code} adds {code.share:.3f}; query {query}; match {match}")
    others = why.codes[SHOWN_CODES:]
    if others:
        lines.append(f"  {len(others)} more codes add {sum(code.share for code in others):.3f}")
    lines += [f"  over time, query: {_digits(why.query_curve)}", f"  over time, match: {_digits(why.answer_curve)}"]
    return "\n".join(lines)


def _seconds(span: TimeSpan) -> str:
    return f"{span.start_s:.1f}-{span.end_s:.1f} s"


def _digits(curve: Sequence[Moment]) -> str:
    """The similarities over time as one digit each, in tenths; negative ones are 0."""
    digits = "".join(str(min(max(int(10 * moment.similarity), 0), 9)) for moment in curve)
    return f"{digits}  {_seconds(TimeSpan(curve[0].start_s, curve[-1].end_s))}"


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m boiler.cli.search`. Returns the exit code."""
    return arguments.command(
        argv, prog="python -m boiler.cli.search", description=__doc__, add_arguments=add_arguments, run=run
    )


if __name__ == "__main__":
    sys.exit(main())
