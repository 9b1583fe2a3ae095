"""The general encoder: short clips, offsets, silence, and files of weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pretrained_files import write_general

from boiler import encoder
from boiler.audio import stream
from boiler.audio.synthesis import write_collection
from boiler.audio.windows import fill_window
from boiler.encoder import Encoder
from boiler.encoder.general import GeneralEncoder, PooledViews
from boiler.errors import CheckpointError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return encoder.create("GeneralEncoder", write_general(tmp_path_factory.mktemp("weights") / "general.safetensors"))


def window(sound: torch.Tensor) -> torch.Tensor:
    return sound.repeat(2**18 // len(sound) + 1)[: 2**18][None, None]


def kick(seconds: float = 0.4) -> torch.Tensor:
    at = torch.arange(int(seconds * 32_000)) / 32_000
    return torch.exp(-12 * at) * torch.sin(2 * torch.pi * 60 * at * (1 + torch.exp(-30 * at)))


@pytest.mark.parametrize("seconds", [0.01, 0.05, 0.5, 8.0, 20.0])
def test_clips_of_any_length_have_a_vector(made: Encoder, seconds: float) -> None:
    sound = torch.randn(int(seconds * 32_000), generator=torch.Generator().manual_seed(0))[: 2**18]
    assert made(window(sound)).norm() == pytest.approx(1)


def test_silence_behind_a_sound_and_an_offset_change_little(made: Encoder) -> None:
    vector = made(window(kick()))[0]
    other = made(window(torch.randn(12_800, generator=torch.Generator().manual_seed(0))))[0]
    assert made(window(torch.cat([kick(), torch.zeros(64_000)])))[0] @ vector > 0.99 > 0.9 > other @ vector
    assert made(window(kick() + 0.5))[0] @ vector > 0.99


@pytest.mark.parametrize(("before_s", "behind_s"), [(0.1, 0.0), (0.5, 0.0), (0.0, 2.0), (1.03, 0.3)])
def test_silence_around_a_sound_changes_little(before_s: float, behind_s: float) -> None:
    made = encoder.create("GeneralEncoder")
    assert isinstance(made, GeneralEncoder)
    generator = torch.Generator().manual_seed(0)
    for sound in (kick(), 0.1 * torch.randn(9_000, generator=generator).cumsum(0).sin()):
        sound = sound - sound.mean()
        around = torch.cat([torch.zeros(int(before_s * 32_000)), sound, torch.zeros(int(behind_s * 32_000))])
        assert made(window(around))[0] @ made(window(sound))[0] > 0.9
        pooled = made.pooled_clips(window(around), [len(around)])
        views = PooledViews(made)(around.repeat(50)[None, : 2**18], len(around), 2, 0)
        torch.testing.assert_close(views[:1], pooled, rtol=1e-3, atol=1e-3)
        assert len(views) == 3


def test_a_clip_without_any_sound_has_a_vector(made: Encoder) -> None:
    assert made(torch.zeros(1, 1, 2**18)).norm() == pytest.approx(1)


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read as the weights of a general encoder"):
        GeneralEncoder(write_general(tmp_path / "other.safetensors", sample_rate_hz=16_000))


@pytest.mark.slow
def test_the_weights_that_come_with_boiler_tell_kinds_of_sound_apart(tmp_path: Path) -> None:
    files = sorted(write_collection(tmp_path, per_kind=4))[:32]
    made = encoder.create("GeneralEncoder")
    rows = []
    for file in files:
        sound = stream.load(file, sample_rate_hz=made.sample_rate_hz)
        rows.append(fill_window(sound[: made.window_samples], made.window_samples))
    with torch.inference_mode():
        vectors = torch.cat([made(torch.from_numpy(row)[None, None]) for row in rows])
    nearest = (vectors @ vectors.T).fill_diagonal_(-2).argmax(dim=1).tolist()
    kinds = [file.parent.name for file in files]
    assert sum(kinds[n] == kinds[found] for n, found in enumerate(nearest)) / len(kinds) > 0.8  # by chance .1
