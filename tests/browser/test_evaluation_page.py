"""The evaluation page shows the newest evaluation and the training curves."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsing import page_of, publish_random, run_page
from torch.utils.tensorboard import SummaryWriter

from boiler.browser import evaluation_page
from boiler.browser.background import JobCancelled
from boiler.store import generation


def test_the_evaluation_is_shown_and_an_outdated_one_is_marked(tmp_path: Path) -> None:
    publish_random(tmp_path, 3)
    page = run_page(page_of("evaluation_page", tmp_path))
    assert "boiler evaluate" in page.info[0].value
    folder = tmp_path / "evaluation" / generation.current_name(tmp_path)
    folder.mkdir(parents=True)
    (folder / "evaluation.md").write_text("# Results\n\n## Table\n\nP@1 .7\n")
    page.run()
    assert not page.warning
    assert "P@1 .7" in page.markdown[-1].value
    publish_random(tmp_path, 4)
    page.run()
    assert "boiler evaluate" in page.warning[0].value
    assert not page.exception


def test_the_training_curves_are_those_written(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(5):
            writer.add_scalar("train/total", 1.0 / (step + 1), step)
    steps, values = evaluation_page.training_curves(str(tmp_path), 0.0)["train/total"]
    assert steps == list(range(5))
    assert values[0] == 1.0


def test_a_resumed_training_replaces_what_was_written_after_that_step(tmp_path: Path) -> None:
    for first, value in ((0, 1.0), (3, 2.0)):
        with SummaryWriter(str(tmp_path), purge_step=first, filename_suffix=f".{first}") as writer:
            for step in range(first, 5 + 2 * first, 1 + first):
                writer.add_scalar("train/total", value, step)
    curve = evaluation_page.training_curves(str(tmp_path), 1.0)["train/total"]
    assert curve == ([0, 1, 2, 3, 7], [1.0, 1.0, 1.0, 2.0, 2.0])


def test_reading_the_curves_reports_progress_and_can_be_stopped(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(evaluation_page.MAX_CURVE_POINTS + 40):
            writer.add_scalar("train/total", float(step), step)
    shares: list[float] = []
    steps, values = evaluation_page.training_curves(str(tmp_path), 2.0, shares.append)["train/total"]
    assert shares == sorted(shares)
    assert 0.5 < shares[-1] <= 1.0
    assert len(steps) == evaluation_page.MAX_CURVE_POINTS
    last = evaluation_page.MAX_CURVE_POINTS + 39
    assert (steps[0], steps[-1], values[-1]) == (0, last, float(last))

    def stop(share: float) -> None:
        raise JobCancelled

    with pytest.raises(JobCancelled):
        evaluation_page.training_curves(str(tmp_path), 3.0, stop)
