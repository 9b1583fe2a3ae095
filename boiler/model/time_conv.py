"""A convolution over time as a product of matrices."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TimeConv1d(nn.Conv1d):
    """`nn.Conv1d` with a stride of 1 and an odd kernel, padded so that there are as many steps as before.

    Shape: float [B, C, T] to float [B, C', T]. Twice as fast for one clip of a few seconds: for so few steps torch
    takes its slow convolution. Every step is multiplied by the weights of all taps at once; what they give is added
    where it belongs, so that no input is copied.

    Raises: ValueError: an even `kernel_size`.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, bias: bool = True) -> None:
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, not {kernel_size}")
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias)
        self.reach = kernel_size // 2

    def forward(self, x: Tensor) -> Tensor:
        weights = self.weight.permute(1, 2, 0).flatten(1)  # of all taps, side by side
        products = torch.matmul(x.transpose(1, 2), weights)
        products = products.view(products.shape[0], products.shape[1], 2 * self.reach + 1, self.weight.shape[0])
        out: Tensor = products[:, :, self.reach].clone()
        for distance in range(1, self.reach + 1):
            out[:, distance:] += products[:, :-distance, self.reach - distance]
            out[:, :-distance] += products[:, distance:, self.reach + distance]
        bias = self.bias
        if bias is not None:
            out += bias
        return out.transpose(1, 2)

    def store_for_products(self) -> None:
        """Store the weight such that `forward` need not copy it; its shape stays."""
        stored = self.weight.detach().permute(1, 2, 0).contiguous()
        self.weight = nn.Parameter(stored.permute(2, 0, 1), requires_grad=self.weight.requires_grad)
