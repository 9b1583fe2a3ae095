"""The comparison distinguishes a good encoder from a bad one within its time limit."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from boiler import encoder
from boiler.encoder.mfcc_stats import MFCCStats
from boiler.evaluation import baseline_comparison
from boiler.evaluation.baseline_comparison import BaselineComparison, compare_with_baseline
from boiler.evaluation.robustness import ALTERATIONS
from boiler.training.dataset import SegmentDataset, prepare_dataset


@pytest.fixture(scope="module")
def dataset(labelled_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> SegmentDataset:
    return prepare_dataset(labelled_folder, tmp_path_factory.mktemp("cache"))


class Hashed(torch.nn.Module):
    """A bad encoder: a random vector seeded by a hash of the samples, so that any alteration gives another one."""

    def forward(self, waveform: Tensor) -> Tensor:
        hashes = [zlib.crc32(one.numpy().tobytes()) for one in waveform]
        return torch.stack([torch.randn(16, generator=torch.Generator().manual_seed(number)) for number in hashes])


def use(monkeypatch: pytest.MonkeyPatch, model: torch.nn.Module) -> None:
    monkeypatch.setattr(encoder, "create", lambda *args: model)


@pytest.mark.slow
def test_a_bad_encoder_is_not_better(dataset: SegmentDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Hashed())
    found = compare_with_baseline(Path("vqvae_001.pt"), dataset)
    assert found.found < 0.5 < found.baseline_found
    assert not found.is_better
    assert found.n_queries == 18 * (len(ALTERATIONS) - 1)


@pytest.mark.slow
def test_the_baseline_against_itself_is_no_better(dataset: SegmentDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    model = MFCCStats()
    model.fit([torch.from_numpy(baseline_comparison._windows(dataset, list(range(18))))[:, None]])
    use(monkeypatch, model.eval())
    found = compare_with_baseline(Path("vqvae_001.pt"), dataset)
    assert found.found == pytest.approx(found.baseline_found, abs=0.02)


@pytest.mark.slow
def test_without_time_only_a_few_sounds_are_compared(dataset: SegmentDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Hashed())
    assert compare_with_baseline(Path("vqvae_001.pt"), dataset, max_s=0.0).n_queries == 8 * (len(ALTERATIONS) - 1)


@pytest.mark.slow
def test_a_trained_checkpoint_is_compared(dataset: SegmentDataset, checkpoint_path: Path) -> None:
    found = compare_with_baseline(checkpoint_path, dataset, max_s=0.0)
    assert 0 <= found.found <= 1
    assert str(found).startswith("altered sounds find their original in ")
    assert f"of {8 * (len(ALTERATIONS) - 1)} queries with {encoder.DEFAULT}" in str(found)


@pytest.mark.parametrize(("found", "baseline", "better"), [(0.9, 0.8, True), (0.8, 0.8, False), (1.0, 1.0, True)])
def test_better_means_a_higher_share_or_all(found: float, baseline: float, better: bool) -> None:
    assert BaselineComparison("A", "B", found, baseline, 10).is_better is better
