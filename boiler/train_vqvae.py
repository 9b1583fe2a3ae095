"""Train an encoder on a folder of sounds, without labels.

    python -m boiler.train_vqvae --wav_dir ~/sounds --save_path exp/mine --max_minutes 20

writes exp/mine/vqvae_001.pt, vqvae_002.pt, ... and TensorBoard events (tensorboard --logdir exp). Ctrl-C saves after
the current step; resume the run, bit for bit, with

    python -m boiler.train_vqvae --wav_dir ~/sounds --save_path exp/mine --load_path exp/mine/vqvae_007.pt

On several processors or GPUs of one or more hosts, with the same result, it is

    torchrun --nproc_per_node=2 -m boiler.train_vqvae --wav_dir ~/sounds --save_path exp/mine

(boiler.training.distributed). Flags that are not given keep the values of the run that is resumed. A --load_path
outside of --save_path starts a new run from those weights.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from boiler import arguments

if __name__ == "__main__":  # before the slow imports
    arguments.exit_at_interrupt()

from boiler.errors import SettingsError
from boiler.evaluation.baseline_comparison import compare_with_baseline
from boiler.model import checkpoint
from boiler.model.device import resolve_device
from boiler.training import trainer
from boiler.training.settings import TrainSettings
from boiler.training.stopping import StopRequested
from boiler.training.trainer import MIN_STEPS_PER_EPOCH

__all__ = ["TrainSettings", "add_arguments", "main", "run", "train"]


def train(settings: TrainSettings) -> Path:
    """Train until `epoch` or `max_minutes` is reached, or a signal comes. Returns the path of the last checkpoint.

    Raises: `CorpusError`, `CheckpointError`, `SettingsError`; `StopRequested` (a `KeyboardInterrupt`) when a signal
    comes before there is a network to save.
    """
    return trainer.train(settings).path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags. The default of a flag is that of `TrainSettings`, or its value in the run that is resumed."""
    flag = arguments.settings_flags(parser, TrainSettings)
    parser.add_argument("--wav_dir", type=Path, required=True, help="the folder of sounds; read, never written to")
    parser.add_argument("--save_path", type=Path, required=True, help="where checkpoints are written, such as exp/mine")
    flag("load_path", Path, "a checkpoint to resume (in --save_path), or to start a new run from (elsewhere)")
    parser.add_argument(
        "--from_scratch",
        action="store_true",
        default=argparse.SUPPRESS,
        help="train the whole network, from random weights; by default its first half is the general network, which "
        "stays as it is",
    )
    flag("epoch", int, "number of epochs")
    flag("max_minutes", float, "minutes that the whole command may take, decoding and fitting included (10 %% more at "
         "most); training ends at the first limit it reaches, and the learning rate decays towards that")  # fmt: skip
    flag("steps_per_epoch", int, f"default: one pass over the sounds, at least {MIN_STEPS_PER_EPOCH} steps")
    flag("batch_size", int, "sounds per step, two views of each")
    flag("lr", float, "peak learning rate")
    flag("latent_loss_weight", float, "weight of the commitment loss: the distance of features to their codes")
    flag("contrast_weight", float, "weight of the contrastive loss; 0 trains a plain VQ-VAE-2")
    flag("n_mel_channels", int, "mel bands of the spectrogram, a multiple of 16; with --from_scratch")
    flag("held_share", float, "share of the sounds that is held out of training, for validation")
    flag("seed", int, "the same seed gives the same run")
    flag("device", str, "auto (default): cuda, else mps, else cpu")
    flag("precision", str, "auto (default): bfloat16 if the processor has units for it; or float32, bfloat16")
    flag("cache_dir", Path, "cache of decoded sounds (default: cache in --save_path); may be deleted at any time")
    flag("workers", int, "decoding processes")


def settings_from(args: argparse.Namespace) -> TrainSettings:
    """The settings from the flags, completed by those of the run that is resumed."""
    names = {field.name for field in fields(TrainSettings)}
    given = {name: value for name, value in vars(args).items() if name in names}
    settings = TrainSettings(**given)
    if settings.load_path is None:
        return settings
    start = checkpoint.load(settings.load_path)
    if settings.from_scratch and start.trunk == "general":
        raise SettingsError(
            f"--from_scratch does not fit --load_path {settings.load_path}, a network that starts from the general one:"
            " leave one of them out"
        )
    if settings.resumes:
        return replace(TrainSettings.from_plain(start.settings), **given)
    if "n_mel_channels" in given or start.trunk == "general":
        return settings
    # A new run of the same network: the checkpoint decides the number of bands, not the default.
    return replace(settings, n_mel_channels=start.mel["n_mels"])


def run(args: argparse.Namespace) -> int:
    """Train, and print the checkpoint and the next command. The exit code is 0, or 130 or 143 if a signal stopped
    it."""
    started = time.monotonic()
    settings = settings_from(args)
    try:
        result = trainer.train(settings, started=started)
    except StopRequested as stopped:
        print(
            "boiler: stopped while decoding, before the first training step. The sounds decoded so far are kept: the "
            "same command continues with them",
            file=sys.stderr,
        )
        return 128 + stopped.number
    if result.rank:  # rank 0 says it
        return 0 if result.stopped_by is None else 128 + result.stopped_by
    print(result.path)
    wav_dir = result.settings.wav_dir
    if result.stopped_by is not None:
        resume = f"--save_path {result.settings.save_path} --load_path {result.path}"
        print(f"resume: boiler train --wav_dir {wav_dir} {resume}", file=sys.stderr)
        return 128 + result.stopped_by
    comparison = compare_with_baseline(
        result.path,
        result.dataset,
        max_s=result.budget.comparison_s(),
        seed=result.settings.seed,
        device=resolve_device(result.settings.device),
    )
    print(f"boiler: {comparison}", file=sys.stderr)
    if not comparison.is_better:
        print(
            f"boiler: WARNING: this is not better than {comparison.baseline}. Train longer (--load_path {result.path}"
            f" with more --epoch or --max_minutes), or index without training: boiler index {wav_dir}",
            file=sys.stderr,
        )
    print(f"next: boiler index --wav_dir {wav_dir} --pt_path {result.path}", file=sys.stderr)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m boiler.train_vqvae`."""
    return arguments.command(
        argv, prog="python -m boiler.train_vqvae", description=__doc__, add_arguments=add_arguments, run=run
    )


if __name__ == "__main__":
    sys.exit(main())
