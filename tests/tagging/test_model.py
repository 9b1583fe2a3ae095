"""A tag model is one file without code, bound to its encoder."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from boiler.errors import CheckpointError, QueryError, WrongEncoderError
from boiler.tagging.calibration import Platt
from boiler.tagging.model import TagModel, TagProbability, sigmoid


@pytest.fixture
def model() -> TagModel:
    return TagModel(
        network="linear",
        tags=("dog", "Ratte", "雨"),
        weights={"weight": np.eye(3, dtype=np.float32), "bias": np.array([0, 1, -1], np.float32)},
        offsets=np.array([0, 0.5, 0], np.float32),
        thresholds=np.array([0.5, 0.9, 0.1], np.float32),
        calibration=Platt(2.0, -1.0),
        encoder_sha256="ab" * 32,
        settings={"lr": 0.01},
    )


def test_a_saved_model_is_the_same(model: TagModel, tmp_path: Path) -> None:
    model.save(tmp_path / "deep" / "a.safetensors")
    model.save(tmp_path / "b.safetensors")
    assert (tmp_path / "b.safetensors").read_bytes() == (tmp_path / "deep" / "a.safetensors").read_bytes()
    loaded = TagModel.load(tmp_path / "b.safetensors")
    vectors = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    assert np.array_equal(loaded.probabilities(vectors), model.probabilities(vectors))
    for name in ("tags", "calibration", "encoder_sha256", "features", "settings", "network"):
        assert getattr(loaded, name) == getattr(model, name)


def test_probabilities_are_calibrated_log_odds(model: TagModel) -> None:
    vector = np.array([[1, 2, 3]], np.float32)
    raw = np.array([1, 3, 2]) + np.array([0, 0.5, 0])
    np.testing.assert_allclose(model.probabilities(vector)[0], 1 / (1 + np.exp(-(2 * raw - 1))), rtol=1e-5)
    assert model.probabilities(np.zeros((0, 3), np.float32)).shape == (0, 3)


def test_top_tags_say_whether_they_reach_their_threshold(model: TagModel) -> None:
    found = model.top(np.array([0.6, 0.7, 0.2], np.float32), 3)
    assert found == [
        TagProbability("Ratte", pytest.approx(0.7), False),
        TagProbability("dog", pytest.approx(0.6), True),
        TagProbability("雨", pytest.approx(0.2), True),
    ]


def test_vectors_of_another_length_are_refused(model: TagModel) -> None:
    with pytest.raises(QueryError, match="takes vectors of 3 numbers"):
        model.raw_logits(np.zeros((1, 4), np.float32))


def test_another_encoder_is_refused_by_name(model: TagModel) -> None:
    model.check_encoder("ab" * 32, "here")
    with pytest.raises(WrongEncoderError, match="the encoder abababababab, but those of here are of the encoder cd"):
        model.check_encoder("cd" * 32, "here")
    with pytest.raises(WrongEncoderError, match="mean_rgb:1024"):
        replace(model, encoder_sha256="", features=("mean_rgb:1024",)).check_encoder("cd" * 32, "here")


def test_damaged_files_are_refused(model: TagModel, tmp_path: Path) -> None:
    model.save(tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    header = {"format": "boiler tag model", "format_version": 2}
    save_file({}, tmp_path / "newer.safetensors", {"boiler": json.dumps(header)})
    save_file({"x": np.zeros(3)}, tmp_path / "other.safetensors")
    replace(model, thresholds=np.zeros(2, np.float32)).save(tmp_path / "shapes.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(content[:-5])
    (tmp_path / "text.safetensors").write_text("nothing")
    for name in ("none", "newer", "other", "shapes", "cut", "text"):
        with pytest.raises(CheckpointError, match=name):
            TagModel.load(tmp_path / f"{name}.safetensors")


def test_sigmoid_does_not_overflow() -> None:
    assert sigmoid(np.array([-1e4, 0, 1e4], np.float32)).tolist() == [0, 0.5, 1]


def test_a_model_runs_without_torch(model: TagModel, tmp_path: Path) -> None:
    model.save(tmp_path / "a.safetensors")
    code = (
        "import sys; from pathlib import Path; import numpy as np; from boiler.tagging.model import TagModel;"
        "found = TagModel.load(Path(sys.argv[1])).probabilities(np.zeros((1, 3), np.float32));"
        "print(found.shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.safetensors"], capture_output=True, text=True)
    assert done.stdout == "(1, 3) False\n", done.stderr
