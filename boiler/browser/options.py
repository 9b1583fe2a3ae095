"""What the browser opens: command-line arguments, passed to the pages as environment variables.

This module imports nothing slow, so that ``boiler browse --help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from boiler.catalog.folder import is_address, path_or_address
from boiler.errors import SettingsError

MODEL_DIR = "BOILER_MODEL_DIR"
WAV_DIR = "BOILER_WAV_DIR"
ALLOWED_HOSTS = "BOILER_ALLOWED_HOSTS"
FEEDBACK_URL = "BOILER_FEEDBACK_URL"
LINKS, PRIVATE_LINKS = "BOILER_LINKS", "BOILER_LINKS_PRIVATE"
IMAGE_MODEL = "BOILER_IMAGE_MODEL"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model directory, ``--wav_dir``, ``--allowed_hosts``, ``--feedback_url`` and ``--image_model``."""
    parser.add_argument(
        "model_dir",
        type=Path,
        nargs="?",
        help=f"the model directory that boiler index printed (default: {MODEL_DIR}, else chosen in the sidebar)",
    )
    parser.add_argument(
        "--wav_dir",
        type=path_or_address,
        help=f"the folder of sounds, if it moved since it was indexed (default: {WAV_DIR}, else where it was indexed)",
    )
    parser.add_argument(
        "--allowed_hosts",
        metavar="HOST,...",
        help="answer only under these host names, so that no web site can point its own name at this machine (DNS"
        f" rebinding) (default: {ALLOWED_HOSTS}, else any)",
    )
    parser.add_argument(
        "--feedback_url",
        metavar="URL",
        help="store the likes and dislikes of this model directory in PostgreSQL: postgresql://user@host/name (default:"
        f" {FEEDBACK_URL}, else a file in it)",
    )
    parser.add_argument(
        "--image_model",
        type=Path,
        metavar="FILE",
        help=f"the network that names what pictures show (default: {IMAGE_MODEL}, else what boiler encoders add"
        " efficientnet-lite0 wrote)",
    )


def set_environment(args: argparse.Namespace) -> None:
    """Set the environment variables that the pages read to the parsed arguments."""
    for name, value in ((MODEL_DIR, args.model_dir), (WAV_DIR, args.wav_dir), (IMAGE_MODEL, args.image_model)):
        if value is not None:
            os.environ[name] = value if is_address(value) else str(value.expanduser().resolve())
    if args.allowed_hosts is not None:
        os.environ[ALLOWED_HOSTS] = args.allowed_hosts
    if args.feedback_url is not None:
        os.environ[FEEDBACK_URL] = args.feedback_url


def allowed_hosts() -> list[str]:
    """The host names that the browser answers under; empty: any. Raises: SettingsError: one is a pattern or a URL."""
    hosts = [host.strip().lower() for host in os.environ.get(ALLOWED_HOSTS, "").split(",") if host.strip()]
    for host in hosts:
        if not set("*/?#@ ").isdisjoint(host):
            raise SettingsError(f"an allowed host is a name like sounds.example.org, without a port; got {host!r}")
    return hosts


def is_set(name: str) -> bool:
    """Whether a variable that is 0 or 1 is 1; 0 by default. Raises: SettingsError: it is neither."""
    value = os.environ.get(name, "").strip() or "0"
    if value not in ("0", "1"):
        raise SettingsError(f"{name} is 0 or 1; got {value!r}")
    return value == "1"


def from_environment() -> tuple[Path, Path | str | None] | None:
    """The model directory and the folder of sounds that the browser was started with, if any."""
    model_dir, wav_dir = os.environ.get(MODEL_DIR), os.environ.get(WAV_DIR)
    return (Path(model_dir), path_or_address(wav_dir) if wav_dir else None) if model_dir else None


def feedback_url(model_dir: Path) -> str | None:
    """The database of the likes and dislikes of a model directory: that of the environment, if the browser was started
    with this directory. Others, chosen in the sidebar, have their file."""
    given = from_environment()
    return os.environ.get(FEEDBACK_URL) if given and given[0].resolve() == model_dir.resolve() else None


def image_model() -> Path | None:
    """The network that names what pictures show; None: the one that `boiler encoders add` wrote."""
    given = os.environ.get(IMAGE_MODEL)
    return Path(given) if given else None
