"""Long work is shown, is stopped for good when nobody waits for it, and goes on when it is wanted again."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import streamlit as st
from streamlit.runtime.scriptrunner_utils.exceptions import StopException
from streamlit.testing.v1 import AppTest

from boiler.browser import background
from boiler.browser.background import Job, Stopped
from boiler.progress import ProgressCallback

RUN_S = 60


def test_a_job_gives_what_came_of_it_and_how_far_it_is() -> None:
    asked, answered = threading.Event(), threading.Event()

    def halfway(on_progress: ProgressCallback) -> int:
        on_progress(0.5)
        asked.set()
        answered.wait()
        return 7

    job = Job(halfway)
    assert asked.wait(RUN_S)
    assert job.share == 0.5
    assert not job.within(0.01)
    answered.set()
    assert job.within(RUN_S)
    assert job.result() == 7


def test_what_a_job_raises_is_raised_to_who_waits() -> None:
    def wrong(on_progress: ProgressCallback) -> None:
        raise ValueError("so not")

    job = Job(wrong)
    with pytest.raises(ValueError, match="so not"):
        job.result()


def test_a_job_that_is_stopped_ends_at_its_next_step() -> None:
    job = Job(forever)
    job.stop()
    assert job.within(RUN_S)
    with pytest.raises(Stopped):
        job.result()


def test_who_wants_the_same_waits_for_the_same_and_only_the_last_who_leaves_stops_it() -> None:
    with background.joined("same", forever) as one:
        with background.joined("same", forever) as other:
            assert other is one
        with background.joined("else", forever) as third:
            assert third is not one
        assert third.within(RUN_S)
        while not one.share:  # it is at work still, for the one who stayed
            pass
        assert not one.within(0.01)
    assert one.within(RUN_S)
    with background.joined("same", lambda on_progress: 7) as anew:
        assert anew.result() == 7


def forever(on_progress: ProgressCallback) -> int:
    while True:
        on_progress(0.3)


def shown() -> None:
    import streamlit as st

    from boiler.browser import background

    def forever(on_progress: background.ProgressCallback) -> int:
        while True:
            on_progress(0.3)

    wanted = forever if st.session_state.get("long") else (lambda on_progress: 7)
    st.caption(f"came of it: {background.done('it', 'Counting', wanted)}")


def test_quick_work_shows_nothing_but_what_came_of_it() -> None:
    page = AppTest.from_function(shown, default_timeout=RUN_S).run()
    assert [one.value for one in page.caption] == ["came of it: 7"]
    assert not page.button


def test_a_page_that_is_interrupted_ends_the_work_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a click, or by a visitor who leaves: Streamlit interrupts a run where it says something to the page."""
    said: list[str] = []

    class Bar:
        def progress(self, share: float, text: str) -> None:
            if share:
                raise StopException

    def progress(share: float, text: str) -> Any:
        said.append(text)
        return Bar()

    jobs: list[Job[Any]] = []

    class Seen(Job[Any]):
        def __init__(self, wanted: Any) -> None:
            super().__init__(wanted)
            jobs.append(self)

    monkeypatch.setattr(st, "progress", progress)
    monkeypatch.setattr(background, "Job", Seen)
    page = AppTest.from_function(shown, default_timeout=RUN_S)
    page.session_state["long"] = True
    page.run()
    assert said
    assert said[0].startswith("Counting")
    assert [button.label for button in page.button] == ["Stop"]
    (job,) = jobs
    assert job.within(RUN_S)
    with pytest.raises(Stopped):
        job.result()

    # That Stop was pressed, the next run knows: it does not begin again by itself.
    page.button(key="stop-it").click().run()
    assert [one.value for one in page.caption] == ["Counting: stopped.", "came of it: None"]
    assert len(jobs) == 1
    page.session_state["long"] = False
    page.button(key="go-on-it").click().run()
    assert [one.value for one in page.caption] == ["came of it: 7"]
