"""Measurements that need the sounds or the encoder, and the reasons given without them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from evaluating import Bands, indexed

from boiler.audio import stream
from boiler.audio.windows import fill_window
from boiler.evaluation import checks, ground_truth, labelled_index, metrics
from boiler.evaluation.labelled_index import LabelledIndex
from boiler.evaluation.ranking import Collection
from boiler.store import generation


def open_index(model_dir: Path, wav_dir: Path | None = None) -> LabelledIndex:
    return labelled_index.open_labelled(model_dir, wav_dir, lambda items, _: ground_truth.from_catalog(items))


def ignore(done: int) -> None:
    """Discard progress."""


@pytest.fixture(scope="module")
def index(labelled_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> LabelledIndex:
    return open_index(indexed(labelled_folder, tmp_path_factory.mktemp("index") / "bands"))


@pytest.fixture(scope="module")
def bare(labelled_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> LabelledIndex:
    """An index of vectors only, without sounds."""
    folder = tmp_path_factory.mktemp("bare")
    return open_index(indexed(labelled_folder, folder / "bands", embedder=False), folder)


def test_the_baseline_has_the_same_items(index: LabelledIndex) -> None:
    found = checks.compute_baseline(index, "auto", ignore)
    assert isinstance(found, Collection)
    assert len(found) == len(index.items)
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-5)


def test_a_missing_baseline_has_a_reason(
    index: LabelledIndex, bare: LabelledIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "switched off" in str(checks.compute_baseline(index, "never", ignore))
    assert "not on this machine" in str(checks.compute_baseline(bare, "always", ignore))
    monkeypatch.setattr(checks, "MAX_BASELINE_SOUNDS", 17)
    assert "more than 17 sounds" in str(checks.compute_baseline(index, "auto", ignore))
    assert isinstance(checks.compute_baseline(index, "always", ignore), Collection)


def test_robustness_needs_sounds_and_encoder(index: LabelledIndex, bare: LabelledIndex) -> None:
    assert checks.measure_robustness(bare, 5, 0, "cpu", ignore) == "the sounds are not on this machine"
    found = checks.measure_robustness(index, 5, 0, "cpu", ignore)
    assert isinstance(found, dict)
    assert found["as it is"].mean_cosine == pytest.approx(1, abs=1e-5)
    assert {one.n_sounds for one in found.values()} == {5}


def test_codebook_usage_counts_the_codes_of_the_encoder(index: LabelledIndex) -> None:
    """Compared with a count over all sounds, file by file."""
    paths = index.paths()
    assert paths is not None
    counts = np.zeros((len(paths), 32))
    for place, path in enumerate(paths):
        window = fill_window(stream.load(path))
        for word in Bands().codes(torch.from_numpy(window)[None, None])[0].tolist():
            counts[place, word] += 1
    assert checks.measure_codebook(index, 0, "cpu") == metrics.codebook_stats(counts)


def test_without_sounds_codebook_usage_is_estimated_from_the_vectors(
    labelled_folder: Path, index: LabelledIndex, tmp_path: Path
) -> None:
    alone = open_index(index.generation.path.parents[1], tmp_path)
    found = checks.measure_codebook(alone, 0, "cpu")
    assert found is not None
    assert found.size == 32
    assert found == metrics.codebook_stats(
        np.square(np.asarray(index.generation.vectors), dtype=np.float64), min_share=checks.UNUSED_SHARE
    )


def test_without_an_encoder_there_is_no_codebook(bare: LabelledIndex) -> None:
    assert checks.measure_codebook(bare, 0, "cpu") is None


def test_engine_recall_is_measured_against_the_exact_engine(index: LabelledIndex) -> None:
    found = checks.measure_engine_recall(index, 0)
    assert found.n_queries == len(index.items)
    assert found.annoy == pytest.approx(1, abs=0.05)
    assert found.name == generation.open(index.generation.path.parents[1]).header.engine["name"]
