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
import math
import os
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn.functional import normalize

from boiler import files
from boiler.encoder import mean_shift
from boiler.encoder.clip_encoder import ClipEncoder
from boiler.encoder.conditioning import condition_clip, fade_samples
from boiler.encoder.contrastive_head import (
    INPUT_DIM,
    PROJECTION_DIM,
    JoiningHead,
    ProjectionHead,
    fit_head,
    random_view,
)
from boiler.encoder.joined_pretrained import WINDOWS_PER_STEP, JoinedPretrained, scales
from boiler.encoder.joined_vqvae import JoinedVQVAE
from boiler.errors import CheckpointError, first_line
from boiler.model.device import single_threaded
from boiler.model.fusion import fuse_batch_norms
from boiler.model.general import GeneralMel, GeneralNetwork, GeneralSettings, scaled

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
"""Of both heads, with few windows: more steps bring nothing."""
HEAD_WEIGHT = 0.6
"""Of the head's vector beside the general one (exp/records/general.md)."""
N_VIEWS = 2
"""Of each window that the head is fitted to; with 4 or 12 it is no better."""
LOUDEST = 2.3
"""log10 of the magnitude of the loudest band in spectrograms that views are made of: a full-scale sine has 2.4."""
SEED = 0
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
        self.network: GeneralNetwork = network
        self.eval().to(device)

    def pooled_clips(self, waveform: Tensor, lengths: list[int]) -> Tensor:
        """What the network pools over time, for windows [N, 1, T] whose `loop_lengths` are known. Shape: [N, F]"""
        pooled: list[Tensor] = []
        for window, length in zip(waveform, lengths):  # noqa: B905  # TorchScript does not know strict
            mel = self.mel(condition_clip(window[0, :length], self.fade))
            pooled.append(self.network.pooled(mel[None])[0])
        return torch.stack(pooled)

    def vectors_of(self, pooled: Tensor) -> Tensor:
        """The vectors of what the network pooled. Shape: [N, F] to [N, D]"""
        return normalize(self.network.out(pooled), dim=1)


class JoinedWithGeneral(JoinedPretrained):
    """Base of the encoders that join `GeneralEncoder` with what the folder teaches.

    Between both stands a contrastive head (`boiler.encoder.contrastive_head`) that is fitted to the folder: it takes
    what the general network pools over time, of windows and of altered views of their spectrograms.
    """

    whitening_power = 0.0
    sample_rate_hz = GeneralSettings.sample_rate_hz
    window_samples = WINDOW_SAMPLES

    def __init__(self, general: GeneralEncoder, of_folder: JoinedVQVAE | None = None, device: str = "cpu") -> None:
        super().__init__(general, of_folder, device)
        pooled_dim = general.network.out.in_features
        generator = torch.Generator().manual_seed(SEED)
        matrix = torch.randn(pooled_dim, INPUT_DIM, generator=generator) / math.sqrt(pooled_dim)
        projection = ProjectionHead.random(INPUT_DIM, generator).requires_grad_(False)
        self.head = JoiningHead(torch.zeros(pooled_dim), matrix, projection, linear_dim=0)
        self.dim += PROJECTION_DIM
        self.head_scale = 0.0
        self.set_scales(1.0)
        self.mean_shift = mean_shift.identity(self.dim)
        self.to(device)

    def features(self, waveform: Tensor, lengths: list[int]) -> Tensor:
        """What the general network pools over time."""
        pooled: Tensor = self.pretrained.pooled_clips(waveform, lengths)  # type: ignore[operator]
        return pooled

    def join(self, features: Tensor, of_folder: Tensor) -> Tensor:
        known = self.whitening(self.pretrained.vectors_of(features))  # type: ignore[operator]
        projected = self.head(features)
        return torch.cat([known * self.known_scale, of_folder * self.folder_scale, projected * self.head_scale], dim=1)

    def features_to_fit(self, window: Tensor, length: int, number: int) -> Tensor:
        general = self.general()
        generator = torch.Generator().manual_seed(SEED + number)
        device = self.whitening.mean.device
        power = general.mel.power(condition_clip(window[0, :length].to(device), general.fade)).cpu()
        # What `random_view` takes: log10 of the magnitude.
        loudness = (power / power.amax().clamp(min=1e-20)).clamp(min=1e-20).log10() / 2 + LOUDEST
        views = [power, *(10 ** (2 * random_view(loudness.T, generator).T) for _ in range(N_VIEWS))]
        pool, decades = general.network.pooled, general.mel.decades
        return torch.cat([pool(scaled(view[None].to(device), decades)) for view in views])

    def fit_known(self, features: Tensor) -> None:
        self.fit_whitening(self.general().vectors_of(features[:, 0].to(self.whitening.mean.device)).cpu())
        steps = max(HEAD_STEPS, len(features) // WINDOWS_PER_STEP)
        with torch.inference_mode(False), single_threaded():
            generator = torch.Generator().manual_seed(SEED)
            self.head = fit_head([features], INPUT_DIM, generator, steps=steps, linear_dim=0)

    def general(self) -> GeneralEncoder:
        return cast(GeneralEncoder, self.pretrained)

    def set_scales(self, ratio: float) -> None:
        self.known_scale, self.folder_scale, self.head_scale = scales(1.0, ratio, HEAD_WEIGHT)


class JoinedGeneral(JoinedWithGeneral):
    """`GeneralEncoder` joined with the folder's descriptors: the default. D = 576."""

    own_weights = WEIGHTS
    fit_windows = FIT_WINDOWS
    fit_s = FIT_S
    equal_at = EQUAL_AT
    head_steps = HEAD_STEPS

    def __init__(self, pt_path: str | os.PathLike[str] | None = None, device: str = "cpu") -> None:
        """pt_path: as of `GeneralEncoder`."""
        super().__init__(GeneralEncoder(pt_path, device), device=device)


class GeneralVQVAE(JoinedWithGeneral):
    """`GeneralEncoder` joined with the `JoinedVQVAE` of a checkpoint, which was trained on the folder. D = 640."""

    needs_checkpoint = True
    fit_windows = MEAN_WINDOWS

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
    fused = fuse_batch_norms(network.eval())
    fused.stem.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth less time
    return fused


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
