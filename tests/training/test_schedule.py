"""The learning rate rises in a line, then falls with a cosine."""

from __future__ import annotations

import pytest

from boiler.training.schedule import FINAL_LR_SHARE, learning_rate


def test_it_rises_over_the_warm_up_and_falls_to_its_final_share() -> None:
    assert [learning_rate(2.0, step, 0.0, 4) for step in range(6)] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0, 2.0])
    assert learning_rate(2.0, 0, 0.05, 100, 0.1) == pytest.approx(0.5 * learning_rate(2.0, 99, 0.05, 100))
    assert learning_rate(2.0, 5, 0.25, 100, 0.1) == learning_rate(2.0, 99, 0.25, 100)
    assert learning_rate(2.0, 9, 0.5, 4) == pytest.approx(1 + FINAL_LR_SHARE)
    assert learning_rate(2.0, 9, 1.0, 4) == learning_rate(2.0, 9, 1.3, 4) == pytest.approx(2 * FINAL_LR_SHARE)
