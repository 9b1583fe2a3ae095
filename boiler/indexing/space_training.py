"""What `boiler.train_words` and `boiler.train_pictures` share: their flags, the index that they learn from, and
what they say at the end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from boiler import arguments
from boiler.catalog.items import Failure
from boiler.crossmodal import trainer
from boiler.crossmodal.common_space import CommonSpace
from boiler.crossmodal.trainer import LOSSES, SpaceTrainResult, SpaceTrainSettings
from boiler.crossmodal.training_pairs import Space, TrainingPairs
from boiler.errors import SettingsError
from boiler.indexing import pipeline
from boiler.training.budget import TimeBudget

ENCODER = "GeneralEncoder"
"""Unless another is given."""


def add_arguments(parser: argparse.ArgumentParser, space: type[CommonSpace]) -> None:
    """Add the flags of both, in front of those of each."""
    flag = arguments.settings_flags(parser, SpaceTrainSettings)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model_dir", type=Path, help="learn from the sounds of this index, of any encoder")
    source.add_argument("--wav_dir", type=Path, help="learn from the sounds of this folder; read, never written to")
    parser.add_argument(
        "--encoder", default=ENCODER, metavar="NAME", help="for --wav_dir: its encoder (default: %(default)s)"
    )
    parser.add_argument("--pt_path", type=Path, metavar="FILE", help="for --wav_dir: the weights of the encoder")
    parser.add_argument(
        "--save_path", type=Path, required=True, help=f"the folder of the run, such as exp/{space.NAME}"
    )
    parser.add_argument(
        "--load_path",
        type=Path,
        default=argparse.SUPPRESS,
        help=f"a checkpoint of this run, {space.NAME}_NNN.pt, to resume",
    )
    flag("loss", str, "contrast: many negatives; triplet: one", LOSSES)
    flag("margin", float, "of --loss triplet, as a cosine")
    flag("steps", int, "number of steps, each with --batch_size sounds")
    flag("max_minutes", float, "minutes of the whole command; training ends at the first limit it reaches")
    flag("steps_per_checkpoint", int, "a checkpoint is written after so many steps, and at the end")
    flag("batch_size", int, "sounds per step; at most as many as there are to train on")
    flag("lr", float, "peak learning rate")
    flag("held_share", float, f"share of the {_held(space)} that is held out of training, to measure")
    flag("seed", int, "the same seed gives the same run")


def settings_of(args: argparse.Namespace, kind: type[TrainingPairs[Any]]) -> tuple[SpaceTrainSettings, TimeBudget]:
    """The settings from the flags, completed by those of a run that is resumed, and the time that is left.

    Raises: CheckpointError: `--load_path` is no checkpoint; SettingsError.
    """
    given = {item.name: vars(args)[item.name] for item in fields(SpaceTrainSettings) if item.name in args}
    start = trainer.load_checkpoint(args.load_path, kind) if "load_path" in given else None
    settings = SpaceTrainSettings(**{**start["settings"], **given} if start else given)
    return settings, TimeBudget(settings.max_minutes, start["elapsed_s"] if start else 0.0)


def names_encoder(args: argparse.Namespace) -> bool:
    """Whether an encoder is given by the flags."""
    return args.encoder != ENCODER or args.pt_path is not None


def index_of(args: argparse.Namespace) -> tuple[Path, Sequence[Failure]]:
    """The model directory to learn from: `--model_dir`, or that of `--wav_dir`, which is indexed first; and its sounds
    that could not be read.

    Raises: as `pipeline.index`. SettingsError: an encoder is given beside `--model_dir`.
    """
    if args.model_dir is not None:
        if names_encoder(args):
            raise SettingsError(
                "--encoder and --pt_path are of --wav_dir; the index of --model_dir has its own encoder"
            )
        return args.model_dir, ()
    model_dir = args.save_path / "index"
    indexed = pipeline.IndexSettings(args.wav_dir, args.encoder, args.pt_path, model_dir=model_dir)
    return model_dir, pipeline.index(indexed).failures


def report(result: SpaceTrainResult[Space], pairs: TrainingPairs[Space], model: Path, example: str) -> int:
    """Print what was learned, and how to search with it. Returns the exit code: 0, or 130 or 143 if a signal stopped
    the run."""
    name = result.space.NAME if result.space.NAME != "words" else "labels"
    print(f"{model}: {len(pairs.queries)} {name}, {len(pairs.vectors)} sounds, {result.step} steps")
    if result.metrics:
        print(f"boiler: {pairs.summary(result.metrics)}", file=sys.stderr)
    if result.stopped_by is not None:
        print(f"boiler: stopped; continue with --load_path {result.path}", file=sys.stderr)
        return 128 + result.stopped_by
    print(f"boiler: search with boiler search {example}", file=sys.stderr)
    return 0


def _held(space: type[CommonSpace]) -> str:
    return "sounds" if space.NAME == "words" else "pairs"
