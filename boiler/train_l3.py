"""Train the two networks of L3, of sound and of pictures, on a folder of videos, without labels.

    python -m boiler.train_l3 --video_dir ~/videos --save_path exp/l3 --max_minutes 60

writes exp/l3/l3_001.pt, l3_002.pt, ... and TensorBoard events. The networks learn which picture belongs to which second
of sound. Ctrl-C saves after the current step; the run is resumed with

    python -m boiler.train_l3 --video_dir ~/videos --save_path exp/l3 --load_path exp/l3/l3_004.pt

Flags that are not given keep the values of that run. What was learned is used with

    python -m boiler.index ~/sounds L3Encoder --pt_path exp/l3/l3_010.pt
    boiler embed ~/videos --modality video --model exp/l3/l3_010.pt --output_dir out
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from boiler import arguments
from boiler.model import l3_joint
from boiler.model.l3 import INPUT_REPRESENTATIONS
from boiler.model.l3_joint import JointSettings
from boiler.training import correspondence
from boiler.training.correspondence import L3TrainSettings
from boiler.training.stopping import StopRequested

__all__ = ["L3TrainSettings", "add_arguments", "main", "run", "train"]


def train(settings: L3TrainSettings) -> Path:
    """Train until `steps` or `max_minutes` is reached, or a signal comes. Returns the path of the last checkpoint.

    Raises: CorpusError, CheckpointError, SettingsError; StopRequested (a KeyboardInterrupt) when a signal comes before
    there is a network to save.
    """
    return correspondence.train(settings).path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    flag = arguments.settings_flags(parser, L3TrainSettings)
    shape = JointSettings()
    parser.add_argument("--video_dir", type=Path, required=True, help="the folder of videos; read, never written to")
    parser.add_argument("--save_path", type=Path, required=True, help="where checkpoints are written, such as exp/l3")
    flag("load_path", Path, "a checkpoint to resume (in --save_path), or to start a new run from (elsewhere)")
    flag("steps", int, "number of steps, each with one second of --batch_size videos")
    flag("max_minutes", float, "minutes of the whole command; training ends at the first limit it reaches")
    flag("steps_per_checkpoint", int, "a checkpoint is written after so many steps, and at the end")
    flag("batch_size", int, "videos per step; at most as many as there are to train on")
    flag("lr", float, "peak learning rate")
    flag("held_share", float, "share of the videos that is held out of training, to measure")
    flag("seed", int, "the same seed gives the same run")
    flag("workers", int, "decoding processes")
    network = parser.add_argument_group("networks", "of a new run; a checkpoint decides its own")
    network.add_argument(
        "--input_repr", choices=list(INPUT_REPRESENTATIONS), default=argparse.SUPPRESS,
        help=f"the spectrogram (default {shape.input_repr})",
    )  # fmt: skip
    network.add_argument(
        "--channels", type=int, nargs=4, metavar="N", default=argparse.SUPPRESS,
        help=f"of the four blocks (default {' '.join(map(str, shape.channels))}; OpenL3's are 64 128 256 512)",
    )  # fmt: skip
    for name in ("audio_shrink", "image_shrink"):
        network.add_argument(
            f"--{name}", type=int, choices=(1, 2, 4), default=argparse.SUPPRESS,
            help=f"the input is averaged over cells of this size first (default {getattr(shape, name)}; OpenL3's is 1)",
        )  # fmt: skip


def settings_from(args: argparse.Namespace) -> L3TrainSettings:
    """The settings from the flags, completed by those of the run that is resumed."""
    given = {
        name: value for name, value in vars(args).items() if name in {item.name for item in fields(L3TrainSettings)}
    }
    of_network: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in vars(args).items()
        if name in {item.name for item in fields(JointSettings)}
    }
    settings = L3TrainSettings(**given, network=replace(JointSettings(), **of_network))
    if not settings.resumes:
        return settings
    assert settings.load_path is not None
    return L3TrainSettings(**{**correspondence.settings_of(l3_joint.load(settings.load_path)), **given})


def run(args: argparse.Namespace) -> int:
    """Train, and print the checkpoint. The exit code is 0, or 130 or 143 if a signal stopped it."""
    settings = settings_from(args)
    try:
        result = correspondence.train(settings)
    except StopRequested as stopped:
        print(
            "boiler: stopped while decoding, before the first training step. The videos decoded so far are kept: the "
            "same command continues with them",
            file=sys.stderr,
        )
        return 128 + stopped.number
    for id, reason in result.dataset.failures:
        print(f"boiler: {arguments.printable(id)} was not used: {arguments.printable(reason)}", file=sys.stderr)
    print(result.path)
    print(
        "boiler: on videos held out of training: {correspondence_accuracy:.1%} of the pairs of a sound and a picture "
        "were told apart; the right picture was the first of all for {retrieval_p1:.1%} of the sounds (by chance "
        "{chance_p1:.1%})".format(**result.metrics),
        file=sys.stderr,
    )
    if result.best != result.path:
        print(f"boiler: an earlier checkpoint told more of them apart: {result.best}", file=sys.stderr)
    if result.stopped_by is not None:
        resume = f"--save_path {settings.save_path} --load_path {result.path}"
        print(f"resume: python -m boiler.train_l3 --video_dir {settings.video_dir} {resume}", file=sys.stderr)
        return 128 + result.stopped_by
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m boiler.train_l3`."""
    return arguments.command(
        argv, prog="python -m boiler.train_l3", description=__doc__, add_arguments=add_arguments, run=run
    )


if __name__ == "__main__":
    sys.exit(main())
