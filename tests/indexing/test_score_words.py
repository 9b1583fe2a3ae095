"""Word scores of an index: of which encoders, and that whitened vectors lead back to those of the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pretrained_files import write_general
from wording import CLASSES, word_model

from boiler import encoder, files
from boiler.crossmodal import word_model as words_module
from boiler.encoder import whitening
from boiler.indexing import pipeline, score_words
from boiler.indexing.pipeline import IndexSettings
from boiler.search.nearest import Nearest


def test_whitened_vectors_lead_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    general = torch.nn.functional.normalize(torch.randn(400, 16, generator=rng) * torch.arange(1, 17) + 3, dim=1)
    fitted = whitening.fit([general[:300]], 16)

    class Saved:
        def state_dict(self) -> dict[str, torch.Tensor]:
            return {"whitening.mean": fitted["mean"], "whitening.matrix": fitted["matrix"]}

    monkeypatch.setattr(score_words.checkpoint, "load_script", lambda path: (Saved(), {}))
    half = whitening.Whitening(fitted["mean"], fitted["matrix"])(general)
    joined = torch.cat([half, torch.nn.functional.normalize(torch.randn(400, 5, generator=rng), dim=1)], dim=1) / 2**0.5
    found = score_words.unjoined(tmp_path)(joined.numpy())
    np.testing.assert_allclose(found, general.numpy(), atol=2e-5)


def test_vectors_of_sounds_that_are_nearly_the_same_lead_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The mean is of unit length, up to rounding: there is hardly a way from it to the sphere."""
    for seed in range(8):
        rng = torch.Generator().manual_seed(seed)
        near = torch.randn(16, generator=rng) + 1e-5 * torch.randn(300, 16, generator=rng)
        general = torch.nn.functional.normalize(near, dim=1)
        fitted = whitening.fit([general], 16)

        class Saved:
            def state_dict(self, fitted: dict[str, torch.Tensor] = fitted) -> dict[str, torch.Tensor]:
                return {"whitening.mean": fitted["mean"], "whitening.matrix": fitted["matrix"]}

        monkeypatch.setattr(score_words.checkpoint, "load_script", lambda path, saved=Saved: (saved(), {}))
        half = whitening.Whitening(fitted["mean"], fitted["matrix"])(general)
        found = score_words.unjoined(tmp_path)(half.numpy())
        assert (found * general.numpy()).sum(axis=1).min() > 0.999


@pytest.mark.slow
def test_an_index_of_the_weights_of_the_model_is_searched_in_words(
    labelled_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = write_general(tmp_path / "general.safetensors")
    dim = encoder.create("GeneralEncoder", weights).dim
    settings = IndexSettings(labelled_folder, "GeneralEncoder", weights, model_dir=tmp_path / "index", workers=1)
    first = pipeline.index(settings)
    with Nearest(tmp_path / "index") as nearest:
        assert not nearest.has_words  # the package's model is of other weights
    model = word_model(encoder_sha256=files.sha256_of(weights), dim=dim)
    model.save(tmp_path / "words.safetensors")
    monkeypatch.setattr(words_module, "FILE", tmp_path / "words.safetensors")
    second = pipeline.index(settings)
    assert (second.published, second.tally.embedded) == (True, 0)
    assert second.generation != first.generation
    assert not pipeline.index(settings).published
    with Nearest(tmp_path / "index") as nearest:
        assert len(nearest.by_text("dog", 5)) == 5
        vectors = nearest._context.snapshot.vectors
        stored = nearest._context.snapshot.class_scores(CLASSES.index("Dog"))
        np.testing.assert_array_equal(stored, model.scores(np.asarray(vectors))[:, CLASSES.index("Dog")])
