"""The log of a run: expected steps and warnings of too few steps, unused files and collapsing codebooks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from boiler.catalog.items import Failure
from boiler.model.mel import MelSettings
from boiler.model.vqvae import VQVAE2, general_settings
from boiler.training.budget import TimeBudget
from boiler.training.dataset import SegmentDataset
from boiler.training.log import StepMetrics, TrainLog
from boiler.training.losses import compute_losses
from boiler.training.settings import TrainSettings


@pytest.fixture
def network(settings: TrainSettings) -> VQVAE2:
    torch.manual_seed(0)
    return VQVAE2(settings.network, MelSettings()).eval().requires_grad_(False)


@pytest.fixture
def log(settings: TrainSettings, network: VQVAE2) -> TrainLog:
    return TrainLog(settings, network, 0)


def test_metrics_are_means_over_the_passes_and_empty_without_one(network: VQVAE2) -> None:
    metrics = StepMetrics(network)
    assert metrics.pop() == {}
    totals = []
    for seed in (1, 2):
        scaled = torch.rand(4, 1, 80, 48, generator=torch.Generator().manual_seed(seed))
        outputs = network(scaled, 2)
        losses = compute_losses(network, outputs, scaled, 0.25, 1.0)
        metrics.add(outputs, losses)
        totals.append(float(losses.total))
    found = metrics.pop()
    assert found["total"] == pytest.approx(sum(totals) / 2)
    assert 1 <= found["perplexity_top"] <= 8
    assert 0 < found["codes_used_bottom"] <= 1
    assert metrics.pop() == {}


def test_enough_steps_are_logged_without_a_warning(log: TrainLog, capsys: pytest.CaptureFixture[str]) -> None:
    log.expect(2300, last_step=9000, steps_per_pass=40, budget=TimeBudget(20))
    assert "expecting about 2,300 steps in 20 min, 57.5 passes over the folder" in capsys.readouterr().err
    assert log.warnings == []


@pytest.mark.parametrize(("n_steps", "steps_per_pass", "minutes"), [(26, 10, 35), (700, 1000, 9)])
def test_too_few_steps_give_a_warning_with_the_minutes_needed(
    log: TrainLog, n_steps: int, steps_per_pass: int, minutes: int
) -> None:
    log.expect(n_steps, last_step=9000, steps_per_pass=steps_per_pass, budget=TimeBudget(3))
    (warning,) = log.warnings
    assert f"{n_steps} steps are too few" in warning
    assert f"--max_minutes {minutes}" in warning
    assert "boiler index" in warning


def test_from_the_general_network_the_default_encoder_is_the_measure(settings: TrainSettings, network: VQVAE2) -> None:
    log = TrainLog(replace(settings, network=general_settings()), network, 0)
    log.expect(26, last_step=9000, steps_per_pass=10, budget=TimeBudget(3))
    assert "the codes and the projection have learned little" in log.warnings[0]


def test_without_a_time_limit_too_few_epochs_give_a_warning(log: TrainLog) -> None:
    log.expect(20, last_step=20, steps_per_pass=1, budget=TimeBudget(None))
    assert "Train longer (--epoch)" in log.warnings[0]


def test_unused_files_are_listed(log: TrainLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.report_unused(SegmentDataset(tmp_path, [], [], []))
    assert capsys.readouterr().err == ""
    log.report_unused(SegmentDataset(tmp_path, [], [Failure("a.wav", "empty")], [], n_skipped=1))
    log_text = capsys.readouterr().err
    assert "1 file cannot be used:\n  a.wav: empty\n" in log_text
    assert "1 file left out" in log_text


def test_a_collapsing_codebook_gives_a_warning(log: TrainLog, capsys: pytest.CaptureFixture[str]) -> None:
    log.check_codebooks({"perplexity_top": 1.0, "perplexity_bottom": 15.0})
    assert "WARNING: the top codebook is collapsing" in capsys.readouterr().err
    assert len(log.warnings) == 1
