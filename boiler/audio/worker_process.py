"""A worker process as seen by its parent: send a request, then receive the answer in time or stop the worker.

A worker is a plain Python process that runs `boiler.audio.decode_worker`, or another module with such a `serve`
function. It gets the import path of the parent and no other state.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing import Pipe, ProcessError
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from boiler.audio.sent_file import packed
from boiler.audio.windows import Samples
from boiler.errors import BoilerError, ExhaustedError, SoundError
from boiler.interrupts import interrupt_blocked

_LOG = logging.getLogger(__name__)
# Not multiprocessing: its workers import the parent's main module, which may be torch.
PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from importlib import import_module; import_module(sys.argv[5]).serve(*map(int, sys.argv[2:5]))"
)
START_WITHIN_S = 120.0
EXIT_WITHIN_S = 10.0  # from closing the connection to its exit code, which gives the cause; seconds on a busy machine
CANNOT_START = "the decoding process cannot start: it ended with code {}; try `python -c 'import {}'`"
MAX_HEADER_BYTES = 2**24  # of the JSON before the samples: workers are not trusted


class WorkerLost(Exception):
    """The worker died or was killed. `kind` and `reason` are those of the error to raise for the sound."""

    def __init__(self, kind: type[SoundError], reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class WorkerProcess:
    """One process, started by the first request, and again after it was lost.

    Arguments: `timeout_s` for each answer, `memory_bytes` of address space, `module` with the `serve` function.
    """

    def __init__(self, timeout_s: float, memory_bytes: int, module: str = "boiler.audio.decode_worker") -> None:
        self._module = module
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._sent_s: float | None = None
        self._ready = False  # it has sent its first message
        self.connection: Connection | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def busy(self) -> bool:
        """Whether an answer is outstanding."""
        return self._sent_s is not None

    @property
    def remaining_s(self) -> float:
        """Seconds until the timeout of its answer."""
        assert self._sent_s is not None
        return self._sent_s + self._timeout_s - time.monotonic()

    @property
    def has_answer(self) -> bool:
        """Whether `receive` returns at once: the answer has arrived or timed out, or the process has ended."""
        return self.connection is not None and (self.connection.poll(0) or self.remaining_s <= 0)

    def start(self) -> None:
        """Start the process, without waiting until it is ready."""
        if self._process is not None:
            return
        self._ready = False
        self.connection, theirs = Pipe()
        with theirs:
            handle = theirs.fileno()
            numbers = (handle, self._memory_bytes, round(self._timeout_s))
            paths = json.dumps(list(map(str, sys.path)))
            with interrupt_blocked():  # this process handles Ctrl-C
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-c", PROGRAM, paths, *map(str, numbers), self._module],
                    pass_fds=[handle],
                    stdin=subprocess.DEVNULL,
                    env=environment(),
                )

    def send(self, *request: Any) -> None:
        """Send a request. Raises: BoilerError: the process does not start."""
        if self._process is not None and self._process.poll() is not None:
            self.stop()  # it died while idle, so this request is not the cause
        self.start()
        if not self._ready:
            assert self.connection is not None
            try:
                if not self.connection.poll(START_WITHIN_S):
                    raise EOFError
                report_unconfined(self.connection.recv_bytes(MAX_HEADER_BYTES))
                self._ready = True
            except (EOFError, OSError):
                raise BoilerError(CANNOT_START.format(self.stop(), self._module)) from None
        assert self.connection is not None
        with packed(request) as message:
            self._sent_s = time.monotonic()
            with suppress(OSError):  # it died already: `receive` reports it
                message.send(self.connection)

    def receive(self) -> tuple[list[dict[str, Any]], Samples]:
        """The parts and samples [T] of the answer; waits until the timeout. Raises: WorkerLost."""
        assert self.connection is not None
        try:
            if not self.connection.poll(max(0.0, self.remaining_s)):
                self.stop()
                raise WorkerLost(ExhaustedError, f"decoding it takes more than {self._timeout_s:g} s")
            parts = json.loads(self.connection.recv_bytes(MAX_HEADER_BYTES))
            samples = np.empty(sum(part["samples"] for part in parts), np.float32)
            if samples.size and self.connection.recv_bytes_into(samples.data.cast("B")) != samples.nbytes:
                raise ValueError
        except (EOFError, ConnectionError):
            raise WorkerLost(*_cause(self.stop(within_s=EXIT_WITHIN_S))) from None
        except (OSError, ValueError, LookupError, TypeError, MemoryError, ProcessError):
            self.stop()
            raise WorkerLost(SoundError, "its decoder sent an invalid answer") from None
        self._sent_s = None
        return parts, samples

    def stop(self, within_s: float = 0.2) -> int | None:
        """Close the connection, and kill the process if it does not exit in time. Returns its exit code."""
        self._sent_s = None
        if self.connection is not None:
            self.connection.close()
            self.connection = None
        process, self._process = self._process, None
        if process is None:
            return None
        with suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=within_s)
        process.kill()
        return process.wait()


def environment() -> dict[str, str]:
    """The environment of a worker: nothing of the parent's, which may hold passwords, but where libraries are."""
    kept = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
    return {name: os.environ[name] for name in kept if name in os.environ} | {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


@functools.cache
def report_unconfined(greeting: bytes) -> None:
    """Log, once, what a worker says is missing for its sandbox."""
    _, _, missing = greeting.decode("ascii", "replace").partition(" without ")
    if missing:
        _LOG.warning(
            "sounds are decoded without %s, which this system does not have: a file that takes over its decoder could"
            " do what this user may. Use Linux 5.13 or newer, with Landlock",
            missing,
        )


def _cause(code: int | None) -> tuple[type[SoundError], str]:
    """The error for an exit code."""
    if code == -signal.SIGXCPU:
        return ExhaustedError, "decoding it takes more processor time than is allowed"
    if code == -signal.SIGKILL:
        return ExhaustedError, "its decoder was killed, most likely because memory ran out"
    if code is not None and code < 0:
        return SoundError, f"its decoder crashed ({signal.Signals(-code).name})"
    return SoundError, f"its decoder ended (code {code})"
