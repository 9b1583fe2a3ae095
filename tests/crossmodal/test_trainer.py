"""The training of a space that words and sounds share."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from boiler.crossmodal import trainer
from boiler.crossmodal.common_space import PictureSpace, WordSpace
from boiler.crossmodal.trainer import SpaceTrainSettings, contrast_loss, train, triplet_loss
from boiler.crossmodal.training_pairs import LabelledVectors, PicturedVectors
from boiler.errors import CheckpointError, SettingsError

KINDS = ("dog_bark", "rain", "violin", "helicopter")


def sounds(n: int = 80, dim: int = 8, seed: int = 0) -> LabelledVectors:
    """Vectors around one centre a label; every fifth has two labels."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(KINDS), dim))
    kinds = np.arange(n) % len(KINDS)
    labels = [(KINDS[k], "wind") if i % 5 == 0 else (KINDS[k],) for i, k in enumerate(kinds.tolist())]
    return LabelledVectors.from_labels(np.float32(centres[kinds] + 0.3 * rng.normal(size=(n, dim))), labels)


def settings(save_path: Path, **given: Any) -> SpaceTrainSettings:
    return SpaceTrainSettings(save_path, **{"steps": 60, "steps_per_checkpoint": 25, "lr": 1e-2, **given})


@pytest.mark.parametrize("loss", trainer.LOSSES)
def test_held_out_sounds_find_their_labels(tmp_path: Path, loss: str) -> None:
    result = train(sounds(), "abc", settings(tmp_path, loss=loss))
    assert result.step == 60
    assert result.metrics["label_accuracy"] > 0.8 > 0.4 > result.metrics["chance"]
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["words_001.pt", "words_002.pt", "words_003.pt"]
    space = WordSpace.load(tmp_path / "words.safetensors")
    assert (space.labels, space.encoder_sha256) == (("dog_bark", "helicopter", "rain", "violin", "wind"), "abc")
    of_dogs = space.of_sounds(sounds().vectors[0::4]) @ space.of_words(["hound"])
    of_rain = space.of_sounds(sounds().vectors[1::4]) @ space.of_words(["hound"])
    assert of_dogs.mean() > of_rain.mean() + 0.3  # a word that no label has
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Scalars(f"train/{loss}")] == [25, 50, 60]
    assert [event.step for event in events.Scalars("held out/label_accuracy")] == [25, 50, 60]


def test_the_exported_space_is_the_network(tmp_path: Path) -> None:
    data = sounds()
    result = train(data, "", settings(tmp_path, steps=5))
    tower = trainer.VectorTower(torch.zeros(8), torch.ones(8))
    network = trainer.SpaceNetwork(tower, torch.zeros(data.queries.shape[1]), 1.0)
    network.load_state_dict(trainer.load_checkpoint(result.path, LabelledVectors)["weights"])
    with torch.no_grad():
        expected = network.of_sounds(torch.from_numpy(data.vectors)).numpy()
        words = network.of_queries(torch.from_numpy(data.queries)).numpy()
    np.testing.assert_allclose(result.space.of_sounds(data.vectors), expected, atol=1e-5)
    np.testing.assert_allclose(result.space.label_scores(expected), expected @ words.T, atol=1e-5)


@pytest.mark.parametrize("loss", trainer.LOSSES)
def test_held_out_pictures_find_their_sounds(tmp_path: Path, loss: str) -> None:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(100, 3))  # what a sound and its picture have in common
    vectors, features = (np.float32(hidden @ rng.normal(size=(3, dim)) + 5) for dim in (8, 12))
    data = PicturedVectors.from_pairs(vectors, features, [(n, n) for n in range(100)], "net")
    result = train(data, "abc", settings(tmp_path, loss=loss, steps=200))
    assert result.metrics["n_sounds"] == 15
    assert result.metrics["recall_at_1"] > 0.5 > 5 * result.metrics["chance_at_1"]
    assert sorted(path.name for path in tmp_path.glob("*.pt"))[0] == "pictures_001.pt"
    space = PictureSpace.load(tmp_path / "pictures.safetensors")
    assert (space.image_sha256, space.encoder_sha256) == ("net", "abc")
    held = data.split(0.15, 0)[1]
    found = data.metrics(space.of_sounds(vectors[held]), space.of_queries(features), held)
    assert found == pytest.approx(result.metrics)  # the exported space is the network
    np.testing.assert_allclose(space.of_picture(features[3], "net"), space.of_queries(features)[3], atol=1e-6)
    with pytest.raises(CheckpointError, match="was trained on features of the network net, not of other"):
        space.of_picture(features[3], "other")


