"""A decoding process, as the one that started it sees it: it is asked, it answers in time, or it is lost.

It is a bare Python that runs `boiler.audio.decode_worker` (or another module with a `serve` like its), with this one's import path
and nothing else of it. It is started when it is first asked, and again after it was lost.
"""

from __future__ import annotations

import json
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

from boiler.audio.windows import Samples
from boiler.errors import BoilerError, ExhaustedError, SoundError

# The worker gets the parent's import path, and nothing else of it.
PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from importlib import import_module; import_module(sys.argv[5]).serve(*map(int, sys.argv[2:5]))"
)
START_WITHIN_S = 120.0
DYING_S = 10.0  # from its last word to its exit code, which says what it died of (on a busy machine: seconds)
CANNOT_START = "the decoding process cannot start: it ended with code {}; try `python -c 'import {}'`"
HEAD_BYTES = 2**24  # the longest list of parts that is taken from a worker, which is not to be trusted


class Lost(Exception):
    """The worker died or was ended; the message says why, as a reason to give for a sound."""

    def __init__(self, kind: type[SoundError], reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class Process:
    """One process, started when it is first asked, started again after it was lost."""

    def __init__(self, timeout_s: float, memory_bytes: int, module: str = "boiler.audio.decode_worker") -> None:
        self._module = module
        self._timeout_s = timeout_s
        self._memory_bytes = memory_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._asked_s: float | None = None
        self._ready = False  # it has said that it is up
        self.connection: Connection | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def asked(self) -> bool:
        """An answer is due."""
        return self._asked_s is not None

    @property
    def left_s(self) -> float:
        """Seconds until its answer is overdue."""
        assert self._asked_s is not None
        return self._asked_s + self._timeout_s - time.monotonic()

    @property
    def due(self) -> bool:
        """`take` will not wait: the answer is there, or it is overdue, or the process is gone."""
        return self.connection is not None and (self.connection.poll(0) or self.left_s <= 0)

    def start(self) -> None:
        """Without waiting until it is up."""
        if self._process is not None:
            return
        self._ready = False
        self.connection, theirs = Pipe()
        with theirs:
            handle = theirs.fileno()
            numbers = (handle, self._memory_bytes, round(self._timeout_s))
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-c",
                    PROGRAM,
                    json.dumps(list(map(str, sys.path))),
                    *map(str, numbers),
                    self._module,
                ],
                pass_fds=[handle],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )

    def ask(self, *request: Any) -> None:
        """Raises: BoilerError: the process does not start at all."""
        if self._process is not None and self._process.poll() is not None:
            self.stop()  # it died while it had nothing to do, which is no fault of what is asked now
        self.start()
        if not self._ready:
            assert self.connection is not None
            try:
                if not self.connection.poll(START_WITHIN_S):
                    raise EOFError
                self.connection.recv_bytes()
                self._ready = True
            except (EOFError, OSError):
                raise BoilerError(CANNOT_START.format(self.stop(), self._module)) from None
        assert self.connection is not None
        self._asked_s = time.monotonic()
        with suppress(OSError):  # it died already: the answer tells
            self.connection.send(request)

    def take(self) -> tuple[list[dict[str, Any]], Samples]:
        """The parts and samples [T] of the answer, waited for until it is overdue. Raises: Lost."""
        assert self.connection is not None
        try:
            if not self.connection.poll(max(0.0, self.left_s)):
                self.stop()
                raise Lost(ExhaustedError, f"decoding it takes more than {self._timeout_s:g} s")
            parts = json.loads(self.connection.recv_bytes(HEAD_BYTES))
            samples = np.empty(sum(part["samples"] for part in parts), np.float32)
            if samples.size and self.connection.recv_bytes_into(samples.data.cast("B")) != samples.nbytes:
                raise ValueError
        except (EOFError, ConnectionError):
            raise Lost(*_cause(self.stop(within_s=DYING_S))) from None
        except (OSError, ValueError, LookupError, TypeError, MemoryError, ProcessError):
            self.stop()
            raise Lost(SoundError, "its decoder gave an answer that makes no sense") from None
        self._asked_s = None
        return parts, samples

    def stop(self, within_s: float = 0.2) -> int | None:
        """End it, if it does not end by itself now that nobody listens; what it was asked is forgotten. Gives its exit
        code."""
        self._asked_s = None
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


def _cause(code: int | None) -> tuple[type[SoundError], str]:
    """What an exit code says of the sound."""
    if code == -signal.SIGXCPU:
        return ExhaustedError, "decoding it takes more processor time than is allowed"
    if code == -signal.SIGKILL:
        return ExhaustedError, "its decoder was killed, most likely for want of memory"
    if code is not None and code < 0:
        return SoundError, f"its decoder crashed ({signal.Signals(-code).name})"
    return SoundError, f"its decoder ended (code {code})"
