"""Encoders: windows of sound to vectors of unit length. The base classes and the table of names.

An encoder takes float `[N, 1, T]`, windows of the length and sampling rate that it states, at any level, and returns
float `[N, D]`, rows of unit length. It can be scripted and is deterministic; the vector of a window does not depend on
the other windows of the batch, and that of silence is finite. There is one file for each kind.

A name is one of `ENCODERS`, or `module:Class` for an encoder from another package.

>>> from boiler import encoder
>>> embed = encoder.create("BagTopVQVAE", Path("exp/mine/vqvae_012.pt"))  # doctest: +SKIP
>>> embed = encoder.BagTopVQVAE("exp/mine/vqvae_012.pt", "cpu")  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
import inspect
import os
import pathlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from boiler import files
from boiler.audio.windows import DEFAULT_WINDOWS, WindowSpec
from boiler.deprecated import module_getattr
from boiler.errors import CheckpointError, SettingsError, UnknownNameError

ENCODERS: dict[str, str] = {
    "BagTopVQVAE": "boiler.encoder.bag_top:BagTopVQVAE",
    "BagBottomVQVAE": "boiler.encoder.bag_bottom:BagBottomVQVAE",
    "MeanFreqTopVQVAE": "boiler.encoder.mean_freq_top:MeanFreqTopVQVAE",
    "PooledVQVAE": "boiler.encoder.pooled:PooledVQVAE",
    "JoinedVQVAE": "boiler.encoder.joined_vqvae:JoinedVQVAE",
    "MFCCStats": "boiler.encoder.mfcc_stats:MFCCStats",
    "JoinedDescriptors": "boiler.encoder.joined_descriptors:JoinedDescriptors",
    "GeneralEncoder": "boiler.encoder.general:GeneralEncoder",
    "JoinedGeneral": "boiler.encoder.joined_general:JoinedGeneral",
    "GeneralVQVAE": "boiler.encoder.joined_general:GeneralVQVAE",
    "PatchEncoder": "boiler.encoder.patch:PatchEncoder",
    "AISFXEncoder": "boiler.encoder.aisfx:AISFXEncoder",
    "JoinedAISFX": "boiler.encoder.joined_pretrained:JoinedAISFX",
    "L3Encoder": "boiler.encoder.l3:L3Encoder",
    "ASTEncoder": "boiler.encoder.ast:ASTEncoder",
    "WhisperEncoder": "boiler.encoder.whisper:WhisperEncoder",
    "ONNXEncoder": "boiler.encoder.onnx:ONNXEncoder",
    "TorchScriptEncoder": "boiler.encoder.torchscript:TorchScriptEncoder",
}
"""Name to `module:Class`. Modules are imported when the name is used."""

RENAMED: dict[str, str] = {"JoinedParts": "JoinedDescriptors"}
"""Old names, accepted for one version."""

DEFAULT = "JoinedVQVAE"
"""The most accurate encoder built from a checkpoint: used when a checkpoint is given and no name."""

WITHOUT_CHECKPOINT = "JoinedGeneral"
"""The most accurate encoder that needs no checkpoint: used when neither a checkpoint nor a name is given."""

FORMERLY_WITHOUT_CHECKPOINT = "JoinedDescriptors"
"""The former `WITHOUT_CHECKPOINT`: an existing index of it in the default place is still updated, not replaced."""

UNFITTED = "GeneralEncoder"
"""The most accurate encoder that needs neither a checkpoint nor a folder to be fitted to."""

FOLDER_FITTERS: dict[str, str] = {
    "descriptors": "boiler.encoder.joined_descriptors:fit_to",
    "general_descriptors": "boiler.encoder.general_descriptors:fit_to",
}
"""By name: a function `fit_to(network, windows, pace)` that is fitted to the training windows, once per training
run, before the first step. It returns named tensors, none if it is not for this network, of which nothing that is
trained is used."""

FITTERS: dict[str, str] = {"pooled": "boiler.encoder.pooled:fit", "joined": "boiler.encoder.joined_vqvae:fit"}
"""By name: a function `fit(windows, learned, network)` that also depends on the network and is called for every
checkpoint. `learned` is what the fitters before it in these two tables returned."""

Path = str | os.PathLike[str]


class Pace:
    """How much time a fit has. This one has all the time it needs."""

    def is_over(self, n_done: int) -> bool:
        """After so many windows: whether the rest of them are to be skipped."""
        return False

    def is_late(self, n_done: int) -> bool:
        """After so many windows: whether, at the speed until now, the time will be over before the windows are."""
        return False


UNHURRIED = Pace()


class Encoder(nn.Module, ABC):
    """Base class of all encoders, created by `Kind(pt_path, device)`; one that needs no checkpoint accepts None.

    An encoder whose vectors are bags of codes also exports `activations(waveform)`, float `[N, K, F]`, the share of
    each code in each of F equal time steps, with which `boiler.search.explain` explains a match; and may export
    `codes(waveform)`, int64 `[N, cells]`.

    Attributes: `dim`, the dimension D of its vectors.
    Shape: float `[N, 1, window_samples]` to float `[N, D]`, rows of unit length.
    """

    needs_checkpoint: ClassVar[bool] = False
    """Whether it is built from a file (then `pt_path` must be given)."""

    checkpoint_hint: ClassVar[str] = "a training checkpoint (--pt_path exp/NAME/vqvae_NNN.pt, written by boiler train)"
    """The description of that file, for the error when it is missing."""

    own_weights: ClassVar[pathlib.Path | None] = None
    """The file of weights that comes with boiler and is used when no other is given."""

    sample_rate_hz: int = DEFAULT_WINDOWS.sample_rate_hz
    """Sampling rate of its input. An encoder made from a file may set its own."""

    window_samples: int = DEFAULT_WINDOWS.window_samples
    """Length T of its input."""

    hop_s: ClassVar[float | None] = None
    """Seconds from the start of one window to the next, unless the user sets it. None: half a window."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    traced: ClassVar[bool] = False
    """Whether its `encoder.pt` is traced: for networks of other libraries, which cannot be scripted."""

    runtime: ClassVar[str] = ""
    """The library that runs it, if that is not torch: `onnx`."""

    @classmethod
    def window_spec(cls, pt_path: Path | None = None, **options: Any) -> WindowSpec:
        """The windows of its input. Override it if these depend on the file at `pt_path` or on `options`, which are
        those of `create`."""
        hop_s = cls.window_samples / cls.sample_rate_hz / 2 if cls.hop_s is None else cls.hop_s
        return WindowSpec(cls.sample_rate_hz, cls.window_samples, hop_s)

    @classmethod
    def sha256_of(cls, pt_path: Path) -> str:
        """The hash of the file that it is built from, to which an index is bound.

        Raises: `CheckpointError`: there is no such file.
        """
        if not pathlib.Path(pt_path).is_file():
            raise CheckpointError(f"{pt_path}: there is no such checkpoint; boiler train writes vqvae_NNN.pt")
        return files.sha256_of(pathlib.Path(pt_path))

    def saved_module(self) -> nn.Module:
        """The module to save as `encoder.pt`: this one, unless another library runs the encoder."""
        return self

    def attachments(self) -> dict[str, bytes]:
        """Files to store inside `encoder.pt`: name to content."""
        return {}

    @abstractmethod
    def forward(self, waveform: Tensor) -> Tensor:
        """Rows of unit length, one per window."""


