"""SIGINT and SIGTERM during a run: work that must be saved ends at the next safe point, other work at once."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequested(KeyboardInterrupt):
    """A signal interrupted a block under `StopSignals.interruptible`. `number`: of the signal."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"stopped by {signal.Signals(number).name}")


class StopSignals:
    """Handles SIGINT and SIGTERM while the `with` block runs; outside of the main thread it does nothing.

    The first signal sets `number`, which loops check between steps; inside `interruptible` it raises `StopRequested` at
    once. A second signal is handled as it was before the `with` block: it ends the process.

    announces: whether a signal is answered with a message.
    """

    def __init__(self, *, announces: bool = True) -> None:
        self.number: int | None = None
        self._announces = announces
        self._interruptible = False
        self._before: dict[int, object] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has asked to stop."""
        return self.number is not None

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block that a signal may end at once, because its result is then not needed. It must not change state that
        is saved.

        Raises: `StopRequested` when a signal comes, or came before.
        """
        self._interruptible = True
        try:
            if self.number is not None:
                raise StopRequested(self.number)
            yield
        finally:
            self._interruptible = False

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {int(number): signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self._restore()
        if self._interruptible:
            raise StopRequested(number)
        if self._announces:
            print(
                "boiler: saving before stopping; press Ctrl-C again to stop without saving", file=sys.stderr, flush=True
            )

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # as signal.signal returned it
        self._before = {}
