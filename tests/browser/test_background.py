"""Long work shows its progress, is cancelled when nobody waits for it, and can be resumed."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import streamlit as st
from browsing import RUN_S
from streamlit.runtime.scriptrunner_utils.exceptions import StopException
from streamlit.testing.v1 import AppTest

from boiler.browser import background
from boiler.browser.background import Job, JobCancelled
from boiler.progress import ProgressCallback


def test_a_job_has_a_result_and_reports_its_progress() -> None:
    reported, resumed = threading.Event(), threading.Event()

    def work(on_progress: ProgressCallback) -> int:
        on_progress(0.5)
        reported.set()
        resumed.wait()
        return 7

    job = Job(work)
    assert reported.wait(RUN_S)
    assert job.progress == 0.5
    assert not job.wait(0.01)
    resumed.set()
    assert job.wait(RUN_S)
    assert job.result() == 7


def test_an_error_of_a_job_is_raised_where_its_result_is_read() -> None:
    def fail(on_progress: ProgressCallback) -> None:
        raise ValueError("wrong")

    job = Job(fail)
    with pytest.raises(ValueError, match="wrong"):
        job.result()


def test_a_cancelled_job_ends_at_its_next_progress_report() -> None:
    job = Job(work_forever)
    job.cancel()
    assert job.wait(RUN_S)
    with pytest.raises(JobCancelled):
        job.result()


def test_visitors_share_a_job_and_the_last_to_leave_cancels_it() -> None:
    with background.shared_job("same", work_forever) as first:
        with background.shared_job("same", work_forever) as second:
            assert second is first
        with background.shared_job("other", work_forever) as third:
            assert third is not first
        assert third.wait(RUN_S)
        while not first.progress:  # it still runs for the first visitor
            pass
        assert not first.wait(0.01)
    assert first.wait(RUN_S)
    with background.shared_job("same", lambda on_progress: 7) as new:
        assert new.result() == 7


def work_forever(on_progress: ProgressCallback) -> int:
    while True:
        on_progress(0.3)


def page_with_work() -> None:
    import streamlit as st

    from boiler.browser import background

    def work_forever(on_progress: background.ProgressCallback) -> int:
        while True:
            on_progress(0.3)

    work = work_forever if st.session_state.get("long") else (lambda on_progress: 7)
    st.caption(f"result: {background.run_with_progress('it', 'Counting', work)}")


def test_short_work_shows_only_its_result() -> None:
    page = AppTest.from_function(page_with_work, default_timeout=RUN_S).run()
    assert [one.value for one in page.caption] == ["result: 7"]
    assert not page.button


def test_an_interrupted_page_cancels_its_work_and_resumes_it_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit interrupts a run, for a click or when the page is closed, where the run writes to the page."""
    texts: list[str] = []

    class Bar:
        def progress(self, share: float, text: str) -> None:
            if share:
                raise StopException

    def progress(share: float, text: str) -> Any:
        texts.append(text)
        return Bar()

    jobs: list[Job[Any]] = []

    class RecordedJob(Job[Any]):
        def __init__(self, work: Any) -> None:
            super().__init__(work)
            jobs.append(self)

    monkeypatch.setattr(st, "progress", progress)
    monkeypatch.setattr(background, "Job", RecordedJob)
    page = AppTest.from_function(page_with_work, default_timeout=RUN_S)
    page.session_state["long"] = True
    page.run()
    assert texts
    assert texts[0].startswith("Counting")
    assert [button.label for button in page.button] == ["Stop"]
    (job,) = jobs
    assert job.wait(RUN_S)
    with pytest.raises(JobCancelled):
        job.result()

    page.button(key="stop-it").click().run()  # it does not start again by itself
    assert [one.value for one in page.caption] == ["Counting: stopped.", "result: None"]
    assert len(jobs) == 1
    page.session_state["long"] = False
    page.button(key="resume-it").click().run()
    assert [one.value for one in page.caption] == ["result: 7"]


def test_work_in_stages_shows_them_and_ends_when_the_page_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "NO_BAR_S", 0.01)
    monkeypatch.setattr(background, "POLL_S", 0.01)
    monkeypatch.setattr(st, "session_state", {})
    shown: list[tuple[str, float, float | None]] = []
    seen = threading.Event()

    def show(stage: str, done: float, total: float | None) -> None:
        shown.append((stage, done, total))
        seen.set()

    def work(report: background.StageCallback) -> int:
        report("first", 1, None)
        assert seen.wait(RUN_S)  # shown while the work goes on
        report("second", 2, 2)
        return 7

    assert background.run_in_stages("it", work, show) == 7
    assert shown[0] == ("first", 1, None)
    assert shown[-1] == ("second", 2, 2)

    ended = threading.Event()

    def forever(report: background.StageCallback) -> None:
        try:
            while True:
                report("first", 1, None)
        finally:
            ended.set()

    def interrupt(stage: str, done: float, total: float | None) -> None:
        raise StopException

    with pytest.raises(StopException):
        background.run_in_stages("it", forever, interrupt)
    assert ended.wait(RUN_S)


def test_stopped_work_in_stages_does_not_start_again_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(st, "session_state", {background.STOPPED: {"it"}})
    assert background.run_in_stages("it", lambda report: 7, lambda *report: None) is None
    assert background.run_in_stages("other", lambda report: 7, lambda *report: None) == 7