def spectrograms() -> LabelledVectors:
    """Bands that are loud say what it is; two windows of each of 16 sounds."""
    rng = np.random.default_rng(0)
    mels = rng.normal(size=(32, 80, 16)).astype(np.float16)
    for n in range(32):
        mels[n, 20 * (n // 2 % 4) : 20 * (n // 2 % 4) + 20] += 3
    labels = [(KINDS[n // 2 % 4],) for n in range(32)]
    return LabelledVectors.from_labels(mels, labels, np.arange(32) // 2)


def test_a_network_over_spectrograms_is_trained_and_resumes(tmp_path: Path) -> None:
    data, few = spectrograms(), {"steps": 16, "steps_per_checkpoint": 8, "batch_size": 16}
    whole = train(data, None, settings(tmp_path / "whole", **few))
    held = data.split(0.15, 0)[1]
    assert len(held) == 4
    assert (data.sounds[held][::2] == data.sounds[held][1::2]).all()  # windows of a sound are held out together
    assert whole.metrics["label_accuracy"] == 1 > whole.metrics["chance"]
    assert not (tmp_path / "whole" / "words.safetensors").exists()  # no vectors of this network have been made yet
    with torch.no_grad():
        sounds = whole.network.of_sounds(torch.from_numpy(data.vectors[held])).numpy()
        vectors = whole.network.tower(torch.from_numpy(data.vectors[held])).numpy()
    np.testing.assert_allclose(whole.space.of_sounds(vectors), sounds, atol=1e-5)
    part = settings(tmp_path / "part", **few)
    stopped = train(data, None, part, on_step=lambda step: signal.raise_signal(signal.SIGTERM) if step == 9 else None)
    resumed = train(data, None, replace(part, load_path=stopped.path))
    for one, other in zip(whole.network.state_dict().values(), resumed.network.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


@pytest.mark.parametrize("loss", trainer.LOSSES)
def test_a_stopped_run_resumes_to_the_same_weights(tmp_path: Path, loss: str) -> None:
    data = sounds()
    whole = train(data, "", settings(tmp_path / "whole", loss=loss))
    part = settings(tmp_path / "part", loss=loss)
    stopped = train(data, "", part, on_step=lambda step: signal.raise_signal(signal.SIGTERM) if step == 31 else None)
    assert (stopped.stopped_by, stopped.step) == (signal.SIGTERM, 31)
    assert stopped.path.name == "words_002.pt"
    resumed = train(data, "", replace(part, load_path=stopped.path))
    assert resumed.step == 60
    for name, weight in whole.space.weights.items():
        np.testing.assert_array_equal(weight, resumed.space.weights[name])
    other = train(data, "", settings(tmp_path / "other", loss=loss, seed=1))
    assert not np.array_equal(whole.space.weights["sound_weight"], other.space.weights["sound_weight"])


def test_a_run_is_resumed_with_its_own_sounds_only(tmp_path: Path) -> None:
    path = train(sounds(), "abc", settings(tmp_path, steps=2)).path
    again = settings(tmp_path, load_path=path)
    for data, encoder in ((sounds(seed=1), "abc"), (sounds(), "def")):
        with pytest.raises(CheckpointError, match="was trained with other sounds or words"):
            train(data, encoder, again)
    with pytest.raises(CheckpointError, match=r"holds a run already: resume it with --load_path .*words_001.pt"):
        train(sounds(), "abc", settings(tmp_path))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="or damaged"):
        train(sounds(), "abc", again)
    torch.save({"format": trainer.FORMAT, "format_version": 2}, path)
    with pytest.raises(CheckpointError, match="newer boiler"):
        train(sounds(), "abc", again)
    with pytest.raises(CheckpointError, match="no such file"):
        train(sounds(), "abc", settings(tmp_path, load_path=tmp_path / "none.pt"))


def test_the_time_ends_a_run(tmp_path: Path) -> None:
    result = train(sounds(), "", settings(tmp_path, steps=10**7, max_minutes=1 / 60, steps_per_checkpoint=10**6))
    assert 0 < result.step < 10**7
    assert result.stopped_by is None


@given(st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_contrast_ignores_what_belongs_together(n: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    rows = torch.nn.functional.normalize(torch.randn(2, n, 5, generator=rng), dim=2)
    related = torch.eye(n, dtype=torch.bool)
    related[0, 1] = True  # sound 0 has label 1, too
    loss = contrast_loss(rows[0], rows[1], related)
    assert torch.isfinite(loss)
    assert loss <= contrast_loss(rows[0], rows[1], torch.eye(n, dtype=torch.bool))
    every = contrast_loss(rows[0], rows[1], torch.ones(n, n, dtype=torch.bool))
    assert float(every) == pytest.approx(0, abs=1e-6)


def test_triplets_beyond_the_margin_cost_nothing() -> None:
    near, far = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert float(triplet_loss(near, near, far, 0.2)) == 0
    assert float(triplet_loss(near, far, near, 0.2)) == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"loss": "other"}, "--loss is one of contrast, triplet"),
        ({"batch_size": 1}, "--batch_size must be at least 2"),
        ({"lr": 0.0}, "--lr and --max_minutes must be above 0"),
        ({"margin": 3.0}, "--margin between 0 and 2"),
        ({"held_share": 1.0}, "--held_share must be from 0"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path: Path, given_: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SpaceTrainSettings(tmp_path, **given_)
