"""Training in several processes, which torchrun starts: DistributedDataParallel over shards of every batch.

::

    torchrun --nproc_per_node=2 -m boiler.train_vqvae --wav_dir DIR --save_path exp/NAME

Every rank draws the same batch, and trains on its part of the rows. Whatever is computed from more than one row is
computed from the rows of all ranks (batch norms, codebooks, negatives of the contrastive loss), so that a run differs
from that of one process by the rounding of sums only. Rank 0 alone decodes, validates, logs and saves; the others wait.

Tensors travel by NCCL between GPUs, by Gloo between CPUs; decisions (when to stop, what rank 0 has done) always by
Gloo, and without a time limit, because decoding takes hours. If a rank dies, the exchange with it fails in all others,
and torchrun ends and starts them all (`--max_restarts`): they continue from the newest checkpoint of this launch.

On several hosts the folder of sounds, the cache and `save_path` must be on storage that all of them share.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.nn.functional import all_reduce
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from boiler.errors import ClusterError, SettingsError, first_line
from boiler.model.shard import Shard
from boiler.model.vqvae import VQVAE2
from boiler.training.settings import TrainSettings
from boiler.training.stopping import StopSignals

T = TypeVar("T")

LAUNCH_FILE = ".launched"
"""In `save_path`, written by the first attempt of a launch: checkpoints that are newer are its own."""
_FOREVER = timedelta(days=365)
_PEER_ENDED = re.compile("Connection (closed|reset) by peer")
"""How Gloo says that a process at the other end has ended; NCCL leaves it to torchrun to notice."""


class RankShard(Shard):
    """The rows of rank `rank` of `n_ranks`: of each view of the `n_sounds` of a batch, consecutive ones.

    Raises: `SettingsError` when there are fewer sounds than ranks.
    """

    def __init__(self, rank: int, n_ranks: int, n_sounds: int) -> None:
        if n_sounds < n_ranks:
            raise SettingsError(
                f"a batch of {n_sounds} sounds cannot be divided among {n_ranks} processes: start fewer of them, or "
                "give a larger --batch_size"
            )
        self.n_sounds = n_sounds
        self.start, self.stop = rank * n_sounds // n_ranks, (rank + 1) * n_sounds // n_ranks
        self.loss_scale = (self.stop - self.start) * n_ranks / n_sounds

    def whole(self, n_rows: int) -> int:
        return n_rows // (self.stop - self.start) * self.n_sounds

    def take(self, batch: Tensor) -> Tensor:
        return batch.reshape(-1, self.n_sounds, *batch.shape[1:])[:, self.start : self.stop].flatten(0, 1)

    def gather(self, rows: Tensor) -> Tensor:
        # A sum with zeros is exact, and its gradient is the sum of what every rank needs.
        by_view = rows.reshape(-1, self.stop - self.start, *rows.shape[1:])
        whole = rows.new_zeros(len(by_view), self.n_sounds, *rows.shape[1:])
        whole[:, self.start : self.stop] = by_view
        return self.sum(whole.flatten(0, 1))

    def mean(self, of_rows: Tensor) -> Tensor:
        return self.sum(of_rows * (self.stop - self.start) / self.n_sounds)

    def sum(self, values: Tensor) -> Tensor:
        summed: Tensor = all_reduce(values)  # type: ignore[no-untyped-call]
        return summed


class Ranks:
    """This process as the only one. `ProcessRanks` is one of several."""

    rank = 0

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which alone writes files and prints."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """The device of this process. `name`: as `boiler.model.device.resolve_device` returns it."""
        return torch.device(name)

    def from_first(self, make: Callable[[], T]) -> T:
        """What `make()` returns in rank 0; it is not called in others, which end when it raises."""
        return make()

    def stop_requested(self, stop: StopSignals) -> bool:
        """Whether a signal has asked any rank to stop; `stop.number` is set in all of them then."""
        return stop.requested

    def shard(self, n_sounds: int) -> Shard:
        """The rows of this process in batches of `n_sounds` sounds."""
        return Shard()

    def parallel(self, network: VQVAE2, shard: Shard) -> nn.Module:
        """The network as it is called in training on this shard. Call it before the optimizer is made."""
        return network


class ProcessRanks(Ranks):
    """One of the processes that torchrun started. Use `join`."""

    def __init__(self, control: Any, local_rank: int) -> None:
        self.rank, self.n_ranks = distributed.get_rank(), distributed.get_world_size()
        self._control = control
        self._local_rank = local_rank
        self._device = torch.device("cpu")

    def device(self, name: str) -> torch.device:
        self._device = torch.device("cuda", self._local_rank) if name == "cuda" else torch.device(name)
        return self._device

    def from_first(self, make: Callable[[], T]) -> T:
        sent: list[Any] = [None]
        try:
            if self.is_first:
                sent = [(True, make())]
        except BaseException:
            distributed.broadcast_object_list([(False, None)], src=0, group=self._control)
            raise
        distributed.broadcast_object_list(sent, src=0, group=self._control)
        succeeded, value = sent[0]
        if not succeeded:
            raise SystemExit(1)  # rank 0 says why
        result: T = value
        return result

    def stop_requested(self, stop: StopSignals) -> bool:
        number = torch.tensor(stop.number or 0)
        distributed.all_reduce(number, distributed.ReduceOp.MAX, group=self._control)
        if number:  # a signal may have come since it was asked for: it counts the next time
            stop.number = int(number)
        return bool(number)

    def shard(self, n_sounds: int) -> RankShard:
        return RankShard(self.rank, self.n_ranks, n_sounds)

    def parallel(self, network: VQVAE2, shard: Shard) -> nn.Module:
        network.distribute(shard)
        # Buffers (batch norms, codebooks) are computed from the same sums everywhere: nothing to send.
        devices = [self._device] if self._device.type == "cuda" else None
        return DistributedDataParallel(network, devices, broadcast_buffers=False)


@contextmanager
def join(device: str) -> Iterator[Ranks]:
    """The ranks that train together while the block runs: those of torchrun, or this process alone.

    device: as `boiler.model.device.resolve_device` returns it
    Raises: `SettingsError` when there are fewer GPUs than processes. `ClusterError` when one of the others has ended.
    """
    if not distributed.is_torchelastic_launched():
        yield Ranks()
        return
    local_rank = int(os.environ["LOCAL_RANK"])
    if device == "cuda":
        if local_rank >= torch.cuda.device_count():
            raise SettingsError(
                f"torchrun started {os.environ['LOCAL_WORLD_SIZE']} processes here, but there are "
                f"{torch.cuda.device_count()} GPUs: give as many as --nproc_per_node, or --device cpu"
            )
        torch.cuda.set_device(local_rank)
    store, rank, n_ranks = next(rendezvous("env://"))
    # A store outlives a restart (torchrun --standalone); the addresses in it of processes that are gone must not be
    # found again.
    store = PrefixStore(f"attempt {_n_restarts()}", store)
    backend = "nccl" if device == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=n_ranks)
    try:
        yield ProcessRanks(distributed.new_group(backend="gloo", timeout=_FOREVER), local_rank)
    except RuntimeError as error:
        if not _PEER_ENDED.search(str(error)):
            raise
        raise ClusterError(
            f"another process of this training has ended ({first_line(error)}): torchrun --max_restarts=3 "
            "starts it again from the last checkpoint"
        ) from error
    finally:
        distributed.destroy_process_group()


def after_restart(settings: TrainSettings) -> TrainSettings:
    """The settings with `load_path` as the newest checkpoint of this launch, if torchrun had to start it again.

    Called by rank 0 before it reads `load_path`, and before `mark_launch`.
    """
    mark = settings.save_path / LAUNCH_FILE
    if not _n_restarts():
        mark.unlink(missing_ok=True)  # of a launch that was killed as a whole
        return settings
    if not mark.is_file():
        return settings
    own = [path for path in settings.save_path.glob("vqvae_*.pt") if _mtime_ns(path) > _mtime_ns(mark)]
    return replace(settings, load_path=max(own, key=_mtime_ns)) if own else settings


def mark_launch(settings: TrainSettings) -> None:
    """Called by rank 0 when `settings` are found to be valid: from now on, a checkpoint is one of this launch."""
    if distributed.is_torchelastic_launched():
        settings.save_path.mkdir(parents=True, exist_ok=True)
        mark = settings.save_path / LAUNCH_FILE
        if not mark.exists():
            mark.touch()


def _n_restarts() -> int:
    """How often torchrun had to start this launch again."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def _mtime_ns(path: Path) -> int:
    return path.stat().st_mtime_ns
