"""Search in a browser.

    $ boiler browse exp/mine/vqvae_012/BagTopVQVAE
    $ boiler browse exp/mine/vqvae_012/BagTopVQVAE --wav_dir ~/sounds --port 8600

It runs ``streamlit run boiler/app.py``, reachable from this machine only unless --host says otherwise. Without a model
directory and without BOILER_MODEL_DIR, choose one in the sidebar. Ctrl-C stops it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import boiler
from boiler import arguments
from boiler.browser import options
from boiler.errors import SettingsError
from boiler.store import generation

APP = Path(boiler.__file__).parent / "app.py"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `boiler browse`."""
    options.add_arguments(parser)
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0: also from other machines (default: %(default)s)",
    )
    parser.add_argument("--port", type=arguments.port, default=8501, help="port (default: %(default)s)")
    parser.add_argument(
        "--allow_anyone", action="store_true", help="serve other machines: there are no passwords and no API keys"
    )
    parser.add_argument("--headless", action="store_true", help="do not open a browser window")


def run(args: argparse.Namespace) -> int:
    """Run the browser until it is interrupted.

    Raises: ModelDirError: no index in the model directory. SettingsError: other machines can reach the address, without
    --allow_anyone; or a host name is not one.
    """
    if not arguments.is_loopback(args.host) and not args.allow_anyone:
        raise SettingsError(
            f"other machines can connect to {args.host}, and the browser has no password. Put it behind a"
            " proxy that asks for one, or allow everyone who can connect: --allow_anyone"
        )
    options.set_environment(args)
    options.allowed_hosts()  # an error here, not when a page is opened
    if given := options.from_environment():
        generation.open_last_good(given[0])  # an error here, not on the page
    words = streamlit_command(args.host, args.port, headless=args.headless)
    if os.name == "posix":
        sys.stdout.flush()
        os.execv(words[0], words)  # noqa: S606  # so that signals to this process reach the server
    return subprocess.run(words, check=False).returncode


def streamlit_command(host: str, port: int, *, headless: bool) -> list[str]:
    """The command line that runs the browser."""
    return [
        *(sys.executable, "-m", "streamlit", "run", str(APP)),
        *("--server.address", host),
        *("--server.port", str(port)),
        *("--server.headless", str(headless or (sys.platform == "linux" and "DISPLAY" not in os.environ)).lower()),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m boiler.cli.browse`. Returns the exit code."""
    return arguments.command(argv, prog="boiler browse", description=__doc__, add_arguments=add_arguments, run=run)


if __name__ == "__main__":
    sys.exit(main())
