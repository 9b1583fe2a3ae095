"""Which rows of a training batch this process holds, and exchange with the processes that hold the others.

A batch of B sounds is B rows or, with two views of each, 2 B: rows i and B + i are views of one sound. Random numbers
are drawn for the whole batch by every process, so that they do not depend on the number of processes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Shard:
    """All rows of a batch, for training in one process. `boiler.training.distributed.RankShard` is one of several.

    `gather`, `mean` and `sum` are collective: every process calls them in the same order.
    """

    loss_scale = 1.0
    """The mean loss of the rows of a process times this, averaged over the processes, is that of the whole batch."""

    def whole(self, n_rows: int) -> int:
        """The number of rows of the whole batch of which this process holds `n_rows`."""
        return n_rows

    def take(self, batch: Tensor) -> Tensor:
        """Of the rows of the whole batch, `[B or 2 B, ...]`, those of this process."""
        return batch

    def gather(self, rows: Tensor) -> Tensor:
        """The inverse of `take`: from the rows of every process the whole batch, in order. Differentiable."""
        return rows

    def mean(self, of_rows: Tensor) -> Tensor:
        """From the means over the rows of every process, the mean over the whole batch."""
        return of_rows

    def sum(self, values: Tensor) -> Tensor:
        """The sum of the tensors of all processes, which have one shape. Differentiable."""
        return values


class SyncedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the rows of all processes in training; plain batch normalisation otherwise.

    Shape: `[N, C, ...]` to the same. `nn.SyncBatchNorm` runs on accelerators only; this one runs anywhere.
    """

    def __init__(self, plain: nn.modules.batchnorm._BatchNorm, shard: Shard) -> None:
        super().__init__(plain.num_features, plain.eps, plain.momentum, plain.affine)
        self.weight, self.bias = plain.weight, plain.bias
        self.running_mean, self.running_var = plain.running_mean, plain.running_var
        self.num_batches_tracked = plain.num_batches_tracked
        self.shard = shard
        self._plain = type(plain)

    def plain(self) -> nn.modules.batchnorm._BatchNorm:
        """The batch norm that this one replaced, with the same parameters."""
        plain = self._plain(self.num_features, self.eps, self.momentum, self.affine)
        plain.load_state_dict(self.state_dict())
        return plain.train(self.training)

    def _check_input_dim(self, input: Tensor) -> None:
        pass  # one class for rows with and without a map

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        with torch.autocast(input.device.type, enabled=False):
            x = input.float()
            axes = [axis for axis in range(x.ndim) if axis != 1]
            n = self.shard.whole(len(x)) * (x[0, 0].numel())
            # The mean first: sums of squares of uncentred values would cancel.
            mean = self.shard.sum(x.sum(axes)) / n
            shape = (1, -1, *(1 for _ in range(x.ndim - 2)))
            centred = x - mean.view(shape)
            variance = self.shard.sum(centred.square().sum(axes)) / n
            normalised = centred * (variance + self.eps).rsqrt().view(shape)
            if self.affine:
                normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * (n / (n - 1)), self.momentum)
                self.num_batches_tracked += 1
        return normalised.to(input.dtype)


def synchronise_batch_norms(module: nn.Module, shard: Shard) -> None:
    """Replace every batch norm in a module by a `SyncedBatchNorm` with the same parameters, in place."""
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(module, name, SyncedBatchNorm(child, shard))
        else:
            synchronise_batch_norms(child, shard)


def separate_batch_norms(module: nn.Module) -> None:
    """Undo `synchronise_batch_norms`, in place. A module with synchronised ones cannot be compiled."""
    for name, child in module.named_children():
        if isinstance(child, SyncedBatchNorm):
            setattr(module, name, child.plain())
        else:
            separate_batch_norms(child)
