"""Means, codebook usage and images reach TensorBoard's event file, and a collapse gives a warning."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from boiler.training.tensorboard import CodebookUsage, RunningMeans, TensorBoardWriter, collapse_warnings


def test_pop_resets_running_means() -> None:
    means = RunningMeans()
    for value in (1.0, 3.0):
        means.add({"loss": torch.tensor(value, requires_grad=True)})
    assert means.pop() == {"loss": 2.0}
    means.add({"loss": torch.tensor(7.0)})
    assert means.pop() == {"loss": 7.0}


@pytest.mark.parametrize(
    ("codes", "perplexity", "used"),
    [([0, 0, 0, 0], 1.0, 0.25), ([0, 1, 2, 3], 4.0, 1.0), ([0, 0, 1, 1], 2.0, 0.5)],
)
def test_perplexity_is_the_effective_number_of_codes(codes: list[int], perplexity: float, used: float) -> None:
    usage = CodebookUsage(4)
    usage.add(torch.tensor(codes[:2]))
    usage.add(torch.tensor(codes[2:]))
    assert usage.pop("top") == {"perplexity_top": pytest.approx(perplexity), "codes_used_top": pytest.approx(used)}


def test_a_collapsing_level_gives_a_warning_and_a_healthy_one_does_not() -> None:
    warnings = collapse_warnings({"perplexity_top": 3.0, "perplexity_bottom": 300.0}, {"top": 64, "bottom": 512})
    assert len(warnings) == 1
    assert "the top codebook is collapsing" in warnings[0]
    assert collapse_warnings({"perplexity_top": 50.0}, {"top": 64}) == []


def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def test_scalars_and_reconstructions_are_in_the_events(tmp_path: Path) -> None:
    writer = TensorBoardWriter(tmp_path, 0)
    writer.scalars("train", {"reconstruction": 0.5}, 7)
    writer.reconstructions(torch.rand(2, 1, 80, 48), torch.rand(2, 1, 80, 48), 7)
    writer.close()
    found = events(tmp_path)
    assert [(event.step, event.value) for event in found.Scalars("train/reconstruction")] == [(7, 0.5)]
    assert [found.Images(f"input and reconstruction/{n}")[0].width for n in range(2)] == [96, 96]


def test_resuming_discards_events_after_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Files of one second are read in the order of their numbers, as text: the tenth of a process before the ninth.
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))
    for step in (0, 5):
        writer = TensorBoardWriter(tmp_path, step)
        for at in (2, 8):
            if at >= step:
                writer.scalars("train", {"reconstruction": float(step)}, at)
        writer.close()
    assert [(event.step, event.value) for event in events(tmp_path).Scalars("train/reconstruction")] == [
        (2, 0.0),
        (8, 5.0),
    ]
