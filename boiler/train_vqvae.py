"""Learn an encoder from a folder of sounds, without labels.

    python -m boiler.train_vqvae --wav_dir ~/sounds --save_path exp/mine --max_minutes 20

writes exp/mine/vqvae_001.pt, vqvae_002.pt, ... and TensorBoard events (tensorboard --logdir exp). Ctrl-C saves at the
next step; go on, exactly where it stopped, by

    python -m boiler.train_vqvae --wav_dir ~/sounds --save_path exp/mine --load_path exp/mine/vqvae_007.pt

with which flags that are not given are as they were. A --load_path outside of the --save_path starts a new run from
those weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from boiler import arguments
from boiler.model import checkpoint
from boiler.training.trainer import MIN_STEPS_PER_EPOCH, Run, TrainSettings

__all__ = ["TrainSettings", "add_arguments", "main", "run", "train"]


def train(settings: TrainSettings) -> Path:
    """Train until --epoch or --max_minutes ends, or a signal comes: the last checkpoint written.

    Raises: `CorpusError`, `CheckpointError`, `SettingsError`.
    """
    return Run(settings).go()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags; a flag that is not given is as in `TrainSettings`, or as it was in the run that goes on."""
    defaults = {field.name: field.default for field in fields(TrainSettings)}

    def flag(name: str, kind: type, what: str) -> None:
        default = defaults[name]
        text = what if default in (None, "auto") else f"{what} (default {default})"
        parser.add_argument(f"--{name}", type=kind, default=argparse.SUPPRESS, help=text)

    parser.add_argument("--wav_dir", type=Path, required=True, help="the folder of sounds; read, never written to")
    parser.add_argument("--save_path", type=Path, required=True, help="where the checkpoints go, such as exp/mine")
    flag("load_path", Path, "a checkpoint to go on from (in --save_path) or to start anew from (elsewhere)")
    flag("epoch", int, "epochs in all")
    flag("max_minutes", float, "minutes of training in all, after up to a minute for what the folder teaches by "
         "itself; training ends by whichever bound comes first, and the rate falls towards it")  # fmt: skip
    flag("steps_per_epoch", int, f"default: one pass over the sounds, at least {MIN_STEPS_PER_EPOCH} steps")
    flag("batch_size", int, "sounds a step, two views of each")
    flag("lr", float, "highest learning rate")
    flag("latent_loss_weight", float, "weight of the distance between features and their words")
    flag("contrast_weight", float, "weight of telling sounds from one another; 0 trains a plain VQ-VAE2")
    flag("n_mel_channels", int, "bands of the spectrogram, a multiple of 16")
    flag("held_share", float, "share of the sounds that is kept out of training, to measure on")
    flag("seed", int, "the same seed, the same run")
    flag("device", str, "auto (default): cuda, else mps, else cpu")
    flag("precision", str, "auto (default): bfloat16 where the processor is made for it; or float32, bfloat16")
    flag("cache_dir", Path, "where decoded sounds are kept (default: cache in --save_path); may be deleted at any time")
    flag("workers", int, "processes that decode")


def settings_of(args: argparse.Namespace) -> TrainSettings:
    """The settings that the flags ask for."""
    names = {field.name for field in fields(TrainSettings)}
    given = {name: value for name, value in vars(args).items() if name in names}
    settings = TrainSettings(**given)
    if settings.load_path is None:
        return settings
    before = checkpoint.load(settings.load_path)
    if settings.resumes:
        return replace(TrainSettings.from_plain(before.settings), **given)
    # A new run, but of the same network: what its shape depends on is not for a default to change.
    if "n_mel_channels" in given:
        return settings
    return replace(settings, n_mel_channels=before.mel["n_mels"])


def run(args: argparse.Namespace) -> int:
    """Trains, and says what to do next: 0 done, 130 or 143 stopped by a signal."""
    course = Run(settings_of(args))
    if course.sounds.failures:
        n_failures = len(course.sounds.failures)
        print(f"boiler: {n_failures} file{'s' * (n_failures > 1)} cannot be used:", file=sys.stderr)
        for failure in course.sounds.failures:
            print(f"  {failure.id}: {failure.reason}", file=sys.stderr)
    path = course.go()
    print(path)
    wav_dir, save_path = course.settings.wav_dir, course.settings.save_path
    if course.stopped_by is not None:
        print(f"go on: boiler train --wav_dir {wav_dir} --save_path {save_path} --load_path {path}", file=sys.stderr)
        return 128 + course.stopped_by
    print(f"next: boiler index --wav_dir {wav_dir} --pt_path {path}", file=sys.stderr)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m boiler.train_vqvae`."""
    return arguments.command(
        argv, prog="python -m boiler.train_vqvae", description=__doc__, add_arguments=add_arguments, run=run
    )


if __name__ == "__main__":
    sys.exit(main())
