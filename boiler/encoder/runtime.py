"""Running an encoder: what an `encoder.pt` can do, on plain arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from boiler.arrays import Float32Array
from boiler.model import checkpoint
from boiler.model.device import single_threaded

Embed = Callable[[Float32Array], Float32Array]
"""[B, T] to [B, D]."""

# On a processor: what stays in its cache is done sooner than a whole batch (MFCCStats on one core, batches of 16: 2.9
# ms a window, of 2: 1.5), and a batch of 16 takes 100 MB more of memory.
AT_ONCE_ON_CPU = 2


@dataclass(frozen=True)
class Frozen:
    """What an `encoder.pt` can do, on plain arrays."""

    embed: Embed
    presence: Embed | None
    """[B, T] to [B, K, F]: how much each word sounds in each frame. None where vectors are no bags of words."""


def opened(path: Path, device: str) -> Frozen:
    """Load an `encoder.pt`.

    Raises: CheckpointError: it is not one.
    """
    module, _ = checkpoint.load_script(path, device)

    def on_arrays(function: Callable[[torch.Tensor], torch.Tensor]) -> Embed:
        def run(samples: Float32Array) -> Float32Array:
            at_once = AT_ONCE_ON_CPU if device == "cpu" else len(samples)
            if len(samples) > at_once:
                parts = [run(samples[begin : begin + at_once]) for begin in range(0, len(samples), at_once)]
                return np.concatenate(parts)
            # TF32 would cost a thousandth of a cosine between one machine and the next. The flags are not for threads.
            flags = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
            with torch.inference_mode(), nullcontext() if device == "cpu" else flags:
                numbers: Float32Array = (
                    function(torch.from_numpy(samples).unsqueeze(1).to(device)).float().cpu().numpy()
                )
            return numbers

        return run

    # Files written before the method was renamed export `presence`.
    presence = getattr(module, "activations", None) or getattr(module, "presence", None)
    return Frozen(on_arrays(module), None if presence is None else on_arrays(presence))


def embedder(path: Path, device: str) -> Embed:
    """What turns windows [B, T] into vectors [B, D], from an `encoder.pt`."""
    return opened(path, device).embed


@contextmanager
def embedding(path: Path, device: str) -> Iterator[Embed]:
    """`embedder` for many batches. On a processor as many threads as torch may use are at work, each on windows of its
    own: beside decoders, two threads that share one window wait for each other most of the time (the joined encoder,
    two busy cores: 47 ms of processor time a window, 16 in this way). And the vectors are the same to the bit on any
    number of threads."""
    embed = embedder(path, device)
    if device != "cpu":
        yield embed
        return
    n_threads = torch.get_num_threads()
    with single_threaded(), ThreadPoolExecutor(n_threads) as threads:

        def run(samples: Float32Array) -> Float32Array:
            begins = range(0, len(samples), AT_ONCE_ON_CPU)
            parts = threads.map(embed, [samples[begin : begin + AT_ONCE_ON_CPU] for begin in begins])
            return np.concatenate(list(parts))

        yield run
