"""A DC offset and a click where a clip was cut are no part of its sound."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from boiler.encoder.conditioning import condition, condition_batch, fade_samples

WINDOW = 4096
FADE = 48


def window(clip: Tensor) -> Tensor:
    return clip.repeat(WINDOW // len(clip) + 1)[:WINDOW][None, None]


def noise(n: int) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(n))


@pytest.mark.parametrize("length", [100, 1000, WINDOW])
def test_an_offset_changes_nothing(length: int) -> None:
    clip = noise(length)
    found = condition(window(clip + 0.3), [length], FADE)
    torch.testing.assert_close(found, condition(window(clip), [length], FADE), atol=1e-5, rtol=0)
    assert abs(float(found[0, 0, FADE:length].mean())) < 5 / length**0.5


def test_a_click_at_the_cut_is_faded_in_every_copy_and_the_rest_is_not() -> None:
    clip = noise(1000) - noise(1000).mean()
    clicked = torch.cat([torch.ones(8), clip[8:]])
    found = condition(window(clicked), [1000], FADE)[0, 0]
    assert max(float(found[at : at + 8].abs().max()) for at in range(0, WINDOW, 1000)) < 0.06
    mean = float(clicked.mean())
    torch.testing.assert_close(found[FADE:1000], clicked[FADE:] - mean, atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1000:2000], found[:1000])


def test_each_row_has_its_own_length_and_scripting_changes_nothing() -> None:
    rows = torch.cat([window(noise(700)), window(noise(WINDOW)), torch.zeros(1, 1, WINDOW)])
    lengths = [700, WINDOW, WINDOW]
    together = condition(rows, lengths, FADE)
    for n, length in enumerate(lengths):
        torch.testing.assert_close(together[n : n + 1], condition(rows[n : n + 1], [length], FADE))
    torch.testing.assert_close(torch.jit.script(condition)(rows, lengths, FADE), together)
    torch.testing.assert_close(condition_batch(rows, torch.tensor(lengths), FADE), together)
    assert not together[2].any()


def test_the_fade_is_three_milliseconds() -> None:
    assert [fade_samples(rate) for rate in (16_000, 32_000, 44_100)] == [48, 96, 132]
