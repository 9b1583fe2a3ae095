"""How the browser is told what to open: by arguments, which become environment, or by the environment itself.

Nothing heavy is imported here, so that ``boiler browse --help`` answers at once.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
from pathlib import Path

MODEL_DIR = "BOILER_MODEL_DIR"
WAV_DIR = "BOILER_WAV_DIR"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the browser can be started with."""
    parser.add_argument(
        "model_dir",
        type=Path,
        nargs="?",
        help=f"the model directory, as boiler index printed it; else {MODEL_DIR}, else it is chosen in the sidebar",
    )
    parser.add_argument(
        "--wav_dir", type=Path, help=f"the folder of sounds, where it is not as it was indexed; else {WAV_DIR}"
    )


def give(args: argparse.Namespace) -> None:
    """Say it to the pages: by the environment, which is where they look whatever way the browser was started."""
    for name, value in ((MODEL_DIR, args.model_dir), (WAV_DIR, args.wav_dir)):
        if value is not None:
            os.environ[name] = str(value.expanduser().resolve())


def given() -> tuple[Path, Path | None] | None:
    """The model directory and the folder of sounds that the browser was started with, if it was."""
    model_dir, wav_dir = os.environ.get(MODEL_DIR), os.environ.get(WAV_DIR)
    return (Path(model_dir), Path(wav_dir) if wav_dir else None) if model_dir else None


def for_this_machine_alone(address: str | None) -> bool:
    """Whether only this machine reaches a server that listens there. Where others do, they choose no folders of it.

    >>> for_this_machine_alone("127.0.0.1"), for_this_machine_alone("0.0.0.0"), for_this_machine_alone(None)
    (True, False, False)
    """
    if address == "localhost":
        return True
    try:
        return address is not None and ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
