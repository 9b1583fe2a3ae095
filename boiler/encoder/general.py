"""The general encoder: one small network for sounds of any kind, trained once on much varied sound.

It hears up to 16 kHz, takes clips of any length, and does not mind their level, a DC offset or silence around them. Its
weights come with boiler (docs/model-card.md); others can be given. The network (`boiler.model.general`) is trained by
`exp.general.train`.

Good for: a first index of a folder of mixed sounds; joined with the folder's descriptors (`JoinedGeneral`) where there
is a minute for it.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.functional import normalize

from boiler import files
from boiler.encoder.clip_encoder import ClipEncoder
from boiler.encoder.conditioning import condition_clip, fade_samples
from boiler.encoder.joined_pretrained import JoinedPretrained
from boiler.encoder.joined_vqvae import JoinedVQVAE
from boiler.errors import CheckpointError, first_line
from boiler.model.fusion import fuse_batch_norms
from boiler.model.general import GeneralMel, GeneralNetwork, GeneralSettings

WINDOW_SAMPLES = 2**18
"""8.192 s."""
WEIGHTS = Path(__file__).parent / "weights" / "general.safetensors"
"""The weights that come with boiler."""
FIT_S, FIT_WINDOWS = 1000, 1000
"""Seconds of sound, and windows, that `JoinedGeneral` is fitted to at most: with more the descriptors get better, but
the first answer comes later (exp/records/general.md)."""
EQUAL_AT = 200
"""Windows of 5 s that `FIT_S` holds: of shorter sounds the descriptors are fitted to more, and weigh more."""
HEAD_STEPS = 150
"""Of the descriptors' head: with few windows more steps bring nothing."""
MEAN_WINDOWS = 400
"""Windows that `GeneralVQVAE` takes the mean of the general encoder's vectors from."""


class SpectrogramEncoder(ClipEncoder):
    """An encoder whose network takes the scaled log-mel spectrogram of a clip."""

    def __init__(self, dim: int, settings: GeneralSettings, network: nn.Module) -> None:
        """network: [1, M, F] to [1, D], F of any length"""
        super().__init__(dim)
        self.mel = GeneralMel(settings)
        self.fade = fade_samples(settings.sample_rate_hz)
        self.network = network

    def embed_clips(self, waveform: Tensor, lengths: list[int]) -> Tensor:
        vectors: list[Tensor] = []
        for window, length in zip(waveform, lengths):  # noqa: B905  # TorchScript does not know strict
            vectors.append(self.network(self.mel(condition_clip(window[0, :length], self.fade))[None])[0])
        return normalize(torch.stack(vectors), dim=1)


class GeneralEncoder(SpectrogramEncoder):
    """The general encoder; see the module. D = 256."""

    own_weights = WEIGHTS
    sample_rate_hz = GeneralSettings.sample_rate_hz
    window_samples = WINDOW_SAMPLES

    def __init__(self, pt_path: str | os.PathLike[str] | None = None, device: str = "cpu") -> None:
        """pt_path: other weights, as `exp.general.train --export` writes them."""
        network = load_network(pt_path)
        super().__init__(network.settings.dim, network.settings, network)
        self.eval().to(device)


class JoinedGeneral(JoinedPretrained):
    """`GeneralEncoder` joined with the folder's descriptors: the default. D = 448."""

    own_weights = WEIGHTS
    fit_windows = FIT_WINDOWS
    fit_s = FIT_S
    equal_at = EQUAL_AT
    whitening_power = 0.0
    head_steps = HEAD_STEPS
    sample_rate_hz = GeneralSettings.sample_rate_hz
    window_samples = WINDOW_SAMPLES

    def __init__(self, pt_path: str | os.PathLike[str] | None = None, device: str = "cpu") -> None:
        """pt_path: as of `GeneralEncoder`."""
        super().__init__(GeneralEncoder(pt_path, device), device=device)


class GeneralVQVAE(JoinedPretrained):
    """`GeneralEncoder` joined with the `JoinedVQVAE` of a checkpoint, which was trained on the folder. D = 512."""

    needs_checkpoint = True
    fit_windows = MEAN_WINDOWS
    whitening_power = 0.0
    sample_rate_hz = GeneralSettings.sample_rate_hz
    window_samples = WINDOW_SAMPLES

    def __init__(self, pt_path: str | os.PathLike[str] | None, device: str = "cpu") -> None:
        super().__init__(GeneralEncoder(device=device), JoinedVQVAE(pt_path, device), device)

    @classmethod
    def sha256_of(cls, pt_path: str | os.PathLike[str]) -> str:
        both = super().sha256_of(pt_path) + files.sha256_of(WEIGHTS)
        return hashlib.sha256(both.encode()).hexdigest()


def load_network(pt_path: str | os.PathLike[str] | None = None) -> GeneralNetwork:
    """The network with its weights, its batch norms folded. pt_path: as of `GeneralEncoder`. Raises: CheckpointError"""
    settings, weights = _read(Path(pt_path or WEIGHTS))
    network = GeneralNetwork(settings)
    # strict=False: how many batches a normalisation was trained with is not kept.
    missing = network.load_state_dict(weights, strict=False)
    if missing.unexpected_keys or [name for name in missing.missing_keys if not name.endswith("batches_tracked")]:
        raise CheckpointError(f"{pt_path}: these are not the weights of a general encoder")
    return fuse_batch_norms(network.eval())


def _read(path: Path) -> tuple[GeneralSettings, dict[str, Tensor]]:
    """The settings, kept as metadata, and the tensors.

    Raises: CheckpointError: there is no such file, or it holds something else.
    """
    try:
        with safe_open(path, "pt") as file:
            found: dict[str, Any] = json.loads((file.metadata() or {})["settings"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
        names = {field.name for field in fields(GeneralSettings)}
        if found.keys() != names or found["sample_rate_hz"] != GeneralSettings.sample_rate_hz:
            raise ValueError("its settings are of another version")
        return GeneralSettings(**{**found, "channels": tuple(found["channels"])}), weights
    except Exception as error:  # of several kinds, by what is wrong with the file
        raise CheckpointError(
            f"{path}: cannot be read as the weights of a general encoder ({first_line(error)})"
        ) from error
