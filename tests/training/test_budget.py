"""Shares of the time limit, with a mocked clock."""

from __future__ import annotations

import math

import pytest

from boiler.training import budget as budget_module
from boiler.training.budget import FINISHING_SHARE, MAX_FINISHING_S, TimeBudget


class Clock:
    """`time.monotonic` that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(budget_module.time, "monotonic", clock)
    return clock


def test_without_a_time_limit_nothing_is_limited(clock: Clock) -> None:
    budget = TimeBudget(None)
    clock.now += 5000
    assert budget.elapsed_s() == 5000
    assert not budget.is_bounded
    limits = (budget.decoding_s(), budget.folder_fit_s(), budget.checkpoint_fit_s(), budget.final_fit_s())
    assert limits == (math.inf,) * 4
    assert budget.loop_share() == 0.0
    assert budget.expected_steps(5, 0, 400) == 400


def test_time_before_the_loop_is_taken_from_the_loop(clock: Clock) -> None:
    budget = TimeBudget(10, started=clock.now - 30)
    clock.now += 70
    budget.begin_loop()
    assert budget.loop_left_s() == pytest.approx(600 * (1 - FINISHING_SHARE) - 100)
    assert budget.loop_share() == 0.0
    clock.now += budget.loop_left_s() / 2
    assert budget.loop_share() == pytest.approx(0.5)
    clock.now += budget.loop_left_s()
    assert budget.loop_share() == 1.0
    assert budget.left_s() == pytest.approx(600 * FINISHING_SHARE)
    assert budget.final_fit_s() + budget.comparison_s() == pytest.approx(budget.left_s())
    clock.now += 1000
    assert (budget.left_s(), budget.final_fit_s()) == (0.0, 0.0)


def test_a_resumed_run_continues_its_schedule(clock: Clock) -> None:
    half_s = 600 * (1 - FINISHING_SHARE) / 2
    budget = TimeBudget(10, spent_s=half_s)
    budget.begin_loop()
    assert budget.elapsed_s() == half_s
    assert budget.loop_share() == pytest.approx(0.5)


def test_expected_steps_follow_from_the_speed_so_far(clock: Clock) -> None:
    budget = TimeBudget(10)
    budget.begin_loop()
    clock.now += 20
    expected = 10 + (600 * (1 - FINISHING_SHARE) - 20) / 2
    assert budget.expected_steps(step=10, first_step=0, last_step=9000) == pytest.approx(expected, abs=1)
    assert budget.expected_steps(step=10, first_step=0, last_step=50) == 50


def test_of_a_long_run_no_more_than_two_minutes_are_kept_for_its_end(clock: Clock) -> None:
    assert TimeBudget(60).loop_left_s() == pytest.approx(3600 - MAX_FINISHING_S)
