"""Folds batch norms into the convolutions before them: the same output in less time, where nothing is trained."""

from __future__ import annotations

from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from boiler.model.time_conv import TimeConv1d

Network = TypeVar("Network", bound=nn.Module)


def fuse_batch_norms(module: Network) -> Network:
    """Fold each batch norm into the convolution before it, in place.

    Folded are pairs that follow each other in an `nn.Sequential`, and the attributes `conv` and `norm` of a module, at
    any depth. The module is in eval mode.
    """
    for child in module.children():
        fuse_batch_norms(child)
    if isinstance(module, nn.Sequential):
        for at in range(len(module) - 1):
            if (folded := _folded(module[at], module[at + 1])) is not None:
                module[at], module[at + 1] = folded, nn.Identity()
    elif (folded := _folded(getattr(module, "conv", None), getattr(module, "norm", None))) is not None:
        module.add_module("conv", folded)
        module.add_module("norm", nn.Identity())
    return module


def _folded(first: nn.Module | None, second: nn.Module | None) -> nn.Module | None:
    """The convolution that does what both do; None if they are no such pair."""
    if isinstance(first, nn.Conv1d | nn.Conv2d) and isinstance(second, nn.BatchNorm1d | nn.BatchNorm2d):
        folded = fuse_conv_bn_eval(first, second)
        if isinstance(folded, TimeConv1d):
            folded.store_for_products()
        return folded
    return None
