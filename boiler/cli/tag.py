"""Tag the sounds of an index with a trained model.

    $ boiler tag MODEL_DIR --tags tags.safetensors
    $ boiler tag MODEL_DIR
    $ boiler tag MODEL_DIR --remove

The tags and their probabilities are stored in the catalog and published with the index; later runs of boiler index tag
new sounds, too. Without --tags, the tags of the model that the index has are shown. Search by tags with
boiler search MODEL_DIR SOUND --where 'tag:dog > 0.5'. Tags that people gave count instead of those of the model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from boiler import arguments
from boiler.arguments import printable
from boiler.indexing import pipeline
from boiler.search.nearest import Nearest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model_dir", type=Path, metavar="MODEL_DIR", help="the index")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--tags", type=Path, metavar="FILE", help="the model, as python -m boiler.train_tags writes it")
    what.add_argument("--remove", action="store_true", help="remove the model and its tags; tags by hand are kept")
    parser.add_argument(
        "--limit", type=arguments.at_least_1, default=20, help="show so many tags (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    if args.remove or args.tags is not None:
        _, n_tagged = pipeline.tag(args.model_dir, args.tags)
        print(f"{n_tagged} sounds tagged" if args.tags is not None else "the tags of the model were removed")
    with Nearest(args.model_dir) as nearest:
        counts = nearest.tag_counts()
        for one in counts[: args.limit]:
            print(printable(f"{one.n_items:>8}  {one.tag}"))
        if len(counts) > args.limit:
            print(f"and {len(counts) - args.limit} more")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return arguments.command(argv, prog="boiler tag", description=__doc__ or "", add_arguments=add_arguments, run=run)


if __name__ == "__main__":
    sys.exit(main())
