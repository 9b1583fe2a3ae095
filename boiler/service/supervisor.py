"""The worker processes of `boiler serve`: uvicorn's supervisor, whose workers ignore Ctrl-C until they have loaded.

A terminal sends Ctrl-C to all processes. A worker that is importing modules would print a traceback, and the supervisor
ends it anyway. A worker starts with the signal blocked, because it inherits what its parent blocks, and unblocks it
once the application is loaded, when uvicorn handles it.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from multiprocessing import resource_tracker

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

_CAN_BLOCK = hasattr(signal, "pthread_sigmask")  # not on Windows


@contextlib.contextmanager
def _interrupt_blocked() -> Iterator[None]:
    if not _CAN_BLOCK:
        yield
        return
    resource_tracker.ensure_running()  # when it starts its process, it unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class WorkerConfig(uvicorn.Config):
    """The configuration, whose application is loaded in a worker, after uvicorn has set its signal handlers."""

    def load(self) -> None:
        super().load()
        if _CAN_BLOCK:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


class Workers(Multiprocess):
    """Starts the workers, replaces those that die, and stops them with itself."""

    def init_processes(self) -> None:
        with _interrupt_blocked():
            super().init_processes()

    def keep_subprocess_alive(self) -> None:
        with _interrupt_blocked():  # it may start another one
            super().keep_subprocess_alive()

    def handle_signals(self) -> None:
        with _interrupt_blocked():  # so may these: SIGHUP, SIGTTIN
            super().handle_signals()


def run_workers(config: WorkerConfig) -> int:
    """Serve by `config.workers` processes until stopped. Returns 0, or uvicorn's code if a worker could not start."""
    workers = Workers(config, sockets=[config.bind_socket()])
    workers.run()
    failed = any(process.exitcode == STARTUP_FAILURE for process in workers.processes)
    return STARTUP_FAILURE if failed else 0
