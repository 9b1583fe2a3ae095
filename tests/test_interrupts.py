"""Processes start with SIGINT blocked, and their parent gets it afterwards."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from boiler.interrupts import interrupt_blocked, unblock_interrupt

pytestmark = pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Windows blocks no signals")
BLOCKS = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, set()))"


def blocks_in_a_new_process() -> bool:
    return subprocess.run([sys.executable, "-c", BLOCKS], capture_output=True, text=True, check=True).stdout == "True\n"


def test_processes_started_in_the_block_do_not_get_the_signal() -> None:
    with interrupt_blocked():
        assert blocks_in_a_new_process()
    assert not blocks_in_a_new_process()


def test_the_signal_comes_when_the_block_ends() -> None:
    arrived = False
    with pytest.raises(KeyboardInterrupt):
        with interrupt_blocked():
            signal.raise_signal(signal.SIGINT)
            arrived = True
        pytest.fail("the signal was lost")
    assert arrived


def test_a_process_can_let_it_through() -> None:
    with pytest.raises(KeyboardInterrupt), interrupt_blocked():
        signal.raise_signal(signal.SIGINT)
        unblock_interrupt()
