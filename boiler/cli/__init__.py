"""The command `boiler`, whose subcommands are modules: `boiler train` is `python -m boiler.train_vqvae`, for example.

The module of a command is imported when the command is run, so that `boiler --help` is instant.
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
    """A command before its module is imported."""

    module: str
    summary: str
    example: str


COMMANDS = {
    "demo": Command("boiler.cli.demo", "train, index and search a small collection of synthetic sounds", "boiler demo"),
    "train": Command(
        "boiler.train_vqvae",
        "train an encoder on a folder of sounds",
        "boiler train --wav_dir ~/sounds --save_path exp/mine --max_minutes 20",
    ),
    "index": Command(
        "boiler.index",
        "embed a folder of sounds and make it searchable; later runs update what changed",
        "boiler index --wav_dir ~/sounds --pt_path exp/mine/vqvae_012.pt",
    ),
    "search": Command(
        "boiler.cli.search",
        "find sounds that sound like a file or an item",
        "boiler search MODEL_DIR ~/sounds/dog.wav -k 5",
    ),
    "locate": Command(
        "boiler.cli.locate",
        "find where a short sound occurs inside long recordings",
        "boiler locate MODEL_DIR ~/sounds/jingle.wav",
    ),
    "encoders": Command(
        "boiler.cli.encoders", "list the encoders, and fetch weights that others published", "boiler encoders add aisfx"
    ),
    "embed": Command(
        "boiler.cli.embed",
        "write embeddings of sounds, pictures or videos to .npz files",
        "boiler embed ~/sounds --output_dir out --model MFCCStats",
    ),
    "export": Command(
        "boiler.cli.export",
        "export encoders (ONNX), weights (safetensors), vectors (Parquet, TFRecord), sounds (audiofolder)",
        "boiler export MODEL_DIR --parquet vectors.parquet",
    ),
    "train_tags": Command(
        "boiler.train_tags",
        "train a model that tags sounds, from labelled items or TFRecord files",
        "boiler train_tags --model_dir MODEL_DIR --save_path exp/tags",
    ),
    "train_words": Command(
        "boiler.train_words",
        "train a model that finds sounds by words, from labelled sounds",
        "boiler train_words --model_dir MODEL_DIR --labels folder --save_path exp/loop_words",
    ),
    "train_pictures": Command(
        "boiler.train_pictures",
        "train a model that finds sounds by pictures, from pairs of a picture and a sound",
        "boiler train_pictures --model_dir MODEL_DIR --pairs loop_pairs.csv --save_path exp/loop_pictures",
    ),
    "tag": Command(
        "boiler.cli.tag",
        "tag the sounds of an index with a trained model",
        "boiler tag MODEL_DIR --tags tags.safetensors",
    ),
    "tfrecord": Command(
        "boiler.cli.tfrecord",
        "print and check the records of TFRecord files",
        "boiler tfrecord records.tfrecord --vocabulary records.csv",
    ),
    "evaluate": Command(
        "boiler.cli.evaluate", "measure how good the nearest neighbours are", "boiler evaluate MODEL_DIR"
    ),
    "status": Command(
        "boiler.cli.status", "show what an index contains, and which files failed", "boiler status MODEL_DIR"
    ),
    "serve": Command("boiler.cli.serve", "search over HTTP", "boiler serve MODEL_DIR"),
    "browse": Command("boiler.cli.browse", "search in a browser", "boiler browse MODEL_DIR"),
}
"""Every command by its name, in the order in which a new user needs them."""


def overview() -> str:
    """The text of `boiler --help`: each command, what it does, and an example to copy."""
    lines = [
        "boiler finds sounds that sound alike.",
        "",
        "usage: boiler COMMAND [...]        boiler COMMAND --help shows the flags of one",
        "",
    ]
    for name, command in COMMANDS.items():
        lines += [f"  {name:<9} {command.summary}", f"            $ {command.example}"]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. The exit code is 0 for success, 1 if some files failed, 2 for an error, 130 for Ctrl-C."""
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
    try:
        with arguments.exiting_at_interrupt():  # it takes seconds
            module = importlib.import_module(COMMANDS[name].module)
        return arguments.command(
            words[1:],
            prog=f"boiler {name}",
            description=module.__doc__,
            add_arguments=module.add_arguments,
            run=module.run,
        )
    except KeyboardInterrupt:  # before the command runs
        print("boiler: stopped", file=sys.stderr)
        return 130
