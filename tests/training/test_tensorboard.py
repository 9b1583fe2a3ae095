"""Means, words in use and pictures reach TensorBoard's file, and a collapse is called out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from boiler.training.tensorboard import Journal, Mean, WordUse, collapse


def test_a_mean_begins_anew_when_it_was_taken() -> None:
    mean = Mean()
    for value in (1.0, 3.0):
        mean.add({"loss": torch.tensor(value, requires_grad=True)})
    assert mean.take() == {"loss": 2.0}
    mean.add({"loss": torch.tensor(7.0)})
    assert mean.take() == {"loss": 7.0}


@pytest.mark.parametrize(
    ("codes", "perplexity", "used"),
    [([0, 0, 0, 0], 1.0, 0.25), ([0, 1, 2, 3], 4.0, 1.0), ([0, 0, 1, 1], 2.0, 0.5)],
)
def test_perplexity_counts_words_by_how_evenly_they_are_used(codes: list[int], perplexity: float, used: float) -> None:
    use = WordUse(4)
    use.add(torch.tensor(codes[:2]))
    use.add(torch.tensor(codes[2:]))
    assert use.take("top") == {"perplexity_top": pytest.approx(perplexity), "words_used_top": pytest.approx(used)}


def test_a_collapsing_level_is_called_out_and_a_living_one_is_not() -> None:
    said = collapse({"perplexity_top": 3.0, "perplexity_bottom": 300.0}, {"top": 64, "bottom": 512})
    assert len(said) == 1
    assert "the top level is collapsing" in said[0]
    assert collapse({"perplexity_top": 50.0}, {"top": 64}) == []


def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def test_numbers_and_pictures_are_in_the_events(tmp_path: Path) -> None:
    journal = Journal(tmp_path, 0)
    journal.numbers("train", {"drawing": 0.5}, 7)
    journal.pictures(torch.rand(2, 1, 80, 48), torch.rand(2, 1, 80, 48), 7)
    journal.close()
    found = events(tmp_path)
    assert [(event.step, event.value) for event in found.Scalars("train/drawing")] == [(7, 0.5)]
    assert [found.Images(f"input beside reconstruction/{n}")[0].width for n in range(2)] == [96, 96]


def test_going_on_leaves_off_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    for step in (0, 5):
        journal = Journal(tmp_path, step)
        for at in (2, 8):
            if at >= step:
                journal.numbers("train", {"drawing": float(step)}, at)
        journal.close()
    assert [(event.step, event.value) for event in events(tmp_path).Scalars("train/drawing")] == [(2, 0.0), (8, 5.0)]
