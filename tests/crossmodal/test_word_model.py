"""The bridge from words to classes of sounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from wording import word_model

from boiler.crossmodal import word_model as module
from boiler.crossmodal.word_model import WordModel
from boiler.errors import CheckpointError, QueryError


def test_scores_are_probabilities_in_steps_of_a_byte() -> None:
    model = word_model()
    vectors = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    logs = model.log_probabilities(vectors)
    np.testing.assert_allclose(np.exp(logs).sum(axis=1), 1, rtol=1e-5)
    stored = model.scores(vectors)
    found = module.query_probabilities([stored[:, n] for n in range(6)], [1.0] * 6)
    np.testing.assert_allclose(found, 1, rtol=0.04)  # a step is 1/16 of a natural logarithm
    assert model.top(stored[0], 2)[0].name == model.title(int(logs[0].argmax()))


def test_words_go_to_classes_of_their_meaning_and_forms_to_their_word() -> None:
    model = word_model()
    assert model.nearest_classes(["hound"])[0].name == "dog"
    assert model.nearest_classes(["sneezing"])[0].name == "sneeze"
    assert model.nearest_classes(["fiddle"])[0].name == "violin"
    found = model.nearest_classes(["dog", "barking"])
    assert {one.name for one in found[:2]} == {"dog", "bark"}
    assert sum(one.score for one in found) == pytest.approx(1)
    assert model.numbers_of(found[:2]) == [model.classes.index(one.name.title()) for one in found[:2]]
    with pytest.raises(QueryError, match="no known word among qwrtz"):
        model.nearest_classes(["qwrtz"])


def test_a_qualifier_in_brackets_is_no_name_of_a_class() -> None:
    model = word_model(["Whimper (dog)", "Dog"])
    assert model.nearest_classes(["dog"])[0].score > 0.9
    assert model.nearest_classes(["dog"])[0].name == "dog"


def test_a_saved_model_is_the_same(tmp_path: Path) -> None:
    model = word_model(encoder_sha256="abc")
    model.save(tmp_path / "one.safetensors")
    model.save(tmp_path / "two.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    found = WordModel.load(tmp_path / "one.safetensors")
    assert (found.classes, found.encoder_sha256, found.dim) == (model.classes, "abc", 6)
    vectors = np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32)
    np.testing.assert_allclose(found.log_probabilities(vectors), model.log_probabilities(vectors), atol=0.02)


def test_other_files_and_vectors_are_refused(tmp_path: Path) -> None:
    (tmp_path / "none.safetensors").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="not a word model, or damaged"):
        WordModel.load(tmp_path / "none.safetensors")
    with pytest.raises(QueryError, match="takes vectors of 6 numbers"):
        word_model().scores(np.zeros((1, 5), np.float32))


def test_the_model_of_the_package_is_small_and_knows_animals_weather_and_instruments() -> None:
    model = module.load()
    assert model.dim == 256
    assert module.FILE.stat().st_size < 1_000_000
    for word, name in (("hound", "dog"), ("downpour", "rain"), ("cello", "cello"), ("infant", "baby cry")):
        assert name in {one.name for one in model.nearest_classes([word])}
