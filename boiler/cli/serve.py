"""Search over HTTP: the nearest items of a vector, a sound or an item.

    $ boiler serve exp/mine/vqvae_012/BagTopVQVAE --workers 2
    curl -F file=@dog.wav 'localhost:8000/nearest/audio?k=5'

/docs describes every route. The command does the same as BOILER_MODEL_DIR=... uvicorn boiler.api.web:app, and more: it
checks the model directory at the start, shares metrics between workers, finishes running requests when it stops, and
refuses an address that other machines can reach unless there are API keys. All settings are BOILER_* variables
(boiler.service.settings).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from boiler import arguments
from boiler.catalog.folder import path_or_address
from boiler.errors import SettingsError
from boiler.service import settings
from boiler.store import generation

GRACE_S = 30  # for running requests when the service stops


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `boiler serve`."""
    parser.add_argument("model_dir", nargs="?", type=Path, help="model directory (default: BOILER_MODEL_DIR)")
    parser.add_argument(
        "--wav_dir", type=path_or_address, help="folder of the sounds, for audio and waveforms (default: as indexed)"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: %(default)s, this machine only)"
    )
    parser.add_argument(
        "--port", type=arguments.port, default=8000, help="port; 0 takes a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--workers",
        type=arguments.at_least_1,
        default=1,
        help="processes, which share the memory of the index (default: %(default)s)",
    )
    parser.add_argument("--device", help="device that embeds uploaded sounds: cpu, cuda, mps (default: cpu)")
    parser.add_argument(
        "--feedback_url",
        metavar="URL",
        help="store likes and dislikes in PostgreSQL, for several hosts: postgresql://user@host/name (default:"
        " BOILER_FEEDBACK_URL, else a file in the model directory)",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted. Returns 0, or the exit code of uvicorn if it could not start."""
    for name in ("model_dir", "wav_dir", "device", "feedback_url"):
        if (value := getattr(args, name)) is not None:
            os.environ[f"{settings.PREFIX}{name.upper()}"] = str(value)
    loaded = settings.load()
    check_host(args.host, loaded)
    generation.open_last_good(loaded.model_dir)  # reported once here, not by each worker
    # Otherwise torch and numpy use all cores in every worker, and their threads wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // args.workers)))
    import uvicorn
    from uvicorn.config import STARTUP_FAILURE

    from boiler.service.supervisor import WorkerConfig, run_workers

    with ExitStack() as stack:
        if args.workers > 1 and loaded.metrics and loaded.metrics_dir is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="boiler-metrics-"))
            os.environ["BOILER_METRICS_DIR"] = folder
            stack.callback(os.environ.pop, "BOILER_METRICS_DIR")
        try:
            config = WorkerConfig(
                "boiler.api.web:app",
                host=args.host,
                port=args.port,
                workers=args.workers,
                # With several workers, asyncio's loop and h11 delay each response to a keep-alive client by 44 ms.
                loop="auto" if sys.platform == "win32" else "uvloop",
                http="boiler.service.http_protocol:BoundedHttpProtocol",  # httptools, with bounds
                access_log=False,  # the service has an access log of its own
                server_header=False,
                proxy_headers=bool(loaded.trusted_proxies),  # clients are identified by their addresses
                forwarded_allow_ips=",".join(loaded.trusted_proxies),
                timeout_graceful_shutdown=GRACE_S,
            )
            if args.workers > 1:
                return run_workers(config)
            server = uvicorn.Server(config)
            with suppress(KeyboardInterrupt):  # raised again by uvicorn after it has stopped
                server.run()
            return 0 if server.started else STARTUP_FAILURE
        except SystemExit as stop:  # uvicorn could not start
            return int(stop.code or 0)


def check_host(host: str, loaded: settings.Settings) -> None:
    """Raises: SettingsError: other machines can reach the address, without API keys and without `insecure`."""
    if not arguments.is_loopback(host) and not loaded.api_keys and not loaded.insecure:
        raise SettingsError(
            f"{host} can be reached from other machines, and there are no keys. Set BOILER_API_KEYS=read:SECRET, or "
            "BOILER_INSECURE=1 to serve everyone who can reach it"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m boiler.cli.serve`. Returns the exit code."""
    return arguments.command(argv, prog="boiler serve", description=__doc__, add_arguments=add_arguments, run=run)


if __name__ == "__main__":
    sys.exit(main())
