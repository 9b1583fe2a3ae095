"""What needs the sounds or the encoder is measured with them, and says why not without them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from evaluating import Bands, indexed

from boiler.audio import stream
from boiler.audio.windows import fill_window
from boiler.evaluation import checks, ground_truth, labelled_index, metrics
from boiler.evaluation.labelled_index import Labelled
from boiler.evaluation.ranking import Collection
from boiler.store import generation


def opened(model_dir: Path, wav_dir: Path | None = None) -> Labelled:
    return labelled_index.open(model_dir, wav_dir, lambda items, _: ground_truth.from_catalog(items))


def ignore(done: int) -> None:
    """No progress to show."""


@pytest.fixture(scope="module")
def index(labelled_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    return opened(indexed(labelled_folder, tmp_path_factory.mktemp("index") / "bands"))


@pytest.fixture(scope="module")
def bare(labelled_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    """Vectors alone, and no sounds."""
    folder = tmp_path_factory.mktemp("bare")
    return opened(indexed(labelled_folder, folder / "bands", embedder=False), folder)


def test_the_floor_has_the_same_items(index: Labelled) -> None:
    found = checks.floor(index, "auto", ignore)
    assert isinstance(found, Collection)
    assert len(found) == len(index.items)
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-5)


def test_why_there_is_no_floor(index: Labelled, bare: Labelled, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "not wanted" in str(checks.floor(index, "never", ignore))
    assert "not here" in str(checks.floor(bare, "always", ignore))
    monkeypatch.setattr(checks, "FLOOR_UP_TO", 17)
    assert "more than 17 sounds" in str(checks.floor(index, "auto", ignore))
    assert isinstance(checks.floor(index, "always", ignore), Collection)


def test_altered_sounds_need_sounds_and_encoder(index: Labelled, bare: Labelled) -> None:
    assert checks.robustness(bare, 5, 0, "cpu", ignore) == "the sounds are not here"
    found = checks.robustness(index, 5, 0, "cpu", ignore)
    assert isinstance(found, dict)
    assert found["as it is"].mean_cosine == pytest.approx(1, abs=1e-5)
    assert {one.n_sounds for one in found.values()} == {5}


def test_words_are_those_the_encoder_names(index: Labelled) -> None:
    """Counted here over all sounds, file by file."""
    paths = index.paths()
    assert paths is not None
    counts = np.zeros((len(paths), 32))
    for place, path in enumerate(paths):
        window = fill_window(stream.load(path))
        for word in Bands().codes(torch.from_numpy(window)[None, None])[0].tolist():
            counts[place, word] += 1
    assert checks.words(index, 0, "cpu") == metrics.words(counts)


def test_without_sounds_the_vectors_tell_the_words(labelled_folder: Path, index: Labelled, tmp_path: Path) -> None:
    alone = opened(index.opened.path.parents[1], tmp_path)
    found = checks.words(alone, 0, "cpu")
    assert found is not None
    assert found.size == 32
    assert found == metrics.words(np.square(np.asarray(index.opened.vectors), dtype=np.float64), least=checks.USED)


def test_no_encoder_no_words(bare: Labelled) -> None:
    assert checks.words(bare, 0, "cpu") is None


def test_the_engine_is_held_to_the_truth(index: Labelled) -> None:
    found = checks.engine_recall(index, 0)
    assert found.n_queries == len(index.items)
    assert found.annoy == pytest.approx(1, abs=0.05)
    assert found.answers == generation.open(index.opened.path.parents[1]).header.engine["name"]
