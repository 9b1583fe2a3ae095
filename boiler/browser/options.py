"""What the browser opens: command-line arguments, passed to the pages as environment variables.

This module imports nothing slow, so that ``boiler browse --help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

MODEL_DIR = "BOILER_MODEL_DIR"
WAV_DIR = "BOILER_WAV_DIR"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model directory and ``--wav_dir``."""
    parser.add_argument(
        "model_dir",
        type=Path,
        nargs="?",
        help=f"the model directory that boiler index printed (default: {MODEL_DIR}, else chosen in the sidebar)",
    )
    parser.add_argument(
        "--wav_dir",
        type=Path,
        help=f"the folder of sounds, if it moved since it was indexed (default: {WAV_DIR}, else where it was indexed)",
    )


def set_environment(args: argparse.Namespace) -> None:
    """Set the environment variables that the pages read to the parsed arguments."""
    for name, value in ((MODEL_DIR, args.model_dir), (WAV_DIR, args.wav_dir)):
        if value is not None:
            os.environ[name] = str(value.expanduser().resolve())


def from_environment() -> tuple[Path, Path | None] | None:
    """The model directory and the folder of sounds that the browser was started with, if any."""
    model_dir, wav_dir = os.environ.get(MODEL_DIR), os.environ.get(WAV_DIR)
    return (Path(model_dir), Path(wav_dir) if wav_dir else None) if model_dir else None
