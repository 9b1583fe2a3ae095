"""The general encoder joined with what the folder teaches: the default of `boiler index`.

`GeneralEncoder` knows sounds that the folder does not hold; what is fitted to the folder, in seconds, knows which
differences matter in it. `JoinedGeneral` needs no training, `GeneralVQVAE` takes a training checkpoint.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from boiler import files
from boiler.encoder import mean_shift
from boiler.encoder.contrastive_head import INPUT_DIM, PROJECTION_DIM, WINDOWS_PER_STEP, fit_head, random_head
from boiler.encoder.general import WEIGHTS, WINDOW_SAMPLES, GeneralEncoder, PooledViews
from boiler.encoder.joined_pretrained import JoinedPretrained, scales
from boiler.encoder.joined_vqvae import JoinedVQVAE
from boiler.model.general import GeneralSettings

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
MEAN_WINDOWS = 400
"""Windows that `GeneralVQVAE` takes the mean of the general encoder's vectors from."""
SEED = 0


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
        self.head = random_head(pooled_dim, torch.Generator().manual_seed(SEED), linear_dim=0)
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

    def features_to_fit(self) -> Callable[[Tensor, int, int], Tensor]:
        pooled_views = PooledViews(self.general())
        return lambda window, length, number: pooled_views(window, length, N_VIEWS, SEED + number)

    def fit_known(self, features: Tensor) -> None:
        self.fit_whitening(self.general().vectors_of(features[:, 0].to(self.whitening.mean.device)).cpu())
        steps = max(HEAD_STEPS, len(features) // WINDOWS_PER_STEP)
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
