"""Answers over HTTP: the neighbours of a vector, a sound or an item.

    boiler serve exp/mine/vqvae_012/BagTopVQVAE --workers 2
    curl -F file=@dog.wav 'localhost:8000/nearest/audio?k=5'

/docs describes every path. The same as BOILER_MODEL_DIR=... uvicorn boiler.api.web:app, and besides: the model
directory is checked before anything starts, workers share their metrics, a stop lets running requests finish, and no
other address than this machine's own is served without keys. Further settings are BOILER_* variables (boiler.service.settings).
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from boiler import arguments
from boiler.errors import SettingsError
from boiler.service import settings
from boiler.store import generation

GRACE_S = 30  # for requests that run when the service is told to stop


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `boiler serve`."""
    parser.add_argument("model_dir", nargs="?", type=Path, help="model directory; without: BOILER_MODEL_DIR")
    parser.add_argument(
        "--wav_dir", type=Path, help="the folder of sounds, to play and draw them (default: as indexed)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    parser.add_argument("--port", type=arguments.port, default=8000, help="0 takes a free one (default: 8000)")
    parser.add_argument(
        "--workers", type=arguments.at_least_1, default=1, help="processes; they share the index's memory (default: 1)"
    )
    parser.add_argument("--device", help="where uploaded sounds are embedded: cpu, cuda, mps (default: cpu)")


def run(args: argparse.Namespace) -> int:
    """Serves until stopped. 0, or uvicorn's exit code when it could not start."""
    for name in ("model_dir", "wav_dir", "device"):
        if (value := getattr(args, name)) is not None:
            os.environ[f"{settings.PREFIX}{name.upper()}"] = str(value)
    loaded = settings.load()
    check_host(args.host, loaded)
    generation.open(loaded.model_dir)  # said once and here, not by each worker
    # Embedding and numpy would each take all cores in each worker, and then wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // args.workers)))
    import uvicorn

    with ExitStack() as stack:
        if args.workers > 1 and loaded.metrics and loaded.metrics_dir is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="boiler-metrics-"))
            os.environ["BOILER_METRICS_DIR"] = folder
            stack.callback(os.environ.pop, "BOILER_METRICS_DIR")
        try:
            uvicorn.run(
                "boiler.api.web:app",
                host=args.host,
                port=args.port,
                workers=args.workers,
                # With several workers, asyncio's loop and h11 make a keep-alive client wait 44 ms for each answer.
                loop="auto" if sys.platform == "win32" else "uvloop",
                http="boiler.service.http_protocol:Wire",  # httptools, with bounds
                access_log=False,  # the service writes its own lines
                server_header=False,
                proxy_headers=False,  # nothing here depends on who asks, or how
                timeout_graceful_shutdown=GRACE_S,
            )
        except SystemExit as stop:  # how uvicorn tells that it could not start
            return int(stop.code or 0)
    return 0


def check_host(host: str, loaded: settings.Settings) -> None:
    """Raises: SettingsError: other machines could ask, and neither are there keys nor was that said to be meant."""
    if not is_loopback(host) and not loaded.api_keys and not loaded.insecure:
        raise SettingsError(
            f"{host} can be reached from other machines, and there are no keys. Set BOILER_API_KEYS=read:SECRET, or "
            "BOILER_INSECURE=1 to serve all who can reach it"
        )


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own, for itself alone.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m boiler.cli.serve`."""
    assert __doc__ is not None
    return arguments.command(argv, prog="boiler serve", description=__doc__, add_arguments=add_arguments, run=run)


if __name__ == "__main__":
    sys.exit(main())