class Fitted(Encoder):
    """An encoder that is fitted to the folder (its whitening, for example) when the folder is first indexed."""

    fit_windows: ClassVar[int] = 1000
    """The number of windows to fit it to, if there are as many."""

    @abstractmethod
    def fit(self, waveforms: Iterable[Tensor]) -> None:
        """Fit to batches of windows, each float `[B, 1, window_samples]`. Once, before `forward`."""


def find_encoder(name: str) -> type[Encoder]:
    """The class of an encoder, by its name in `ENCODERS` or `RENAMED`, or as `module:Class`.

    Raises: `UnknownNameError`: no such name, or what it names cannot be imported or is not an `Encoder`.
    """
    name = RENAMED.get(name, name)
    if name not in ENCODERS and ":" not in name:
        raise UnknownNameError("encoder", name, ENCODERS)
    try:
        found = _imported(ENCODERS.get(name, name))
    except (ImportError, AttributeError, ValueError) as error:
        raise UnknownNameError("encoder", name, ENCODERS) from error
    if not (isinstance(found, type) and issubclass(found, Encoder)):
        raise UnknownNameError("encoder", name, ENCODERS)
    return found


def canonical_name(name: str) -> str:
    """The name in this version of an encoder that may be given by its old name; that gives a warning.

    >>> canonical_name("MFCCStats")
    'MFCCStats'
    """
    if name in RENAMED:
        message = f"the encoder {name} is deprecated: use {RENAMED[name]}"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
    return RENAMED.get(name, name)


