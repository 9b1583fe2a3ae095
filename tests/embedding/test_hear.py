"""The HEAR interface, with the checks of the public validator.

The validator itself (hearvalidator on PyPI) requires TensorFlow and Python 3.8, so its checks are repeated here: types,
shapes, sizes, rates, spacing, and sounds of several lengths and counts.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from boiler.embedding import hear
from boiler.embedding.hear import HearModel
from boiler.embedding.models import L3AudioModel
from boiler.errors import EmbeddingError, UnknownNameError

ACCEPTED_RATES_HZ = (16_000, 22_050, 44_100, 48_000)


@pytest.fixture(scope="module", params=["MFCCStats", "L3"])
def model(request: pytest.FixtureRequest, small_sound_model: L3AudioModel) -> HearModel:
    return HearModel(small_sound_model) if request.param == "L3" else hear.load_model(request.param)


def sounds(model: HearModel, n_sounds: int, seconds: float) -> Tensor:
    return torch.rand(n_sounds, round(seconds * model.sample_rate), generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_model_states_its_rate_and_sizes(model: HearModel) -> None:
    assert isinstance(model, torch.nn.Module)
    assert isinstance(model.sample_rate, int)
    assert model.sample_rate in ACCEPTED_RATES_HZ
    assert isinstance(model.scene_embedding_size, int)
    assert isinstance(model.timestamp_embedding_size, int)


@pytest.mark.parametrize(("n_sounds", "seconds"), [(1, 0.3), (2, 1.0)])
def test_timestamp_embeddings_pass_the_checks_of_the_validator(model: HearModel, n_sounds: int, seconds: float) -> None:
    embeddings, timestamps = hear.get_timestamp_embeddings(sounds(model, n_sounds, seconds), model)
    assert embeddings.dtype == timestamps.dtype == torch.float32
    assert embeddings.ndim == 3
    assert timestamps.shape == embeddings.shape[:2]
    assert embeddings.shape[::2] == (n_sounds, model.timestamp_embedding_size)
    assert torch.isfinite(embeddings).all()
    spacing = timestamps.diff(dim=1)
    assert torch.allclose(spacing, spacing[:1, :1])
    assert float(spacing[0, 0]) == 50
    assert 0 <= float(timestamps[0, 0]) < 50
    assert seconds * 1_000 - 50 < float(timestamps[0, -1]) <= seconds * 1_000


@pytest.mark.parametrize(("n_sounds", "seconds"), [(1, 0.3), (2, 1.3)])
def test_scene_embeddings_pass_the_checks_of_the_validator(model: HearModel, n_sounds: int, seconds: float) -> None:
    embeddings = hear.get_scene_embeddings(sounds(model, n_sounds, seconds), model)
    assert embeddings.dtype == torch.float32
    assert embeddings.shape == (n_sounds, model.scene_embedding_size)
    assert torch.isfinite(embeddings).all()


def test_an_embedding_does_not_depend_on_the_batch(model: HearModel) -> None:
    audio = sounds(model, 3, 0.4)
    together, _ = hear.get_timestamp_embeddings(audio, model)
    alone, _ = hear.get_timestamp_embeddings(audio[1:2], model)
    assert torch.allclose(together[1:2], alone, atol=1e-5)
    assert torch.allclose(
        hear.get_scene_embeddings(audio, model)[2:], hear.get_scene_embeddings(audio[2:], model), atol=1e-5
    )
    assert torch.equal(model(audio), hear.get_scene_embeddings(audio, model))


def test_a_timestamp_embedding_depends_only_on_the_sound_around_it() -> None:
    """A click changes the embeddings of the frames that it is in, and no others."""
    model = hear.load_model("MFCCStats")
    audio = sounds(model, 1, 3.0) * 0.1
    clicked = audio.clone()
    clicked[0, 3 * model.sample_rate // 2] = 1.0
    before, timestamps = hear.get_timestamp_embeddings(audio, model)
    after, _ = hear.get_timestamp_embeddings(clicked, model)
    changed = timestamps[0][(before != after).any(dim=2)[0]]
    assert 950 <= float(changed.min()) <= 1_050
    assert 1_950 <= float(changed.max()) <= 2_050


def test_silence_has_finite_embeddings(model: HearModel) -> None:
    assert torch.isfinite(hear.get_scene_embeddings(torch.zeros(1, model.sample_rate), model)).all()


def test_load_model_takes_a_name_a_path_or_nothing(tmp_path: Path) -> None:
    assert hear.load_model().scene_embedding_size == hear.load_model("").scene_embedding_size
    with pytest.raises(UnknownNameError):
        hear.load_model("NoSuchEncoder")
    for wrong in (torch.zeros(16_000), torch.zeros(1, 1, 16_000), torch.zeros(2, 0)):
        with pytest.raises(EmbeddingError):
            hear.get_scene_embeddings(wrong, hear.load_model("MFCCStats"))
