"""Pretrained encoders, alone and joined with the folder's descriptors: one contract for all four."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pretrained_files import RATES_HZ, write_for
from torch import Tensor

from boiler import encoder
from boiler.encoder import Encoder, Fitted
from boiler.errors import CheckpointError
from boiler.model import checkpoint


def clips(rate_hz: int) -> list[Tensor]:
    """A hiss, a tone, a click that dies away, a rising noise: 0.05 to 1.5 s."""
    random = torch.Generator().manual_seed(0)

    def noise(seconds: float) -> Tensor:
        return torch.randn(int(seconds * rate_hz), generator=random)

    second = torch.arange(rate_hz) / rate_hz
    return [noise(0.05), torch.sin(2764 * second), noise(0.3) * torch.exp(-40 * second[: int(0.3 * rate_hz)]),
            noise(1.5) * torch.linspace(0, 1, int(1.5 * rate_hz))]  # fmt: skip


def filled(sounds: list[Tensor], samples: int) -> Tensor:
    """Windows, in which each clip is repeated."""
    return torch.stack([sound.repeat(samples // len(sound) + 1)[:samples] for sound in sounds])[:, None]


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.slow] * (name == "JoinedAISFX")) for name in sorted(RATES_HZ)],
)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    file = write_for(request.param, tmp_path_factory.mktemp("weights") / "weights.safetensors")
    found = encoder.create(request.param, file)
    if isinstance(found, Fitted):
        sounds = clips(found.sample_rate_hz)
        found.fit([filled(sounds[:2], found.window_samples), filled(sounds[2:], found.window_samples)])
    return found


@pytest.fixture(scope="module")
def windows(made: Encoder) -> Tensor:
    return filled(clips(made.sample_rate_hz), made.window_samples)


@pytest.fixture(scope="module")
def vectors(made: Encoder, windows: Tensor) -> Tensor:
    return made(windows)


def test_one_row_of_unit_length_per_window(made: Encoder, vectors: Tensor) -> None:
    assert vectors.shape == (4, made.dim)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4), atol=1e-5, rtol=0)
    assert (vectors @ vectors.T - torch.eye(4)).max() < 0.99999
    assert made(torch.zeros(1, 1, made.window_samples)).isfinite().all()


def test_level_does_not_matter_and_alone_is_as_in_a_batch(made: Encoder, windows: Tensor, vectors: Tensor) -> None:
    for row, gain in enumerate((1e-4, 0.37, 250.0, 1.0)):
        alone = made(windows[row : row + 1] * gain)[0]
        assert alone @ vectors[row] > 0.9999


def test_scripted_is_eager(made: Encoder, windows: Tensor, vectors: Tensor, tmp_path: Path) -> None:
    checkpoint.save_script(made, tmp_path / "encoder.pt", {})
    scripted, _ = checkpoint.load_script(tmp_path / "encoder.pt")
    torch.testing.assert_close(scripted(windows), vectors, atol=1e-5, rtol=0)


def test_a_clip_counts_once_however_often_it_is_repeated(made: Encoder, windows: Tensor, vectors: Tensor) -> None:
    """The clip of 0.3 s fills the window 20 times, but the part that is cut off at the end must not count."""
    sound = clips(made.sample_rate_hz)[2]
    other = sound.repeat(3)  # its own length is found in this, too
    assert made(filled([other], made.window_samples))[0] @ vectors[2] > 0.9999


@pytest.mark.parametrize("name", sorted(RATES_HZ))
def test_other_files_are_refused_by_name(name: str, tmp_path: Path) -> None:
    (tmp_path / "other.safetensors").write_bytes(b"no weights")
    for path in (tmp_path / "other.safetensors", tmp_path / "none.safetensors"):
        with pytest.raises(CheckpointError, match=path.name):
            encoder.create(name, path)
    wrong = "GeneralEncoder" if "AISFX" in name else "AISFXEncoder"
    with pytest.raises(CheckpointError, match="weights of"):
        encoder.create(name, write_for(wrong, tmp_path / "wrong.safetensors"))