def short_name(name: str) -> str:
    """The name without its module, for folders.

    >>> short_name("MFCCStats"), short_name("my.encoders:Spectral")
    ('MFCCStats', 'Spectral')
    """
    return name.rpartition(":")[2]


def create(name: str, pt_path: Path | None = None, device: str = "cpu", **options: Any) -> Encoder:
    """The encoder with this name, in eval mode and without gradients.

    options: of this kind of encoder, by name, such as `tokens` of `ASTEncoder`

    Raises: `UnknownNameError`; `CheckpointError`: it needs a checkpoint and none is given, or one that does not fit.
        `SettingsError`: an option that it does not have, or a wrong value.
    """
    kind = find_encoder(name)
    if kind.needs_checkpoint and pt_path is None:
        raise CheckpointError(f"{name} needs {kind.checkpoint_hint}")
    known = [name for name, one in inspect.signature(kind).parameters.items() if one.kind is one.KEYWORD_ONLY]
    if unknown := sorted(options.keys() - set(known)):
        has = f"has {', '.join(known)}" if known else "has none"
        raise SettingsError(f"{name} has no option {', '.join(unknown)}: it {has}")
    encoder: Encoder = cast(Any, kind)(pt_path, device, **options)
    return encoder.eval().requires_grad_(False)


def learn_folder(windows: Iterable[Tensor], network: nn.Module, *, pace: Pace = UNHURRIED) -> dict[str, Tensor]:
    """Call all `FOLDER_FITTERS`. Returns their tensors, each as `fitter.name`.

    Arguments:
        windows: batches of windows, float `[B, 1, window_samples]`; can be iterated more than once.
        network: that is going to be trained.
        pace: that fitters keep.
    """
    learned: dict[str, Tensor] = {}
    for name, place in FOLDER_FITTERS.items():
        learned |= _prefixed(name, _imported(place)(network, windows, pace))
    return learned


def select_folder_fit(learned: dict[str, Tensor]) -> dict[str, Tensor]:
    """The part of `learned` of a checkpoint that `learn_folder` returned."""
    return {name: value for name, value in learned.items() if name.partition(".")[0] in FOLDER_FITTERS}


def learn(windows: Iterable[Tensor], network: nn.Module, folder_fit: dict[str, Tensor]) -> dict[str, Tensor]:
    """Call all `FITTERS`. Returns their tensors together with `folder_fit`: the `learned` of a checkpoint.

    windows: as in `learn_folder`
    network: in eval mode
    folder_fit: what `learn_folder` returned
    """
    learned = dict(folder_fit)
    with torch.no_grad():
        for name, place in FITTERS.items():
            learned |= _prefixed(name, _imported(place)(windows, learned, network))
    return learned


def _imported(place: str) -> Any:
    """The object that `module:name` names."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def _prefixed(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}.{short}": value.cpu().contiguous() for short, value in tensors.items()}


def __getattr__(name: str) -> Any:
    """`boiler.encoder.NAME` is the class of that name, imported when it is used."""
    if name in ENCODERS or name in RENAMED:
        return find_encoder(canonical_name(name))
    if name == "WINDOW_SAMPLES":
        message = "boiler.encoder.WINDOW_SAMPLES is deprecated: use the window_samples of an encoder"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return DEFAULT_WINDOWS.window_samples
    return _renamed(name)


_renamed = module_getattr(
    __name__,
    {
        "TABLE": "ENCODERS",
        "find": "find_encoder",
        "current_name": "canonical_name",
        "of_folder": "select_folder_fit",
    },
)
