"""The length of a clip that was repeated to fill its window."""

from __future__ import annotations

import pytest
import torch

from boiler.encoder.loop_length import period

WINDOW = 2**14


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def filled(clip: torch.Tensor) -> torch.Tensor:
    return clip.repeat(WINDOW // len(clip) + 1)[:WINDOW]


@pytest.mark.parametrize("samples", [17, 100, 4097, WINDOW // 2, WINDOW // 2 + 1, WINDOW - 1000])
def test_the_length_of_the_clip_is_found(samples: int) -> None:
    assert period(filled(noise(samples))) == samples


def test_what_is_not_repeated_is_one_clip() -> None:
    assert period(noise(WINDOW)) == WINDOW


def test_silence_around_the_sound_belongs_to_the_clip() -> None:
    clip = torch.cat([torch.zeros(900), noise(300), torch.zeros(500)])
    assert period(filled(clip)) == 1700


def test_a_clipped_sound_is_no_puzzle() -> None:
    assert period(filled(noise(3000).clamp(-0.5, 0.5))) == 3000


def test_two_copies_with_one_wrong_sample_are_one_clip() -> None:
    waveform = filled(noise(WINDOW // 2))
    waveform[-1] += 0.01
    assert period(waveform) == WINDOW


@pytest.mark.parametrize("waveform", [torch.zeros(WINDOW), torch.full((WINDOW,), torch.nan)])
def test_silence_and_nonsense_do_not_matter(waveform: torch.Tensor) -> None:
    assert 1 <= period(waveform) <= WINDOW


def test_scripted_and_eager_agree() -> None:
    scripted = torch.jit.script(period)
    for waveform in (noise(WINDOW), filled(noise(1234)), torch.zeros(WINDOW)):
        assert scripted(waveform) == period(waveform)
