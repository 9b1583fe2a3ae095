"""A log file gets a line at intervals; a terminal gets a progress bar."""

from __future__ import annotations

import io

import pytest

from boiler import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_lines_with_share_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(float(second) for second in range(0, 1000, 20))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    log = io.StringIO()
    with progress.meter("embedding", 4, stream=log) as meter:
        meter.step()
        meter.step(note="2 failed")
    assert log.getvalue() == "embedding: 25 % after 20 s, 1 min left\nembedding: 50 % after 40 s, 40 s left 2 failed\n"


def test_quick_work_logs_nothing() -> None:
    log = io.StringIO()
    with progress.meter("embedding", 2, stream=log) as meter:
        meter.step()
        meter.step()
    assert log.getvalue() == ""


def test_a_terminal_gets_a_bar_with_name_and_note() -> None:
    screen = Terminal()
    with progress.meter("embedding", 2, stream=screen) as meter:
        meter.step(2, note="all well")
    assert "embedding" in screen.getvalue()
    assert "100%" in screen.getvalue()
    assert "all well" in screen.getvalue()


def test_the_caller_may_give_the_time_left() -> None:
    screen = Terminal()
    with progress.meter("training", 1.0, stream=screen) as meter:
        meter.reach(0.5, left_s=8807)
    assert "2 h 27 min left" in screen.getvalue()
