"""The worker processes of `boiler serve`: uvicorn's supervisor, whose workers ignore Ctrl-C until they have loaded.

A terminal sends Ctrl-C to all processes. A worker that is importing modules would print a traceback, and the supervisor
ends it anyway. A worker starts with the signal blocked, because it inherits what its parent blocks, and unblocks it
once the application is loaded, when uvicorn handles it.
"""

from __future__ import annotations

from multiprocessing import resource_tracker

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from boiler.interrupts import interrupt_blocked, unblock_interrupt


class WorkerConfig(uvicorn.Config):
    """The configuration, whose application is loaded in a worker, after uvicorn has set its signal handlers."""

    def load(self) -> None:
        super().load()
        unblock_interrupt()


class Workers(Multiprocess):
    """Starts the workers, replaces those that die, and stops them with itself."""

    def init_processes(self) -> None:
        resource_tracker.ensure_running()  # when it starts its process, it unblocks the signal
        with interrupt_blocked():
            super().init_processes()

    def keep_subprocess_alive(self) -> None:
        with interrupt_blocked():  # it may start another one
            super().keep_subprocess_alive()

    def handle_signals(self) -> None:
        with interrupt_blocked():  # so may these: SIGHUP, SIGTTIN
            super().handle_signals()


def run_workers(config: WorkerConfig) -> int:
    """Serve by `config.workers` processes until stopped. Returns 0, or uvicorn's code if a worker could not start."""
    workers = Workers(config, sockets=[config.bind_socket()])
    workers.run()
    failed = any(process.exitcode == STARTUP_FAILURE for process in workers.processes)
    return STARTUP_FAILURE if failed else 0
