"""Encoders: a waveform in, a vector of unit length out. The contract, and the table of names.

An encoder takes float `[N, 1, T]`, windows of the length and sampling rate that it names, at any level, and gives float
`[N, D]` rows of unit length. It scripts, is deterministic, gives the same vector alone and in a batch, and a finite one
for silence. One file per kind.

A name is one of `TABLE`, or `module:Class` for an encoder of one's own.

>>> from boiler import encoder
>>> embed = encoder.create("BagTopVQVAE", Path("exp/mine/vqvae_012.pt"))  # doctest: +SKIP
>>> embed = encoder.BagTopVQVAE("exp/mine/vqvae_012.pt", "cpu")  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from boiler.audio.windows import DEFAULT_WINDOWS, WindowSpec
from boiler.errors import CheckpointError, UnknownNameError

TABLE: dict[str, str] = {
    "BagTopVQVAE": "boiler.encoder.bag_top:BagTopVQVAE",
    "BagBottomVQVAE": "boiler.encoder.bag_bottom:BagBottomVQVAE",
    "MeanFreqTopVQVAE": "boiler.encoder.mean_freq_top:MeanFreqTopVQVAE",
    "PooledVQVAE": "boiler.encoder.pooled:PooledVQVAE",
    "JoinedVQVAE": "boiler.encoder.joined_vqvae:JoinedVQVAE",
    "MFCCStats": "boiler.encoder.mfcc_stats:MFCCStats",
    "JoinedParts": "boiler.encoder.joined_descriptors:JoinedParts",
}
"""Name to where its class stands. Imported when asked for."""

DEFAULT = "JoinedVQVAE"
"""What `boiler index` and `boiler demo` take when a checkpoint and no name is given: the best of those it holds."""

WITHOUT_CHECKPOINT = "JoinedParts"
"""What `boiler index` takes when neither is given: the best of those that need none."""

FOLDER_FITTERS: dict[str, str] = {"parts": "boiler.encoder.joined_descriptors:fit"}
"""Name to the function that learns something from the folder alone, once a training run, before its first step:
`fit(windows)` gets the training windows and returns named tensors."""

FITTERS: dict[str, str] = {"pooled": "boiler.encoder.pooled:fit", "joined": "boiler.encoder.joined_vqvae:fit"}
"""The same for what depends on the network, for every checkpoint: `fit(windows, learned, network)` gets also what those
before it in these tables learned, and the network."""

Path = str | os.PathLike[str]


class Encoder(nn.Module, ABC):
    """Base of all encoders. Each kind is made by `Kind(pt_path, device)`; one that needs no checkpoint takes None.

    Attributes: `dim`, the length D of its vectors.
    Shape: float `[N, 1, window_samples]` to float `[N, D]`, rows of unit length.
    """

    needs_checkpoint: ClassVar[bool] = False
    """Whether it is made from a training checkpoint (then `pt_path` must be given)."""

    sample_rate_hz: ClassVar[int] = DEFAULT_WINDOWS.sample_rate_hz
    """Of the waveform that it takes."""

    window_samples: ClassVar[int] = DEFAULT_WINDOWS.window_samples
    """Length T of the waveform that it takes."""

    hop_s: ClassVar[float | None] = None
    """Seconds from the start of one window to the next, unless the user asks otherwise. None: half a window."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    @classmethod
    def window_spec(cls, pt_path: Path | None = None) -> WindowSpec:
        """How sounds are cut for it. To be overridden where the file at `pt_path` decides."""
        hop_s = cls.window_samples / cls.sample_rate_hz / 2 if cls.hop_s is None else cls.hop_s
        return WindowSpec(cls.sample_rate_hz, cls.window_samples, hop_s)

    @abstractmethod
    def forward(self, waveform: Tensor) -> Tensor:
        """Rows of unit length, one per window."""


class Fitted(Encoder):
    """An encoder that learns something (a whitening, say) from the folder itself when it is indexed first."""

    fit_windows: ClassVar[int] = 1000
    """How many windows it wants to learn from, where there are as many."""

    @abstractmethod
    def fit(self, waveforms: Iterable[Tensor]) -> None:
        """Learn from batches of windows, each float `[B, 1, window_samples]`. Once, before `forward`."""


def find(name: str) -> type[Encoder]:
    """The class of that name: one of `TABLE`, or `module:Class` of one's own.

    Raises: `UnknownNameError`: no such name, or what it names cannot be imported or is no `Encoder`.
    """
    if name not in TABLE and ":" not in name:
        raise UnknownNameError("encoder", name, TABLE)
    module, _, class_name = TABLE.get(name, name).partition(":")
    try:
        found = getattr(importlib.import_module(module), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UnknownNameError("encoder", name, TABLE) from error
    if not (isinstance(found, type) and issubclass(found, Encoder)):
        raise UnknownNameError("encoder", name, TABLE)
    return found


def short_name(name: str) -> str:
    """The name without its module, for folders.

    >>> short_name("MFCCStats"), short_name("my.encoders:Spectral")
    ('MFCCStats', 'Spectral')
    """
    return name.rpartition(":")[2]


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


def learn_folder(windows: Iterable[Tensor]) -> dict[str, Tensor]:
    """What all `FOLDER_FITTERS` learn, each tensor as `fitter.name`.

    Arguments: `windows`, which can be gone through again and again, gives batches of whole windows, float
    `[B, 1, window_samples]`.
    """
    learned: dict[str, Tensor] = {}
    for name, place in FOLDER_FITTERS.items():
        learned |= _named(name, _found(place)(windows))
    return learned


def of_folder(learned: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of what a checkpoint holds that was learned, what `learn_folder` learned."""
    return {name: value for name, value in learned.items() if name.partition(".")[0] in FOLDER_FITTERS}


def learn(windows: Iterable[Tensor], network: nn.Module, of_folder: dict[str, Tensor]) -> dict[str, Tensor]:
    """What all `FITTERS` learn, and what `learn_folder` did: it all goes into the checkpoint.

    Arguments: `windows` as there; `network` is in eval mode.
    """
    learned = dict(of_folder)
    with torch.no_grad():
        for name, place in FITTERS.items():
            learned |= _named(name, _found(place)(windows, learned, network))
    return learned


def _found(place: str) -> Callable[..., dict[str, Tensor]]:
    module, _, function = place.partition(":")
    found: Callable[..., dict[str, Tensor]] = getattr(importlib.import_module(module), function)
    return found


def _named(name: str, found: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}.{short}": value.cpu().contiguous() for short, value in found.items()}


def __getattr__(name: str) -> Any:
    """`boiler.encoder.NAME` is the class of that name, imported when asked for."""
    if name in TABLE:
        return find(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
