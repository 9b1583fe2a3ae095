"""Processes that a Ctrl-C does not reach while they start."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

_CAN_BLOCK = hasattr(signal, "pthread_sigmask")  # not on Windows


@contextlib.contextmanager
def interrupt_blocked() -> Iterator[None]:
    """A block whose new processes start with SIGINT blocked, because they inherit what their parent's thread blocks.

    A terminal sends Ctrl-C to all processes, and Python prints a traceback where it interrupts an import. The signal
    reaches this process when the block ends.
    """
    if not _CAN_BLOCK:
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def unblock_interrupt() -> None:
    """Let SIGINT reach this process, which `interrupt_blocked` started."""
    if _CAN_BLOCK:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
