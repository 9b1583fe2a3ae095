"""Look for sounds in a browser.

    $ boiler browse exp/mine/vqvae_012/BagTopVQVAE
    $ boiler browse exp/mine/vqvae_012/BagTopVQVAE --wav_dir ~/sounds --port 8600

It is ``streamlit run boiler/app.py``, for this machine alone unless another address is asked for. Without a model
directory (and without BOILER_MODEL_DIR) one is chosen in the sidebar. Ctrl-C stops it.
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
from boiler.store import generation

APP = Path(boiler.__file__).parent / "app.py"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the browser."""
    options.add_arguments(parser)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on; 0.0.0.0 lets others in")
    parser.add_argument("--port", type=arguments.port, default=8501, help="the port (default: 8501)")
    parser.add_argument("--headless", action="store_true", help="do not open a window of the browser")


def run(args: argparse.Namespace) -> int:
    """Run it until it is stopped.

    Raises: ModelDirError: there is nothing to browse at the model directory given.
    """
    options.set_environment(args)
    if given := options.from_environment():
        generation.open(given[0])  # refused here and now, not on the page
    words = command(args.host, args.port, headless=args.headless)
    if os.name == "posix":
        sys.stdout.flush()
        os.execv(words[0], words)  # noqa: S606  # what stops or watches this process then has the server itself
    return subprocess.run(words, check=False).returncode


def command(host: str, port: int, *, headless: bool) -> list[str]:
    """How the browser is started."""
    return [
        *(sys.executable, "-m", "streamlit", "run", str(APP)),
        *("--server.address", host),
        *("--server.port", str(port)),
        *("--server.headless", str(headless or (sys.platform == "linux" and "DISPLAY" not in os.environ)).lower()),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    return arguments.command(argv, prog="boiler browse", description=__doc__, add_arguments=add_arguments, run=run)


if __name__ == "__main__":
    sys.exit(main())
