"""The convolution as a product of matrices against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from boiler.model.time_conv import TimeConv1d


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("n_steps", [1, 2, 37])
def test_it_is_torchs_convolution(kernel_size: int, bias: bool, n_steps: int) -> None:
    torch.manual_seed(0)
    plain = nn.Conv1d(6, 4, kernel_size, padding=kernel_size // 2, bias=bias)
    product = TimeConv1d(6, 4, kernel_size, bias=bias)
    product.load_state_dict(plain.state_dict())
    x = torch.randn(3, 6, n_steps, requires_grad=True)
    expected = plain(x)
    torch.testing.assert_close(product(x), expected, rtol=1e-5, atol=1e-5)
    ours = torch.autograd.grad(product(x).square().sum(), [x, *product.parameters()])
    theirs = torch.autograd.grad(expected.square().sum(), [x, *plain.parameters()])
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_stored_weight_is_multiplied_without_a_copy() -> None:
    layer = TimeConv1d(6, 4, 3)
    before, shape = layer.weight.detach().clone(), layer.weight.shape
    layer.store_for_products()
    assert torch.equal(layer.weight, before)
    assert layer.weight.shape == shape
    assert layer.weight.permute(1, 2, 0).flatten(1).data_ptr() == layer.weight.data_ptr()
    layer.load_state_dict({"weight": before + 1, "bias": layer.bias.detach().clone()})
    assert layer.weight.permute(1, 2, 0).flatten(1).data_ptr() == layer.weight.data_ptr()


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel_size must be odd, not 2"):
        TimeConv1d(6, 4, 2)
