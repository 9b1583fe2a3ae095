"""A synchronised batch norm computes what a plain one does, in training and in use."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from boiler.model.shard import Shard, SyncedBatchNorm, separate_batch_norms, synchronise_batch_norms


@pytest.mark.parametrize(
    ("plain", "shape"),
    [
        (nn.BatchNorm2d(5), (6, 5, 3, 4)),
        (nn.BatchNorm2d(5, affine=False), (6, 5, 3, 4)),
        (nn.BatchNorm1d(5), (6, 5)),
    ],
    ids=["maps", "no parameters", "rows"],
)
def test_one_process_computes_what_a_plain_batch_norm_does(plain: nn.Module, shape: tuple[int, ...]) -> None:
    module = nn.Sequential(copy.deepcopy(plain))
    synchronise_batch_norms(module, Shard())
    assert isinstance(module[0], SyncedBatchNorm)
    x = 3 + 2 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    for _ in range(2):
        expected, found = plain(one), module(other)
        torch.testing.assert_close(found, expected)
        expected.square().sum().sin().backward()
        found.square().sum().sin().backward()
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-4)
    assert list(plain.state_dict()) == list(module[0].state_dict())
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(module[0].state_dict()[name], value)
    torch.testing.assert_close(module.eval()(x), plain.eval()(x))


@pytest.mark.parametrize(("plain", "shape"), [(nn.BatchNorm2d(5), (6, 5, 3, 4)), (nn.BatchNorm1d(5), (6, 5))])
def test_what_was_separated_again_is_plain_and_can_be_compiled(plain: nn.Module, shape: tuple[int, ...]) -> None:
    module = nn.Sequential(nn.Sequential(copy.deepcopy(plain)))
    synchronise_batch_norms(module, Shard())
    x = 3 + 2 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    module(x)
    expected = module.eval()(x)
    separate_batch_norms(module)
    assert type(module[0][0]) is type(plain)  # type: ignore[index]
    assert not module[0][0].training  # type: ignore[index]
    torch.testing.assert_close(torch.jit.script(module)(x), expected)


def test_parameters_stay_the_same_objects() -> None:
    module = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)))
    before = list(module.parameters())
    synchronise_batch_norms(module, Shard())
    assert all(one is other for one, other in zip(before, module.parameters(), strict=True))


def test_half_precision_is_kept_and_summed_in_full() -> None:
    module = nn.Sequential(nn.BatchNorm2d(1))
    synchronise_batch_norms(module, Shard())
    x = 300 + torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    found = module(x).detach()
    assert found.dtype == torch.bfloat16
    assert float(found.float().std()) == pytest.approx(1, abs=0.01)
