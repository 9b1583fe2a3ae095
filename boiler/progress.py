"""Progress of long work: a bar with the time left on a terminal, a line every ten seconds in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

LINE_EVERY_S = 10.0

ProgressCallback = Callable[[float], None]
"""Long work calls it regularly with the fraction that is done, 0 to 1. An exception from it ends the work."""


def ignore_progress(share: float) -> None:
    """A progress callback that does nothing."""


class Meter:
    """A progress display. Call `step()` for each unit that is done, with an optional note to show beside the bar."""

    def __init__(self, what: str, total: float | None, progress: Progress | None, stream: TextIO) -> None:
        self.what = what
        self.total = total
        self.done = 0.0
        self._progress = progress
        self._task = progress.add_task(what, total=total, note="", left="") if progress else None
        self._stream = stream
        self._began = self._last_line = time.monotonic()

    def step(self, by: float = 1.0, note: str | None = None) -> None:
        """Add `by` units."""
        self.reach(self.done + by, note)

    def reach(self, done: float, note: str | None = None, *, left_s: float | None = None) -> None:
        """Set the number of units that are done.

        `left_s`: seconds left, if the caller has a better estimate than the mean speed.
        """
        self.done = done
        now = time.monotonic()
        if left_s is None and self.total and self.done:
            left_s = (now - self._began) * max(self.total - self.done, 0.0) / self.done
        left = "" if left_s is None else f"{format_duration(left_s)} left"
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, left=left)
            if note is not None:
                self._progress.update(self._task, note=note)
        elif now - self._last_line >= LINE_EVERY_S:
            self._last_line = now
            share = f"{100 * self.done / self.total:.0f} %" if self.total else f"{self.done:.0f}"
            elapsed = format_duration(now - self._began)
            line = f"{self.what}: {share} after {elapsed}{', ' if left else ''}{left}{' ' + note if note else ''}"
            print(line, file=self._stream, flush=True)


def format_duration(seconds: float) -> str:
    """A duration in its two largest units.

    >>> [format_duration(seconds) for seconds in (0.4, 59.6, 200, 8807, 200_000)]
    ['0 s', '1 min', '3 min 20 s', '2 h 27 min', '2 d 8 h']
    """
    for size, smaller, large, small in ((86_400, 3600, "d", "h"), (3600, 60, "h", "min"), (60, 1, "min", "s")):
        if round(seconds) >= size:
            n_large, n_small = divmod(round(seconds / smaller), size // smaller)
            return f"{n_large} {large}" + (f" {n_small} {small}" if n_small else "")
    return f"{round(seconds)} s"


@contextmanager
def meter(what: str, total: float | None, *, stream: TextIO | None = None) -> Iterator[Meter]:
    """Show the progress of `what` until the block ends. `total`: the number of units; None if it is not known."""
    stream = sys.stderr if stream is None else stream
    if not stream.isatty():
        yield Meter(what, total, None, stream)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(file=stream)) as progress:
        yield Meter(what, total, progress, stream)
