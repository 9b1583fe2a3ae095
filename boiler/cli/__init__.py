"""One command over all the modules: `boiler train` is `python -m boiler.train_vqvae`, and so on.

A module is imported when its command is asked for, so that `boiler --help` answers at once.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

import boiler
from boiler import arguments
from boiler.errors import UnknownNameError


class Command(NamedTuple):
    """What the one command knows of another before it is imported."""

    module: str
    what: str
    example: str


COMMANDS = {
    "demo": Command("boiler.cli.demo", "from nothing to a first answer, on made-up sounds", "boiler demo"),
    "train": Command(
        "boiler.train_vqvae",
        "learn an encoder from a folder of sounds",
        "boiler train --wav_dir ~/sounds --save_path exp/mine --max_minutes 20",
    ),
    "index": Command(
        "boiler.index",
        "embed the folder's sounds and make them searchable; again: only what changed",
        "boiler index --wav_dir ~/sounds --pt_path exp/mine/vqvae_012.pt",
    ),
    "search": Command(
        "boiler.cli.search", "ask what else sounds like this", "boiler search MODEL_DIR ~/sounds/dog.wav -k 5"
    ),
    "locate": Command(
        "boiler.cli.locate",
        "find a short sound inside long recordings, and when",
        "boiler locate MODEL_DIR ~/sounds/jingle.wav",
    ),
    "embed": Command(
        "boiler.cli.embed",
        "write embeddings of sounds, pictures or videos to .npz files",
        "boiler embed ~/sounds --output_dir out --model MFCCStats",
    ),
    "evaluate": Command("boiler.cli.evaluate", "measure how good the neighbours are", "boiler evaluate MODEL_DIR"),
    "status": Command("boiler.cli.status", "what an index holds, and what failed", "boiler status MODEL_DIR"),
    "serve": Command("boiler.cli.serve", "answer over HTTP", "boiler serve MODEL_DIR"),
    "browse": Command("boiler.cli.browse", "look for sounds in a browser", "boiler browse MODEL_DIR"),
}
"""Every command by its name, in the order in which a newcomer needs them."""


def overview() -> str:
    """The text of `boiler --help`: each command, what it does, and an example to copy."""
    lines = [
        "boiler finds sounds that sound alike.",
        "",
        "usage: boiler COMMAND [...]        boiler COMMAND --help shows the flags of one",
        "",
    ]
    for name, command in COMMANDS.items():
        lines += [f"  {name:<9} {command.what}", f"            $ {command.example}"]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0 done, 1 done but something failed, 2 refused, 130 stopped."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"boiler {boiler.__version__}")
        return 0
    name = words[0]
    if name not in COMMANDS:
        print(f"boiler: {UnknownNameError('command', name, COMMANDS)}", file=sys.stderr)
        return 2
    module = importlib.import_module(COMMANDS[name].module)
    return arguments.command(
        words[1:],
        prog=f"boiler {name}",
        description=module.__doc__,
        add_arguments=module.add_arguments,
        run=module.run,
    )
