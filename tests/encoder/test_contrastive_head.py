"""Learning by contrast: views, the linear map, the small network."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from boiler.encoder import contrastive_head


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips_in_views(clips: int = 60, views: int = 4) -> torch.Tensor:
    """What a clip is stands in the first 4 numbers, small; what a view is in the 4 others, large. [n, K, 8]."""
    clip = torch.randn(clips, 1, 4, generator=draw(1)).expand(clips, views, 4)
    view = 5 * torch.randn(clips, views, 4, generator=draw(2))
    return torch.cat([clip + 0.1 * torch.randn(clips, views, 4, generator=draw(3)), view], dim=2)


def own_view_first(rows: torch.Tensor) -> float:
    """How often the nearest of all other rows is a view of the same clip. [n, K, d]."""
    flat = normalize(rows.flatten(0, 1), dim=1)
    likeness = flat @ flat.T - 2 * torch.eye(len(flat))
    clip = torch.arange(len(flat)) // rows.shape[1]
    return float((clip[likeness.argmax(dim=1)] == clip).float().mean())


def test_a_view_is_another_and_finite_also_of_silence_and_of_the_shortest() -> None:
    for loudness in (torch.full((4, 80), -2.0), torch.rand(200, 80, generator=draw()) * 4 - 2):
        seen = [contrastive_head.view(loudness, draw(seed)) for seed in range(20)]
        assert all(one.isfinite().all() and one.shape[0] >= 4 and one.shape[1] == 80 for one in seen)
        assert not torch.equal(seen[0][:4], seen[1][:4])
        assert torch.equal(seen[3], contrastive_head.view(loudness, draw(3)))


def test_the_linear_map_keeps_the_clip_and_drops_the_view() -> None:
    views = clips_in_views()
    mean, matrix = contrastive_head.discriminant(views, 4, shrink=0.01)
    assert own_view_first(views) < 0.3
    assert own_view_first((views - mean) @ matrix) > 0.8


def test_more_directions_asked_than_there_are_come_as_zero() -> None:
    mean, matrix = contrastive_head.discriminant(clips_in_views(), 12)
    assert matrix.shape == (8, 12)
    assert (matrix[:, 8:] == 0).all()
    assert mean.shape == (8,)


def test_the_network_learns_to_tell_clips_apart() -> None:
    views = clips_in_views() / clips_in_views().std()
    before = contrastive_head.Curved.drawn(8, draw())
    after = contrastive_head.train(views, draw(), steps=150, noise=0.1)
    assert own_view_first(after(views)) > own_view_first(before(views)) + 0.3
    assert not any(weight.requires_grad for weight in after.parameters())


def test_training_is_the_same_again_and_works_without_gradients_outside() -> None:
    views = clips_in_views(clips=5)
    one = contrastive_head.train(views, draw(7), steps=3)
    with torch.no_grad():
        two = contrastive_head.train(views, draw(7), steps=3)
    assert torch.equal(one(views), two(views))


def test_one_clip_alone_is_no_error() -> None:
    views = clips_in_views(clips=1)
    assert contrastive_head.train(views, draw(), steps=2)(views).isfinite().all()
    assert contrastive_head.discriminant(views, 4)[1].isfinite().all()
