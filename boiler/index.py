"""Index a folder of sounds, so that it can be searched. Only new and changed files are decoded and embedded.

    $ boiler index ~/sounds --pt_path exp/mine/vqvae_012.pt BagTopVQVAE
    $ boiler index ~/sounds MFCCStats --model_dir exp/sounds
    $ boiler index ~/sounds MFCCStats --dry_run
    $ boiler index s3://bucket/sounds MFCCStats --model_dir exp/sounds
    $ boiler index exp/sounds --engine hnsw --engine_option width=64
    $ boiler index exp/sounds --rollback
    $ boiler index exp/sounds --repair

Run it again whenever the folder has changed. A run that was stopped or killed continues where it stopped. Files that
cannot be decoded are listed at the end with the reason and make the exit code 1; all others are indexed.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from boiler import arguments

if __name__ == "__main__":  # before the slow imports
    arguments.exit_at_interrupt()

from boiler import encoder
from boiler.arguments import printable
from boiler.catalog.catalog import CATALOG_FILE, Catalog, has_catalog
from boiler.catalog.folder import is_address, open_folder, path_or_address
from boiler.engine import ENGINES, selection
from boiler.errors import CorpusError
from boiler.indexing.pipeline import IndexSettings, index, plan
from boiler.indexing.repair import repair
from boiler.indexing.report import Report, plan_lines
from boiler.store import generation

__all__ = ["IndexSettings", "Report", "add_arguments", "index", "main", "plan", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words",
        nargs="*",
        metavar="[DIR] [ENCODER]",
        help="the folder of sounds, a path or an address (s3://, gs://, https://), or a model directory to update; and"
        " the encoder: "
        f"{', '.join(encoder.ENCODERS)}, or module:Class for one of your own "
        f"(default: {encoder.DEFAULT} with --pt_path, {encoder.WITHOUT_CHECKPOINT} without)",
    )
    parser.add_argument("--wav_dir", type=path_or_address, help="the folder of sounds, if not given as DIR")
    parser.add_argument("--pt_path", type=Path, help="the training checkpoint of the encoder")
    parser.add_argument(
        "--sample_rate_hz",
        type=arguments.at_least_1,
        help="ONNXEncoder and TorchScriptEncoder: sampling rate of the model",
    )
    parser.add_argument("--window_s", type=float, help="the same encoders: window of the model in seconds")
    parser.add_argument("--sha256", help="TorchScriptEncoder: hash of the file, which is code")
    parser.add_argument(
        "--encoder_option",
        action="append",
        metavar="KEY=VALUE",
        help="a parameter of the encoder, such as tokens=class of ASTEncoder; may be given more than once",
    )
    parser.add_argument(
        "--model_dir",
        type=Path,
        help="where to write the index (default: beside the checkpoint; without one exp/FOLDER/ENCODER)",
    )
    parser.add_argument(
        "--windows", choices=("all", "first"), help="all windows of each sound, or only its first one (default: all)"
    )
    parser.add_argument(
        "--hop_s",
        type=float,
        help="seconds from one window to the next (default: set by the encoder, mostly half a window)",
    )
    parser.add_argument(
        "--url_template", help="the URL of an item, from {id}, {stem}, {name}, {folder} (default: {id})"
    )
    parser.add_argument(
        "--metadata",
        type=Path,
        help="a table (.csv, .tsv, .parquet) of labels and further columns, with a column id, path or file_name; later"
        " runs read it again, and keep what it gave if it is gone (default: metadata.csv in the folder of sounds, if it"
        " has a column file_name)",
    )
    parser.add_argument(
        "--no_metadata", action="store_true", help="forget the table of an earlier run: labels from the folders"
    )
    parser.add_argument("--include", action="append", metavar="GLOB", help="only files that match; may be repeated")
    parser.add_argument("--exclude", action="append", metavar="GLOB", help="skip files that match; may be repeated")
    parser.add_argument(
        "--batch_size", type=arguments.at_least_1, default=16, help="windows embedded at once (default: %(default)s)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps (default: %(default)s)")
    parser.add_argument(
        "--workers", type=arguments.at_least_1, help="decoding processes (default: one for each processor)"
    )
    parser.add_argument(
        "--on",
        metavar="ray[://HOST:PORT]",
        help="embed on the Ray cluster with this head node, or on the processors of this machine (ray); the folder and"
        " the model directory must have the same paths on all machines",
    )
    parser.add_argument(
        "--decode_timeout_s",
        type=float,
        default=60.0,
        help="maximum seconds to decode half a minute of sound (default: %(default)s)",
    )
    parser.add_argument(
        "--max_file_hours", type=float, default=24.0, help="longer sounds are refused (default: %(default)s)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="random seed of the sample an encoder is fitted to, and of the engines (default: %(default)s)",
    )
    parser.add_argument(
        "--check", action="store_true", help="hash all files, not only those whose size or time changed"
    )
    parser.add_argument("--retry_failed", action="store_true", help="try files again that could not be decoded")
    parser.add_argument(
        "--force",
        action="store_true",
        help="remove files that are gone even if they are more than half; embed again with another encoder",
    )
    parser.add_argument("--dry_run", action="store_true", help="only print what would be done")
    switches = parser.add_mutually_exclusive_group()
    switches.add_argument("--rollback", action="store_true", help="go back to the previous index")
    switches.add_argument(
        "--undo_rollback", action="store_true", help="go back to the index that --rollback left, until the next run"
    )
    parser.add_argument(
        "--repair",
        action="store_true",
        help="rebuild a damaged catalog from the newest undamaged index, without embedding, then update the index",
    )
    parser.add_argument(
        "--engine",
        metavar="NAME",
        help=f"the search engine that answers: {', '.join(ENGINES)}, module:Class, or {selection.AUTO}, which chooses"
        f" by the number of windows (default: as before; at first {selection.AUTO})",
    )
    parser.add_argument(
        "--engine_option",
        action="append",
        metavar="KEY=VALUE",
        help="a parameter of the engine, such as width=64 of hnsw; may be given more than once",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    folder, name = _words(args)
    if args.rollback or args.undo_rollback:
        switch = generation.rollback if args.rollback else generation.undo_rollback
        back = switch(args.model_dir or Path(folder))
        print(f"{back.name} is current again: {back.header.n_items} sounds, {back.header.n_rows} windows")
        return 0
    model_dir = args.model_dir
    if args.repair:
        print(repair(model_dir or Path(folder)))
    if isinstance(folder, Path) and model_dir in (None, folder) and _is_model_dir(folder):
        model_dir, folder = folder, _folder_of(folder)
    if args.repair and not open_folder(folder).is_here():
        print(f"{folder} is not here: run boiler index again where it is, to bring the index up to date")
        return 0
    settings = IndexSettings(
        wav_dir=folder,
        encoder=name,
        model_dir=model_dir,
        include=None if args.include is None else tuple(args.include),
        exclude=None if args.exclude is None else tuple(args.exclude),
        encoder_options=_encoder_options(args),
        engine_options=None if args.engine_option is None else selection.parse_options(args.engine_option),
        **{key: getattr(args, key) for key in _AS_GIVEN},
    )
    if args.dry_run:
        changes = plan(settings)
        print(json.dumps(asdict(changes), indent=2) if args.json else printable("\n".join(plan_lines(changes))))
        return 0
    report = index(settings)
    if args.json:
        print(report.to_json())
    else:
        print(*map(printable, report.lines()), sep="\n")
        for line in report.failure_lines():
            print(printable(line), file=sys.stderr)
        if report.generation:
            print(f"export BOILER_MODEL_DIR={shlex.quote(str(report.model_dir.resolve()))}")
    return 1 if report.failures or not report.generation or not report.table_matches else 0


_AS_GIVEN = (
    "pt_path",
    "windows",
    "hop_s",
    "url_template",
    "metadata",
    "no_metadata",
    "batch_size",
    "device",
    "workers",
    "decode_timeout_s",
    "max_file_hours",
    "seed",
    "check",
    "force",
    "retry_failed",
    "engine",
    "on",
)


def _encoder_options(args: argparse.Namespace) -> dict[str, Any] | None:
    options = {} if args.encoder_option is None else selection.parse_options(args.encoder_option)
    named = {name: getattr(args, name) for name in ("sample_rate_hz", "window_s", "sha256")}
    return {**options, **{name: value for name, value in named.items() if value is not None}} or None


def _words(args: argparse.Namespace) -> tuple[Path | str, str | None]:
    """The folder and the name of the encoder from the positional arguments; either may be missing."""
    words = list(args.words)
    if len(words) > 2:
        raise CorpusError(f"too many arguments: {' '.join(words)}; give a folder and an encoder")
    folder = args.wav_dir
    if folder is None and words and (len(words) == 2 or not _names_encoder(words[0]) or Path(words[0]).is_dir()):
        folder = path_or_address(words.pop(0))
    if folder is None and args.model_dir is not None:
        folder = _folder_of(args.model_dir)
    if folder is None:
        raise CorpusError("no folder given: give it as DIR or --wav_dir, as in boiler index ~/sounds")
    if len(words) > 1:
        raise CorpusError(f"the folder is given twice: {words[0]} and --wav_dir {folder}")
    return folder, words[0] if words else None


def _names_encoder(word: str) -> bool:
    return word in encoder.ENCODERS or word in encoder.RENAMED or (":" in word and not is_address(word))


def _is_model_dir(folder: Path) -> bool:
    return (folder / CATALOG_FILE).is_file() or bool(generation.names(folder))


def _folder_of(model_dir: Path) -> Path | str:
    """The folder that was indexed into a model directory."""
    if has_catalog(model_dir):
        with Catalog(model_dir / CATALOG_FILE, read_only=True) as catalog:
            folder = catalog.get("wav_dir")
        if folder is not None:  # absent in catalogs of earlier versions
            return path_or_address(folder)
    with generation.open_last_good(model_dir).items() as database:
        folder = database.meta().get("wav_dir")
    if folder is None:
        raise CorpusError(f"{model_dir} does not state which folder was indexed: give it with --wav_dir")
    return path_or_address(folder)


def main(argv: Sequence[str] | None = None) -> int:
    return arguments.command(argv, prog="boiler index", description=__doc__ or "", add_arguments=add_arguments, run=run)


if __name__ == "__main__":
    sys.exit(main())
