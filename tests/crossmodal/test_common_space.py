"""The space that words and sounds share, as it is saved and searched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from wording import common_space

from boiler.crossmodal.common_space import DIM, WordSpace, mean_vector, words_of
from boiler.errors import CheckpointError, QueryError, WrongEncoderError


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dog_bark-2", ("dog", "bark")),
        ("BabyCry", ("baby", "cry")),
        ("the sound of rain, Rain", ("rain",)),
        ("1-100032-A", ()),
    ],
)
def test_the_words_of_a_name(name: str, words: tuple[str, ...]) -> None:
    assert words_of(name) == words


def test_a_sound_matches_its_label_and_a_word_like_it() -> None:
    space = common_space(("dog_bark", "rain"))
    sounds = space.of_sounds(np.array([[5, -5], [-5, 5]], np.float32))
    np.testing.assert_allclose(np.linalg.norm(sounds, axis=1), 1, atol=1e-6)
    assert [space.nearest_labels(one[None], 1)[0].name for one in sounds] == ["dog bark", "rain"]
    hound = sounds @ space.of_words(["hound"])
    assert hound[0] > hound[1]
    assert space.nearest_labels(sounds)[0].score == pytest.approx(1, abs=1e-3)  # of several, the nearest counts
    with pytest.raises(QueryError, match="no known word among qwrtz"):
        space.of_words(["qwrtz"])


def test_a_saved_space_is_the_same_and_names_its_encoder(tmp_path: Path) -> None:
    space = common_space(("dog", "rain"), "abc")
    space.save(tmp_path / "one.safetensors")
    space.save(tmp_path / "two.safetensors")
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    found = WordSpace.load(tmp_path / "one.safetensors")
    assert (found.labels, found.encoder_sha256, found.dim) == (("dog", "rain"), "abc", 2)
    np.testing.assert_array_equal(found.of_words(["wolf"]), space.of_words(["wolf"]))
    found.check_encoder("abc", tmp_path)
    with pytest.raises(WrongEncoderError, match=r"of the encoder abc, but those of .* are of the encoder def"):
        found.check_encoder("def", tmp_path)


@pytest.mark.parametrize("damage", ["missing", "cut", "labels", "shape", "later", "header"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "words.safetensors"
    space = common_space(("dog", "rain"))
    if damage == "labels":
        space = WordSpace(space.weights, "", ("x17",))
    if damage == "shape":
        space = WordSpace({**space.weights, "sound_weight": np.ones((3, DIM), np.float32)}, "", space.labels)
    if damage != "missing":
        space.save(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    if damage == "later":
        path.write_bytes(path.read_bytes().replace(b'format_version\\": 1', b'format_version\\": 2'))
    if damage == "header":
        save_file({}, path, {"boiler": "3"})
    with pytest.raises(CheckpointError, match="newer boiler" if damage == "later" else "no such file|or damaged"):
        WordSpace.load(path)


def test_the_mean_of_words_leaves_out_unknown_ones() -> None:
    assert mean_vector(["qwrtz"]) is None
    one, other = mean_vector(["dog"]), mean_vector(["dog", "qwrtz"])
    assert one is not None
    assert other is not None
    np.testing.assert_array_equal(one, other)
