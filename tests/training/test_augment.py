"""Views have the requested size, are never below silence, differ from each other, and are reproducible by seed."""

from __future__ import annotations

import math

import pytest
import torch

from boiler.model.mel import MelSettings
from boiler.training.augment import SpectrogramAugmentation

SETTINGS = MelSettings()
FRAMES = 48


def augmentation() -> SpectrogramAugmentation:
    return SpectrogramAugmentation(SETTINGS, FRAMES, torch.device("cpu"))


def mel(batch: int = 64) -> torch.Tensor:
    return 2 * torch.rand(
        batch, 1, SETTINGS.n_mels, augmentation().input_frames, generator=torch.Generator().manual_seed(0)
    )


@pytest.mark.parametrize("batch", [2, 3, 64])
def test_views_have_the_requested_size_and_are_not_below_silence(batch: int) -> None:
    torch.manual_seed(0)
    altered = augmentation()(mel(batch))
    assert altered.shape == (batch, 1, SETTINGS.n_mels, FRAMES)
    assert altered.isfinite().all()
    assert (altered >= math.log10(SETTINGS.floor)).all()


def test_two_views_differ_and_are_reproducible_by_seed() -> None:
    torch.manual_seed(0)
    first, second = augmentation()(mel()), augmentation()(mel())
    torch.manual_seed(0)
    assert torch.equal(augmentation()(mel()), first)
    assert not torch.equal(first, second)


def test_a_view_is_nearer_to_its_own_sound_than_to_others() -> None:
    torch.manual_seed(0)
    # each sound a band of its own, far from the next
    sounds = torch.zeros(6, 1, SETTINGS.n_mels, augmentation().input_frames)
    for row in range(6):
        sounds[row, :, 4 + 13 * row : 10 + 13 * row] = 2.0
    smooth = torch.nn.AvgPool2d((15, 1), 1, (7, 0))
    originals = smooth(sounds).mean(-1).flatten(1)
    hits = []
    for _ in range(20):
        found = smooth(augmentation()(sounds)).mean(-1).flatten(1)
        centred = [each - each.mean(1, keepdim=True) for each in (found, originals)]
        cosines = torch.nn.functional.normalize(centred[0]) @ torch.nn.functional.normalize(centred[1]).T
        hits.append((cosines.argmax(1) == torch.arange(6)).float().mean())
    assert torch.stack(hits).mean() > 0.7
