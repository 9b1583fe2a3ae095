"""Encoders: a waveform in, a vector of unit length out. The contract, and the table of names.

An encoder takes float `[N, 1, 2**17]` at 16 kHz, at any level, and gives float `[N, D]` rows of unit length. It
scripts, is deterministic, gives the same vector alone and in a batch, and a finite one for silence. One file per kind.

>>> from boiler import encoder
>>> embed = encoder.create("BagTopVQVAE", Path("exp/mine/vqvae_012.pt"))  # doctest: +SKIP
>>> embed = encoder.BagTopVQVAE("exp/mine/vqvae_012.pt", "cpu")  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from boiler.errors import CheckpointError, UnknownNameError

WINDOW_SAMPLES = 2**17

TABLE: dict[str, str] = {
    "BagTopVQVAE": "boiler.encoder.bag_top:BagTopVQVAE",
    "BagBottomVQVAE": "boiler.encoder.bag_bottom:BagBottomVQVAE",
    "MeanFreqTopVQVAE": "boiler.encoder.mean_freq_top:MeanFreqTopVQVAE",
    "PooledVQVAE": "boiler.encoder.pooled:PooledVQVAE",
    "MFCCStats": "boiler.encoder.mfcc_stats:MFCCStats",
    "JoinedParts": "boiler.encoder.joined:JoinedParts",
}
"""Name to where its class stands. Imported when asked for."""

DEFAULT = "PooledVQVAE"
"""What `boiler index` and `boiler demo` take when a checkpoint and no name is given: the best of those it holds."""

WITHOUT_CHECKPOINT = "JoinedParts"
"""What `boiler index` takes when neither is given: the best of those that need none."""

FITTERS: dict[str, str] = {"pooled": "boiler.encoder.pooled:fit"}
"""Name to the function that learns something for an encoder at the end of training: `fit(windows, learned,
network)` gets the training windows, what those before it in this table learned, and the network; it returns named
tensors."""

Path = str | os.PathLike[str]


class Encoder(nn.Module, ABC):
    """What every encoder is. Each kind is made by `Kind(pt_path, device)`; one that needs no checkpoint takes None.

    Attributes: `dim`, the length D of its vectors.
    Shape: float `[N, 1, 2**17]` to float `[N, D]`, rows of unit length.
    """

    needs_checkpoint: ClassVar[bool] = False
    """Whether it is made from a training checkpoint (then `pt_path` must be given)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    @abstractmethod
    def forward(self, waveform: Tensor) -> Tensor:
        """Rows of unit length, one per window."""


class Fitted(Encoder):
    """An encoder that learns something (a whitening, say) from the folder itself when it is indexed first."""

    fit_windows: ClassVar[int] = 1000
    """How many windows it wants to learn from, where there are as many."""

    @abstractmethod
    def fit(self, waveforms: Iterable[Tensor]) -> None:
        """Learn from batches of windows, each float `[B, 1, 2**17]`. Once, before `forward`."""


def find(name: str) -> type[Encoder]:
    """The class of that name.

    Raises: `UnknownNameError`.
    """
    if name not in TABLE:
        raise UnknownNameError("encoder", name, TABLE)
    module, _, class_name = TABLE[name].partition(":")
    found: type[Encoder] = getattr(importlib.import_module(module), class_name)
    return found


def create(name: str, pt_path: Path | None = None, device: str = "cpu") -> Encoder:
    """The encoder of that name, ready to embed: eval mode, no gradients.

    Raises: `UnknownNameError`; `CheckpointError` when it needs a checkpoint and none is given, or one that does not do.
    """
    kind = find(name)
    if kind.needs_checkpoint and pt_path is None:
        raise CheckpointError(
            f"{name} is learned: give the checkpoint it is to be made from (--pt_path exp/NAME/vqvae_NNN.pt, "
            "written by boiler train)"
        )
    encoder: Encoder = cast(Any, kind)(pt_path, device)
    return encoder.eval().requires_grad_(False)


def learn(windows: Iterable[Tensor], network: nn.Module) -> dict[str, Tensor]:
    """What all `FITTERS` learn, each tensor as `fitter.name`: it goes into the checkpoint.

    Arguments: `windows`, which can be gone through again and again, gives batches of whole windows, float
    `[B, 1, 2**17]`; `network` is in eval mode.
    """
    learned: dict[str, Tensor] = {}
    with torch.no_grad():
        for name, place in FITTERS.items():
            module, _, function = place.partition(":")
            found = getattr(importlib.import_module(module), function)(windows, learned, network)
            learned |= {f"{name}.{short}": value.cpu().contiguous() for short, value in found.items()}
    return learned


def __getattr__(name: str) -> Any:
    """`boiler.encoder.NAME` is the class of that name, imported when asked for."""
    if name in TABLE:
        return find(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
