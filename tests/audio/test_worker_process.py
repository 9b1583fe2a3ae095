"""`WorkerProcess` answers, or is lost with a stated reason, and never outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sounds import wav_bytes

from boiler.audio import worker_process
from boiler.audio.stream import Limits
from boiler.audio.worker_process import WorkerLost, WorkerProcess
from boiler.errors import BoilerError, ExhaustedError, SoundError

SOUND = wav_bytes(np.arange(-8_000, 8_000, dtype="<i2").tobytes())
# A fake worker: it starts and reads the request as a real one does; what it does then is given by the test.
STAND_IN = """
import json, os, signal, sys, time
from multiprocessing.connection import Connection
connection = Connection(int(sys.argv[2]))
connection.send_bytes(b"ready")
connection.recv_bytes()
connection.recv_bytes()
"""


@pytest.fixture
def worker() -> Iterator[WorkerProcess]:
    made = WorkerProcess(timeout_s=20, memory_bytes=2**31)
    yield made
    made.stop()


def send_and_receive(worker: WorkerProcess) -> np.ndarray:
    worker.send("load", SOUND, 0.0, None, 16_000, Limits())
    return worker.receive()[1]


def test_one_process_answers_many_requests(worker: WorkerProcess) -> None:
    assert worker.pid is None
    first = send_and_receive(worker)
    pid = worker.pid
    assert np.array_equal(first, np.arange(-8_000, 8_000, dtype=np.float32) / 32_768)
    for _ in range(5):
        assert np.array_equal(send_and_receive(worker), first)
    assert worker.pid == pid


def test_ctrl_c_does_not_reach_it_while_it_starts(worker: WorkerProcess) -> None:
    worker.start()
    pid = worker.pid
    assert pid is not None
    for _ in range(20):
        os.kill(pid, signal.SIGINT)
        time.sleep(0.02)
    assert len(send_and_receive(worker)) == 16_000
    assert worker.pid == pid


def test_it_can_be_started_early_and_restarts_after_a_stop(worker: WorkerProcess) -> None:
    worker.start()
    pid = worker.pid
    assert send_and_receive(worker).size == 16_000
    assert worker.pid == pid
    worker.stop()
    assert worker.pid is None
    assert send_and_receive(worker).size == 16_000


@pytest.mark.parametrize(
    ("does", "kind", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", SoundError, "crashed .SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", ExhaustedError, "killed"),
        ("os.kill(os.getpid(), signal.SIGXCPU)", ExhaustedError, "processor time"),
        ("sys.exit(9)", SoundError, "code 9"),
        ("time.sleep(1000)", ExhaustedError, "more than 1 s"),
        ("connection.send_bytes(b'no json'); time.sleep(1000)", SoundError, "invalid answer"),
        ("connection.send_bytes(b'[{}]'); time.sleep(1000)", SoundError, "invalid answer"),
        ("connection.send_bytes(b'7'); time.sleep(1000)", SoundError, "invalid answer"),
        (
            "connection.send_bytes(json.dumps([{'samples': -5}]).encode()); time.sleep(1000)",
            SoundError,
            "invalid answer",
        ),
        (
            "connection.send_bytes(json.dumps([{'samples': 10**15}]).encode()); time.sleep(1000)",
            SoundError,
            "invalid answer",
        ),
        ("connection.send_bytes(b'[{\"samples\": 2}]'); connection.send_bytes(bytes(4))", SoundError, "invalid answer"),
        (
            "connection.send_bytes(b'[{\"samples\": 2}]'); connection.send_bytes(bytes(40))",
            SoundError,
            "invalid answer",
        ),
        ("connection.send_bytes(bytes(2**24 + 1)); time.sleep(1000)", SoundError, "invalid answer"),
    ],
)
def test_a_worker_that_dies_hangs_or_sends_nonsense_is_lost_with_a_reason(
    does: str, kind: type[SoundError], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = worker_process.PROGRAM
    monkeypatch.setattr(worker_process, "PROGRAM", STAND_IN + does)
    worker = WorkerProcess(timeout_s=1 if "more than" in reason else 60, memory_bytes=2**31)
    with pytest.raises(WorkerLost, match=reason) as caught:
        send_and_receive(worker)
    assert caught.value.kind is kind
    assert worker.pid is None
    monkeypatch.setattr(worker_process, "PROGRAM", whole)
    worker.start()  # and it can be used again
    assert worker.pid is not None
    worker.stop()


def test_a_worker_that_cannot_start_is_reported(worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "PROGRAM", "raise SystemExit(3)")
    with pytest.raises(BoilerError, match=r"cannot start.*code 3"):
        send_and_receive(worker)
    drawing = WorkerProcess(60, 2**31, "boiler.audio.media_worker")
    with pytest.raises(BoilerError, match=r"import boiler\.audio\.media_worker"):
        send_and_receive(drawing)


def test_it_ends_with_its_parent() -> None:
    code = (
        "import os; from boiler.audio.worker_process import WorkerProcess; "
        "made = [WorkerProcess(9, 2**31) for _ in range(2)]; [one.start() for one in made]; "
        "print(*(one.pid for one in made), flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids):
        assert time.monotonic() < deadline, "a worker has outlived its parent"
        time.sleep(0.05)
