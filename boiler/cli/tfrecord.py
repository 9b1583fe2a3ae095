"""Print the records of TFRecord files, and check every one of them.

    $ boiler tfrecord records.tfrecord
    $ boiler tfrecord records.tfrecord --vocabulary records.csv --limit 3

For each record: its features, with their types, sizes and first values, and the names of its labels. Damaged records
are named on stderr, counted, and make the exit code 1. All records are checked, also those beyond --limit.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from boiler import arguments
from boiler.arguments import printable
from boiler.tagging.examples import DamageLog, find_files
from boiler.tagging.tfrecord import (
    Damage,
    FeatureValue,
    NotAnExampleError,
    RawRecord,
    TFExample,
    parse_example,
    read_records,
)
from boiler.tagging.vocabulary import Vocabulary

_FIRST_VALUES = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="TFRecord files, or globs in quotes")
    parser.add_argument("--vocabulary", type=Path, metavar="CSV", help="names of the labels (columns Index, Name)")
    parser.add_argument(
        "--limit",
        type=arguments.at_least_1,
        default=10,
        help="print so many records of each file (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    vocabulary = None if args.vocabulary is None else Vocabulary.read(args.vocabulary)
    damages = DamageLog(lambda damage: print(printable(f"boiler: {damage}"), file=sys.stderr))
    n_good = 0
    for path in find_files(args.files):
        n_here = 0
        for record in read_records(path, damages):
            try:
                example = parse_example(record.data)
            except NotAnExampleError as error:
                damages(Damage(path, record.number, record.offset, str(error)))
                continue
            if n_here < args.limit:
                print(printable("\n".join(describe(record, example, vocabulary))))
            n_here += 1
        n_good += n_here
    print(f"{n_good} records, {len(damages)} damaged")
    return 1 if len(damages) else 0


def describe(record: RawRecord, example: TFExample, vocabulary: Vocabulary | None) -> list[str]:
    """The lines that show a record."""
    lines = [f"{record.path}: record {record.number} at byte {record.offset}, {len(record.data)} bytes"]
    for name, value in sorted(example.features.items()):
        lines.append(f"  {name:<12} {_shown(value)}")
        if name == "labels" and vocabulary is not None and isinstance(value, np.ndarray):
            lines.append(f"  {'':<12} {', '.join(_name(vocabulary, int(label)) for label in value)}")
    for name, frames in sorted(example.feature_lists.items()):
        first = f", the first: {_shown(frames[0])}" if frames else ""
        lines.append(f"  {name:<12} {len(frames)} frames{first}")
    return lines


def _name(vocabulary: Vocabulary, label: int) -> str:
    return vocabulary.names[label] if 0 <= label < len(vocabulary) else f"{label} (not in the vocabulary)"


def _shown(value: FeatureValue) -> str:
    more = " ..." if len(value) > _FIRST_VALUES else ""
    if isinstance(value, list):
        texts = [repr(one.decode()) if _is_text(one) else f"{len(one)} bytes" for one in value[:_FIRST_VALUES]]
        return f"bytes [{len(value)}]: {', '.join(texts)}{more}"
    first = ", ".join(f"{number:.6g}" for number in value[:_FIRST_VALUES].tolist())
    return f"{value.dtype} [{len(value)}]: {first}{more}"


def _is_text(data: bytes) -> bool:
    try:
        return len(data) <= 100 and data.decode().isprintable()
    except UnicodeDecodeError:
        return False


def main(argv: Sequence[str] | None = None) -> int:
    return arguments.command(
        argv, prog="boiler tfrecord", description=__doc__ or "", add_arguments=add_arguments, run=run
    )


if __name__ == "__main__":
    sys.exit(main())
