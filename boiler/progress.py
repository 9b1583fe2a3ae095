"""How far long work has come: a bar with the time left on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY_S = 10.0

ProgressCallback = Callable[[float], None]
"""Long work calls it now and then with the share that is done, 0 to 1. An exception from it ends the work."""


def ignore_progress(share: float) -> None:
    """A progress callback that does nothing."""


class Meter:
    """What the work calls: `step()` for each unit done, with a note to show beside the bar."""

    def __init__(self, what: str, total: float | None, progress: Progress | None, stream: TextIO) -> None:
        self.what = what
        self.total = total
        self.done = 0.0
        self._progress = progress
        self._task = progress.add_task(what, total=total, note="") if progress else None
        self._stream = stream
        self._began = self._told = time.monotonic()

    def step(self, by: float = 1.0, note: str | None = None) -> None:
        """`by` more units are done."""
        self.reach(self.done + by, note)

    def reach(self, done: float, note: str | None = None) -> None:
        """So many units are done in all."""
        self.done = done
        if self._progress is not None and self._task is not None:
            if note is None:
                self._progress.update(self._task, completed=done)
            else:
                self._progress.update(self._task, completed=done, note=note)
            return
        now = time.monotonic()
        if now - self._told >= LINE_EVERY_S:
            self._told = now
            self._line(now, note)

    def _line(self, now: float, note: str | None) -> None:
        elapsed_s = now - self._began
        left = ""
        if self.total and self.done:
            left = f", {elapsed_s * max(self.total - self.done, 0.0) / self.done:.0f} s left"
        share = f"{100 * self.done / self.total:.0f} %" if self.total else f"{self.done:.0f}"
        print(f"{self.what}: {share} after {elapsed_s:.0f} s{left}{' ' + note if note else ''}", file=self._stream)
        self._stream.flush()


@contextmanager
def meter(what: str, total: float | None, *, stream: TextIO | None = None) -> Iterator[Meter]:
    """Shows `what` until the block ends. `total` None: how much there is to do is not known."""
    stream = sys.stderr if stream is None else stream
    if not stream.isatty():
        yield Meter(what, total, None, stream)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(file=stream)) as progress:
        yield Meter(what, total, progress, stream)
