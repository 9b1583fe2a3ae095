"""Long work that a visitor waits for: done in a thread of its own, with how far it is on the page and a way to stop it.

The run of the page waits for the thread. When it is interrupted, by Stop, by a click on anything else or because the
page was closed, the work is told at its next step, by `Stopped` raised from what it tells its progress to, and ends.
What the visitor stopped stays stopped for the session: the page says so in its place, and offers to go on.

Visitors who want the same wait for the same thread, and all see how far it is; it ends when the last of them leaves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import streamlit as st

from boiler.progress import ProgressCallback

QUICK_S = 0.3  # what is done within this needs no bar
LOOK_S = 0.2
STOPPED = "stopped"  # in the session: the keys of the work that was stopped

Result = TypeVar("Result")


class Stopped(Exception):  # no error: nobody waits any more
    """Raised within work that nobody waits for any more."""


class Job(Generic[Result]):
    """Work in a thread of its own, which begins at once. `share` of it is done, 0 to 1."""

    def __init__(self, work: Callable[[ProgressCallback], Result]) -> None:
        self.share = 0.0
        self.waiting = 0  # how many visitors; under `_lock`
        self._stopped = threading.Event()
        self._future: Future[Result] = Future()
        self.thread = threading.Thread(target=self._run, args=(work,), name="work", daemon=True)
        self.thread.start()

    def within(self, seconds: float) -> bool:
        """Whether it is over by then, well or not."""
        self.thread.join(seconds)
        return not self.thread.is_alive()

    def result(self) -> Result:
        """What came of it. Raises: what it raised."""
        return self._future.result()

    def stop(self) -> None:
        """It ends at its next step."""
        self._stopped.set()

    def _on_progress(self, share: float) -> None:
        if self._stopped.is_set():
            raise Stopped
        self.share = min(max(share, 0.0), 1.0)

    def _run(self, work: Callable[[ProgressCallback], Result]) -> None:
        try:
            self._future.set_result(work(self._on_progress))
        except BaseException as error:
            self._future.set_exception(error)


_lock = threading.Lock()
_under_way: dict[str, Job[Any]] = {}  # by key: what at least one visitor waits for


@contextmanager
def joined(key: str, work: Callable[[ProgressCallback], Result]) -> Iterator[Job[Result]]:
    """The job of that key: the one that another visitor waits for already, else a new one. Who leaves last stops it."""
    with _lock:
        job = _under_way.get(key)
        if job is None:
            job = _under_way[key] = Job(work)
        job.waiting += 1
    try:
        yield job
    finally:
        with _lock:
            job.waiting -= 1
            if not job.waiting:
                job.stop()
                del _under_way[key]


def done(key: str, title: str, work: Callable[[ProgressCallback], Result]) -> Result | None:
    """The result of the work, whose progress is shown meanwhile; None where the visitor stopped it. `key` says all that
    the result depends on: who waits for the same key waits for the same work. `title` says what it is, "Listening to
    it", say.

    Raises: what the work raises.
    """
    stopped: set[str] = st.session_state.setdefault(STOPPED, set())
    place = st.empty()
    if key in stopped:
        with place.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"{title}: stopped.", width="content")
            st.button("Go on", icon=":material/play_arrow:", key=f"go-on-{key}", on_click=stopped.discard, args=(key,))
        return None
    with joined(key, work) as job:
        if not job.within(QUICK_S):
            with place.container(horizontal=True, vertical_alignment="bottom"):
                bar = st.progress(0.0, said(title, job.share))
                st.button("Stop", icon=":material/stop:", key=f"stop-{key}", on_click=stopped.add, args=(key,))
            while not job.within(LOOK_S):
                bar.progress(job.share, said(title, job.share))  # here a click interrupts
            place.empty()
        return job.result()


def said(title: str, share: float) -> str:
    """What stands above the bar.

    >>> said("Listening", 0.0), said("Listening", 0.427)
    ('Listening ...', 'Listening ... 43 %')
    """
    return f"{title} ... {share:.0%}".replace("%", " %") if share else f"{title} ..."
