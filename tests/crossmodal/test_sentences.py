"""Vectors of sentences, and a space of words that is learned with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sentence_files import write_sentence_model

from boiler.crossmodal import sentences, trainer
from boiler.crossmodal.common_space import WordSpace
from boiler.crossmodal.trainer import SpaceTrainSettings
from boiler.crossmodal.training_pairs import LabelledVectors
from boiler.errors import CheckpointError, CorpusError

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sentence_model(tmp_path_factory.mktemp("sentences") / "tiny")


def test_a_sentence_has_one_vector_and_the_order_of_its_words_counts(folder: Path) -> None:
    model = sentences.load(folder)
    found = model.embed(["dog after rain", "rain after dog", "qwrtz", "DOG after rain"])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(found[2], model.embed(["qwrtz"])[0])
    np.testing.assert_array_equal(found[0], found[3])
    assert np.abs(found[0] - found[1]).max() > 0.01


def test_what_is_no_model_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="boiler encoders add all-minilm-l6-v2"):
        sentences.load(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="that transformers can load"):
        sentences.load(tmp_path / "empty")


def test_a_space_is_learned_with_sentences_and_needs_their_model(folder: Path, tmp_path: Path) -> None:
    model = sentences.load(folder)
    rng = np.random.default_rng(0)
    kinds = np.arange(40) % 2
    vectors = np.float32(rng.normal(size=(2, 8))[kinds] + 0.1 * rng.normal(size=(40, 8)))
    labels = [(("qwrtz_one", "zorp")[kind],) for kind in kinds]  # no English words
    with pytest.raises(CorpusError, match="known English words"):
        LabelledVectors.from_labels(vectors, labels)
    pairs = LabelledVectors.from_labels(vectors, labels, sentences=model)
    settings = SpaceTrainSettings(tmp_path / "run", steps=60, lr=1e-2)
    result = trainer.train(pairs, "abc", settings)
    assert result.metrics["label_accuracy"] == 1
    saved = WordSpace.load(tmp_path / "run" / "words.safetensors")
    assert saved.sentence_sha256 == model.sha256
    space = saved.with_sentences(folder)
    in_space = space.of_sounds(vectors[:2])
    assert [space.nearest_labels(one[None], 1)[0].name for one in in_space] == ["qwrtz one", "zorp"]
    scores = in_space @ space.of_words(["zorp"])
    assert scores[1] > scores[0]
    other = write_sentence_model(tmp_path / "other", seed=1)
    with pytest.raises(CheckpointError, match="was trained with the sentence model"):
        saved.with_sentences(other)
    plain = replace(saved, sentence_sha256="")
    assert plain.with_sentences(tmp_path / "none") is plain
