"""The contrastive head: random views, Fisher's discriminant, the projection network."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.nn.functional import normalize

from boiler.encoder import contrastive_head


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips_in_views(clips: int = 60, views: int = 4) -> torch.Tensor:
    """[n, K, 8]: the first 4 numbers, small, distinguish clips; the other 4, large, distinguish views."""
    clip = torch.randn(clips, 1, 4, generator=rng(1)).expand(clips, views, 4)
    view = 5 * torch.randn(clips, views, 4, generator=rng(2))
    return torch.cat([clip + 0.1 * torch.randn(clips, views, 4, generator=rng(3)), view], dim=2)


def share_of_own_view_nearest(rows: torch.Tensor) -> float:
    """How often the nearest other row is a view of the same clip. Shape: [n, K, d]."""
    flat = normalize(rows.flatten(0, 1), dim=1)
    likeness = flat @ flat.T - 2 * torch.eye(len(flat))
    clip = torch.arange(len(flat)) // rows.shape[1]
    return float((clip[likeness.argmax(dim=1)] == clip).float().mean())


def test_random_views_are_finite_differ_by_seed_and_repeat() -> None:
    for loudness in (torch.full((4, 80), -2.0), torch.rand(200, 80, generator=rng()) * 4 - 2):
        views = [contrastive_head.random_view(loudness, rng(seed)) for seed in range(20)]
        assert all(one.isfinite().all() and one.shape[0] >= 4 and one.shape[1] == 80 for one in views)
        assert not torch.equal(views[0][:4], views[1][:4])
        assert torch.equal(views[3], contrastive_head.random_view(loudness, rng(3)))


@pytest.mark.parametrize("frames", [4, 41, 200])
def test_a_compiled_view_is_the_same(frames: int) -> None:
    compiled = torch.jit.script(contrastive_head.random_view)
    loudness = torch.rand(frames, 64, generator=rng()) * 4 - 2
    for seed in range(10):
        expected = contrastive_head.random_view(loudness, rng(seed))
        torch.testing.assert_close(compiled(loudness, rng(seed)), expected, rtol=1e-5, atol=1e-5)


def test_the_discriminant_keeps_the_clip_and_drops_the_view() -> None:
    views = clips_in_views()
    mean, matrix = contrastive_head.fisher_discriminant(views, 4, shrink=0.01)
    assert share_of_own_view_nearest(views) < 0.3
    assert share_of_own_view_nearest((views - mean) @ matrix) > 0.8


def test_columns_beyond_the_input_dimension_are_zero() -> None:
    mean, matrix = contrastive_head.fisher_discriminant(clips_in_views(), 12)
    assert matrix.shape == (8, 12)
    assert (matrix[:, 8:] == 0).all()
    assert mean.shape == (8,)


def test_training_moves_views_of_a_clip_closer_together() -> None:
    views = clips_in_views() / clips_in_views().std()
    before = contrastive_head.ProjectionHead.random(8, rng())
    after = contrastive_head.train_projection(views, rng(), steps=150, noise=0.1)
    assert share_of_own_view_nearest(after(views)) > share_of_own_view_nearest(before(views)) + 0.3
    assert not any(weight.requires_grad for weight in after.parameters())


def test_training_is_deterministic_also_under_no_grad() -> None:
    views = clips_in_views(clips=5)
    one = contrastive_head.train_projection(views, rng(7), steps=3)
    with torch.no_grad():
        two = contrastive_head.train_projection(views, rng(7), steps=3)
    assert torch.equal(one(views), two(views))


def test_one_clip_is_enough() -> None:
    views = clips_in_views(clips=1)
    assert contrastive_head.train_projection(views, rng(), steps=2)(views).isfinite().all()
    assert contrastive_head.fisher_discriminant(views, 4)[1].isfinite().all()


def test_the_optimizer_is_that_of_torch() -> None:
    """Parameters after 40 steps of the same gradients."""
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(4, 3, generator=generator), torch.randn(3, generator=generator)]
    gradients = [[torch.randn(one.shape, generator=generator) for one in start] for _ in range(40)]

    ours = contrastive_head.OneCycleAdamW([torch.nn.Parameter(one.clone()) for one in start], 2e-3, 40, 1e-3)
    for some in gradients:
        ours(tuple(some))

    theirs = [torch.nn.Parameter(one.clone()) for one in start]
    optimizer = torch.optim.AdamW(theirs, 2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=40)
    for some in gradients:
        for parameter, gradient in zip(theirs, some, strict=True):
            parameter.grad = gradient
        optimizer.step()
        schedule.step()
    for one, other, before in zip(ours.parameters, theirs, start, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
        assert (one - before).abs().max() > 1e-3


def test_fitting_does_not_import_the_compiler_of_torch() -> None:
    program = (
        "import sys, torch; from boiler.encoder.contrastive_head import train_projection;"
        "train_projection(torch.randn(20, 3, 8), torch.Generator(), steps=3); print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n", done.stderr


def test_only_clips_that_weigh_something_are_drawn() -> None:
    views = clips_in_views(clips=6)
    views[2:] = torch.nan  # a single one in a batch would make the head so
    weights = torch.tensor([1.0, 1.0, 1e-30, 1e-30, 1e-30, 1e-30])
    head = contrastive_head.train_projection(views, rng(), steps=20, batch=2, weights=weights)
    assert all(parameter.isfinite().all() for parameter in head.parameters())


def test_a_head_of_two_kinds_of_features_finds_views_better_than_they_do() -> None:
    both = clips_in_views(clips=80)
    kinds = [both[..., :6], both[..., 2:]]
    head = contrastive_head.fit_head(kinds, 6, rng(), steps=60)
    rows = torch.cat(kinds, dim=2)
    assert head(rows).shape == (80, 4, contrastive_head.LINEAR_DIM + contrastive_head.PROJECTION_DIM)
    assert share_of_own_view_nearest(head(rows)) > share_of_own_view_nearest(rows) + 0.3
    assert torch.allclose(head(rows)[3, 2], head(rows[3, 2]), atol=1e-5)
    alone = contrastive_head.fit_head(kinds, 6, rng(), steps=60, linear_dim=0)
    assert alone(rows).shape == (80, 4, contrastive_head.PROJECTION_DIM)
