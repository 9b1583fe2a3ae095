"""`GeneralDescriptors`: seven descriptors, fitted to windows as they come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from boiler.encoder import Pace, contrastive_head, general_descriptors
from boiler.encoder.contrastive_head import JoiningHead
from boiler.encoder.general import GeneralEncoder
from boiler.encoder.general_descriptors import GeneralDescriptors
from boiler.errors import BoilerError

RATE_HZ, WINDOW = 32_000, 2**18


def window(seed: int) -> Tensor:
    """A noise of a third of a second, dark or bright, repeated. Shape: [1, T]"""
    clip = torch.randn(RATE_HZ // 3, generator=torch.Generator().manual_seed(seed))
    clip = clip.cumsum(dim=0) if seed % 2 else clip
    clip = clip / clip.abs().max()
    return clip.repeat(WINDOW // len(clip) + 1)[None, :WINDOW]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> GeneralDescriptors:
    monkeypatch.setattr(general_descriptors, "MIN_STEPS", 10)
    monkeypatch.setattr(general_descriptors, "PATCH_WINDOWS", 3)
    return GeneralDescriptors(GeneralEncoder())


def test_it_learns_from_all_windows_and_returns_their_vectors(quick: GeneralDescriptors) -> None:
    windows = torch.stack([window(seed) for seed in range(6)])
    vectors = quick.fit_and_embed(iter(windows.split(2)))
    assert vectors.shape == (6, quick.dim)
    torch.testing.assert_close(vectors, quick(windows), rtol=0, atol=1e-5)
    likeness = vectors @ vectors.T - torch.eye(6)
    dark = torch.arange(6) % 2
    assert (dark[likeness.argmax(dim=1)] == dark).all()
    learned = {name: value for name, value in quick.state_dict().items() if not name.startswith("general.")}
    again = general_descriptors.load(learned, GeneralEncoder())
    torch.testing.assert_close(again(windows), vectors, rtol=0, atol=1e-5)


def test_it_reads_no_more_windows_when_it_has_enough(quick: GeneralDescriptors) -> None:
    read = 0

    def windows() -> Iterator[Tensor]:
        nonlocal read
        for seed in range(200):
            read += 1
            yield window(seed)[None]

    class Short(Pace):
        def is_over(self, n_done: int) -> bool:
            return n_done >= 5

    vectors = quick.fit_and_embed(windows(), pace=Short())
    assert len(vectors) == 5
    assert read < 50  # those that are read ahead for the threads


def test_windows_that_come_late_get_fewer_views(quick: GeneralDescriptors, monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(Pace):
        def is_late(self, n_done: int) -> bool:
            return n_done >= 4

    seen: list[Tensor] = []
    fit_head = contrastive_head.fit_head

    def spy(views: list[Tensor], *args: Any, **options: Any) -> JoiningHead:
        seen.extend(views)
        return fit_head(views, *args, **options)

    monkeypatch.setattr(contrastive_head, "fit_head", spy)
    windows = torch.stack([window(seed) for seed in range(6)])
    vectors = quick.fit_and_embed(windows.split(2), pace=Late())
    torch.testing.assert_close(vectors, quick(windows), rtol=0, atol=1e-5)
    assert len(seen) == 7
    for kind in seen:
        assert kind.shape[:2] == (6, 5)
        assert [len(views.unique(dim=0)) for views in kind] == [5, 5, 5, 5, 3, 3]


def test_nothing_to_fit_to_is_an_error(quick: GeneralDescriptors) -> None:
    with pytest.raises(BoilerError, match="at least one that is not silent"):
        quick.fit_and_embed([])
