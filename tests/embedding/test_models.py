"""The argument `model`: weight files and where they are searched, encoder names, checkpoints, model directories."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from boiler import encoder
from boiler.embedding import models
from boiler.embedding.models import EncoderModel, L3AudioModel
from boiler.errors import CheckpointError, EmbeddingError, ModelDirError, UnknownNameError
from boiler.indexing.pipeline import IndexSettings, index

SETTINGS = ("mel256", "music", 512, "kapre")


@pytest.fixture(scope="module")
def model_dir(labelled_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("index")
    index(IndexSettings(labelled_folder, "MFCCStats", model_dir=where, device="cpu", workers=1))
    return where


@pytest.mark.slow
def test_the_environment_variable_may_name_a_weight_file_or_a_folder(
    weights_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(models.WEIGHTS_VARIABLE, str(weights_dir))
    assert models.weights_file("audio", "mel128", "env").name == "openl3_audio_mel128_env-v0_4_0.h5"
    monkeypatch.setenv(models.WEIGHTS_VARIABLE, str(weights_dir / "audio.h5"))
    assert models.weights_file("audio", "linear", "music") == weights_dir / "audio.h5"


def test_without_weights_the_error_names_the_file_its_folder_and_alternatives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(models.WEIGHTS_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(CheckpointError) as refused:
        models.audio_model(None, *SETTINGS)
    message = str(refused.value)
    assert "openl3_audio_mel256_music.h5" in message
    assert str(tmp_path / "boiler" / "openl3") in message
    assert models.WEIGHTS_VARIABLE in message
    assert "MFCCStats" in message


@pytest.mark.slow
def test_weights_in_the_cache_are_found(weights_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(models.WEIGHTS_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "boiler").mkdir()
    (tmp_path / "boiler" / "openl3").symlink_to(weights_dir)
    assert isinstance(models.audio_model(None, *SETTINGS), L3AudioModel)


@pytest.mark.slow
def test_a_weight_file_of_the_other_modality_is_refused_by_name(weights_dir: Path) -> None:
    with pytest.raises(CheckpointError, match=r"image\.h5: gamma of its layer 0"):
        models.load_audio_network(weights_dir / "image.h5", "mel256", 512)
    with pytest.raises(CheckpointError, match=r"audio\.h5: gamma of its layer 0"):
        models.load_image_network(weights_dir / "audio.h5", 512)


def test_an_encoder_embeds_one_second_as_a_clip_of_one_second() -> None:
    made = encoder.create("MFCCStats")
    model = models.audio_model("MFCCStats", *SETTINGS)
    second = np.random.default_rng(0).standard_normal(model.sample_rate_hz).astype(np.float32)
    clip = np.resize(second, made.window_samples)

    np.testing.assert_allclose(model.predict(second[None])[0], made(torch.from_numpy(clip)[None, None])[0], atol=1e-6)
    assert (model.frame_samples, model.embedding_size) == (16_000, 80)


@pytest.mark.slow
def test_every_way_to_name_an_encoder_gives_the_same_vectors(checkpoint_path: Path) -> None:
    frames = np.random.default_rng(0).standard_normal((2, 16_000)).astype(np.float32)
    ways: list[object] = [
        f"BagTopVQVAE:{checkpoint_path}",
        encoder.create("BagTopVQVAE", checkpoint_path),
    ]
    first, *others = [models.audio_model(way, *SETTINGS).predict(frames) for way in ways]
    assert first.shape == (2, 8)
    for vectors in others:
        assert np.array_equal(vectors, first)
    default = models.audio_model(str(checkpoint_path), *SETTINGS)
    assert default.embedding_size == encoder.create(encoder.DEFAULT, checkpoint_path).dim


@pytest.mark.slow
def test_a_model_directory_embeds_with_its_own_encoder(model_dir: Path) -> None:
    model = models.audio_model(model_dir, *SETTINGS)
    assert isinstance(model, EncoderModel)
    frames = np.random.default_rng(0).standard_normal((3, 16_000)).astype(np.float32)
    vectors = model.predict(frames)
    assert vectors.shape == (3, 80)
    # It was fitted to the folder, so it differs from the unfitted encoder.
    assert not np.allclose(vectors, models.audio_model("MFCCStats", *SETTINGS).predict(frames), atol=0.1)


@pytest.mark.slow
def test_a_replaced_encoder_file_in_a_model_directory_is_not_run(model_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model_dir, copy, symlinks=True)
    (encoder_pt,) = copy.glob("versions/*/encoder.pt")
    encoder_pt.write_bytes(encoder_pt.read_bytes() + b"more")
    with pytest.raises((CheckpointError, ModelDirError), match=r"encoder\.pt"):
        models.audio_model(copy, *SETTINGS)


def test_an_invalid_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="MFCCStats"):
        models.audio_model("MFCCStat", *SETTINGS)
    with pytest.raises(EmbeddingError, match="int"):
        models.audio_model(3, *SETTINGS)
    with pytest.raises(ModelDirError):
        models.audio_model(tmp_path, *SETTINGS)
    with pytest.raises(EmbeddingError, match="MFCCStats"):
        models.image_model("MFCCStats", "mel256", "music", 512)
