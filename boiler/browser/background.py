"""Background jobs of a page: long work in its own thread, with a progress bar and a Stop button on the page.

The script run of the page waits for the thread. When the run is interrupted (Stop, another click, the page was closed),
the next progress report of the work raises `JobCancelled`, which ends it. Work that was stopped stays stopped for the
session: the page offers to resume it.

Visitors who need the same result share one job; it is cancelled when the last of them leaves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from boiler.progress import ProgressCallback

NO_BAR_S = 0.3  # work that takes less shows no progress bar
POLL_S = 0.2
STOPPED = "stopped"  # session key: the keys of the jobs that were stopped

Result = TypeVar("Result")


class JobCancelled(Exception):  # not a BoilerError: visitors never see it
    """Raised inside a job to stop it after it was cancelled."""


class Job(Generic[Result]):
    """Work in its own thread, started at once. `progress` is the fraction that is done, 0 to 1."""

    def __init__(self, work: Callable[[ProgressCallback], Result]) -> None:
        self.progress = 0.0
        self.n_waiting = 0  # visitors; guarded by `_lock`
        self._cancelled = threading.Event()
        self._future: Future[Result] = Future()
        self.thread = threading.Thread(target=self._run, args=(work,), name="browser-job", daemon=True)
        self.thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the work returns or raises. False: it is still running after `timeout_s`."""
        self.thread.join(timeout_s)
        return not self.thread.is_alive()

    def result(self) -> Result:
        """The result; waits for it. Raises: what the work raised."""
        return self._future.result()

    def cancel(self) -> None:
        """End the work at its next progress report."""
        self._cancelled.set()

    def _report(self, share: float) -> None:
        if self._cancelled.is_set():
            raise JobCancelled
        self.progress = min(max(share, 0.0), 1.0)

    def _run(self, work: Callable[[ProgressCallback], Result]) -> None:
        try:
            self._future.set_result(work(self._report))
        except BaseException as error:
            self._future.set_exception(error)


_lock = threading.Lock()
_running: dict[str, Job[Any]] = {}  # by key: the jobs that at least one visitor waits for


@contextmanager
def shared_job(key: str, work: Callable[[ProgressCallback], Result]) -> Iterator[Job[Result]]:
    """Context manager: the running job with this key, or a new one. The job is cancelled when its last user exits."""
    with _lock:
        job = _running.get(key)
        if job is None:
            job = _running[key] = Job(work)
        job.n_waiting += 1
    try:
        yield job
    finally:
        with _lock:
            job.n_waiting -= 1
            if not job.n_waiting:
                job.cancel()
                del _running[key]


def run_with_progress(
    key: str, title: str, work: Callable[[ProgressCallback], Result], place: DeltaGenerator | None = None
) -> Result | None:
    """Run the work with a progress bar on the page. None: the visitor stopped it.

    Arguments:
        key: identifies the result: callers with the same key share one job
        title: of the progress bar, "Embedding the sound", say
        work: receives the progress callback
        place: an `st.empty` for the progress bar; None: a new one

    Raises: what the work raises.
    """
    stopped: set[str] = st.session_state.setdefault(STOPPED, set())
    place = st.empty() if place is None else place
    if key in stopped:
        with place.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"{title}: stopped.", width="content")
            _resume_button(st, key, stopped)
        return None
    with shared_job(key, work) as job:
        if not job.wait(NO_BAR_S):
            with place.container(horizontal=True, vertical_alignment="bottom"):
                bar = st.progress(0.0, progress_text(title, job.progress))
                _stop_button(st, key, stopped)
            while not job.wait(POLL_S):
                bar.progress(job.progress, progress_text(title, job.progress))  # where a click interrupts the run
            place.empty()
        return job.result()


StageCallback = Callable[[str, float, float | None], None]
"""Progress callback of work in stages: (stage, done, total), in any unit; None: the total is not known."""


def run_in_stages(
    key: str, work: Callable[[StageCallback], Result], show: StageCallback, place: DeltaGenerator | None = None
) -> Result | None:
    """Run work that has several stages. None: the visitor stopped it.

    Arguments:
        key: identifies the work in this session, so that it stays stopped
        work: receives the progress callback
        show: called in the run of the page with the latest report of each stage
        place: an `st.empty` for the Stop button; None: a new one

    Raises: what the work raises.
    """
    stopped: set[str] = st.session_state.setdefault(STOPPED, set())
    place = st.empty() if place is None else place
    if key in stopped:
        _resume_button(place, key, stopped)
        return None
    reports: dict[str, tuple[float, float | None]] = {}

    def staged(on_progress: ProgressCallback) -> Result:
        def report(stage: str, done: float, total: float | None) -> None:
            reports[stage] = done, total
            on_progress(0.0)  # raises where the job was cancelled

        return work(report)

    job = Job(staged)
    try:
        if not job.wait(NO_BAR_S):
            _stop_button(place, key, stopped)
        while not job.wait(POLL_S):
            for stage, report in list(reports.items()):
                show(stage, *report)  # where a click interrupts the run
    finally:
        job.cancel()
    place.empty()
    for stage, report in list(reports.items()):
        show(stage, *report)
    return job.result()


def _stop_button(place: Any, key: str, stopped: set[str]) -> None:
    """place: `st`, or an element of the page"""
    place.button("Stop", icon=":material/stop:", key=f"stop-{key}", on_click=stopped.add, args=(key,))


def _resume_button(place: Any, key: str, stopped: set[str]) -> None:
    place.button("Resume", icon=":material/play_arrow:", key=f"resume-{key}", on_click=stopped.discard, args=(key,))


def progress_text(title: str, share: float) -> str:
    """The text above the progress bar.

    >>> progress_text("Embedding", 0.0), progress_text("Embedding", 0.427)
    ('Embedding ...', 'Embedding ... 43 %')
    """
    return f"{title} ... {share:.0%}".replace("%", " %") if share else f"{title} ..."
