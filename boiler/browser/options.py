"""What the browser opens: command-line arguments, passed to the pages as environment variables.

This module imports nothing slow, so that ``boiler browse --help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from boiler.errors import SettingsError

MODEL_DIR = "BOILER_MODEL_DIR"
WAV_DIR = "BOILER_WAV_DIR"
ALLOWED_HOSTS = "BOILER_ALLOWED_HOSTS"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model directory, ``--wav_dir`` and ``--allowed_hosts``."""
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
    parser.add_argument(
        "--allowed_hosts",
        metavar="HOST,...",
        help="answer only under these host names, so that no web site can point its own name at this machine (DNS"
        f" rebinding) (default: {ALLOWED_HOSTS}, else any)",
    )


def set_environment(args: argparse.Namespace) -> None:
    """Set the environment variables that the pages read to the parsed arguments."""
    for name, value in ((MODEL_DIR, args.model_dir), (WAV_DIR, args.wav_dir)):
        if value is not None:
            os.environ[name] = str(value.expanduser().resolve())
    if args.allowed_hosts is not None:
        os.environ[ALLOWED_HOSTS] = args.allowed_hosts


def allowed_hosts() -> list[str]:
    """The host names that the browser answers under; empty: any. Raises: SettingsError: one is a pattern or a URL."""
    hosts = [host.strip().lower() for host in os.environ.get(ALLOWED_HOSTS, "").split(",") if host.strip()]
    for host in hosts:
        if not set("*/?#@ ").isdisjoint(host):
            raise SettingsError(f"an allowed host is a name like sounds.example.org, without a port; got {host!r}")
    return hosts


def from_environment() -> tuple[Path, Path | None] | None:
    """The model directory and the folder of sounds that the browser was started with, if any."""
    model_dir, wav_dir = os.environ.get(MODEL_DIR), os.environ.get(WAV_DIR)
    return (Path(model_dir), Path(wav_dir) if wav_dir else None) if model_dir else None
