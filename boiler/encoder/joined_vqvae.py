"""The most accurate encoder: what a training run learned and what was fitted to its folder, joined.

With the general trunk (`GeneralParts`) these are the general network's vector, the projection that the contrastive loss
trains, and `GeneralDescriptors`; with the plain trunk (`PlainParts`) `PooledVQVAE` and `JoinedDescriptors`. They make
different errors: networks are better on long sounds, where texture matters, descriptors on short ones, where the
contour over time does. The vectors are joined, projected onto their principal components, without whitening, and moved
towards those of the training sounds (`boiler.encoder.mean_shift`). Everything is fitted to the training sounds and
stored in the checkpoint.

Measured, three seeds, P@1 / P@10 / mAP: with the general trunk after 3 minutes on two cores with AVX2
(exp/records/general.md), ESC-10 .922 / .860 / .782, spoken digits of other speakers .897 / .903 / .740; with the plain
trunk and without the mean shift after 20 minutes on one core (exp/records/training.md) .916 / .859 / .770 and
.880 / .857 / .622, on clips and voices held out of training .887 / .728 / .730 and .738 / .731 / .591, where MFCC
statistics have .713 / .541 / .542 and .554 / .498 / .360.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from torch.nn import functional

from boiler.audio.windows import WindowSpec
from boiler.encoder import Encoder, general_descriptors, joined_descriptors, pooled, whitening
from boiler.encoder.clip_encoder import ClipEncoder
from boiler.encoder.conditioning import condition_clip
from boiler.encoder.general import GeneralEncoder
from boiler.encoder.joined_descriptors import DIM as DESCRIPTORS_DIM
from boiler.encoder.loop_length import loop_lengths
from boiler.encoder.mean_shift import MeanShift
from boiler.encoder.pooled import pooled_features
from boiler.encoder.vqvae_base import TrimmedVQVAEEncoder, VQVAEEncoder, load_network
from boiler.encoder.whitening import Whitening
from boiler.model.checkpoint import fitted_by
from boiler.model.device import map_in_threads
from boiler.model.shard import separate_batch_norms
from boiler.model.vqvae import VQVAE2, GeneralTrunk, coarse_map, mean_max_pool

Learned = Callable[[str], dict[str, Tensor]]
"""What a fitter has fitted, by its name."""

DIM = 256
NAME = "joined"
DESCRIPTOR_WEIGHT = 0.7
"""Weight of the descriptors relative to the network: 1 is better for digits, 0.5 for sounds with silence around
them."""
GENERAL_WEIGHT, PROJECTION_WEIGHT, GENERAL_DESCRIPTOR_WEIGHT = 1.0, 0.5, 1.0
"""With the general trunk, of its vector, of the trained projection and of the descriptors."""
MAX_REFERENCES = 4000
"""Training windows whose vectors the mean shift moves towards."""


class PlainParts(TrimmedVQVAEEncoder):
    """What is joined with the plain trunk: `PooledVQVAE` and `JoinedDescriptors`. Vectors of two unit lengths."""

    def __init__(self, network: VQVAE2, learned: Learned) -> None:
        super().__init__(network, pooled.DIM + DESCRIPTORS_DIM)
        fitted = learned(pooled.NAME)
        self.pool = pooled_features(network)
        self.whitening = Whitening(fitted["mean"], fitted["matrix"])
        self.descriptors = joined_descriptors.load(learned(joined_descriptors.NAME))

    def forward(self, waveform: Tensor) -> Tensor:
        return self.embed_clips(waveform, loop_lengths(waveform))

    def embed_clips(self, waveform: Tensor, lengths: list[int]) -> Tensor:
        """The parts, side by side, of windows [N, 1, T] whose `loop_lengths` are known."""
        features = self.whitening(torch.cat(self.pool(self.encode_trimmed(waveform, lengths)), dim=1))
        return torch.cat([features, self.descriptors.embed_clips(waveform, lengths)], dim=1)

    @staticmethod
    def weights() -> Tensor:
        return torch.cat([torch.ones(pooled.DIM), torch.full((DESCRIPTORS_DIM,), DESCRIPTOR_WEIGHT)])


class GeneralParts(ClipEncoder):
    """What is joined with the general trunk: its vector, the projection that the contrastive loss trains, and
    `GeneralDescriptors`. Vectors of three unit lengths."""

    sample_rate_hz = GeneralEncoder.sample_rate_hz
    window_samples = GeneralEncoder.window_samples

    def __init__(self, network: VQVAE2, learned: Learned) -> None:
        trunk = cast(GeneralTrunk, network.trunk)
        general = GeneralEncoder(network=trunk.as_network())
        self.projection_dim = network.settings.projection_dim
        super().__init__(general.dim + self.projection_dim + DESCRIPTORS_DIM)
        self.descriptors = general_descriptors.load(learned(general_descriptors.NAME), general)
        self.project = network.project
        self.rows, self.min_frames = trunk.rows, general.network.min_frames

    def embed_clips(self, waveform: Tensor, lengths: list[int]) -> Tensor:
        general = self.descriptors.general
        pooled: list[Tensor] = []
        projected: list[Tensor] = []
        for window, length in zip(waveform, lengths):  # noqa: B905  # TorchScript does not know strict
            mel = general.mel(condition_clip(window[0, :length], general.fade))[None]
            deep, steps = general.network.maps(mel)
            pooled.append(general.network.pool(mel, steps)[0])
            projected.append(self.projection_of(deep, steps)[0])
        activations = torch.stack(pooled)
        described = self.descriptors.embed_pooled(waveform, lengths, activations)
        return torch.cat([general.vectors_of(activations), torch.stack(projected), described], dim=1)

    def projection_of(self, deep: Tensor, steps: Tensor) -> Tensor:
        """The projection of the last maps over bands and frames, and over frames. Shape: [N, D'], unit length"""
        coarse = coarse_map(deep, steps, self.rows)
        return functional.normalize(self.project(mean_max_pool(coarse)), dim=1)

    def weights(self) -> Tensor:
        general = self.dim - self.projection_dim - DESCRIPTORS_DIM
        return torch.cat(
            [
                torch.full((general,), GENERAL_WEIGHT),
                torch.full((self.projection_dim,), PROJECTION_WEIGHT),
                torch.full((DESCRIPTORS_DIM,), GENERAL_DESCRIPTOR_WEIGHT),
            ]
        )


class JoinedVQVAE(Encoder):
    """The parts that fit the trunk, joined, D = 256; see the module."""

    needs_checkpoint: ClassVar[bool] = True

    def __init__(self, pt_path: str | os.PathLike[str] | None, device: str = "cpu") -> None:
        network, contents = load_network(pt_path)
        super().__init__(DIM)
        self.parts = parts_of(network, contents.learned, contents.learned_by)
        self.sample_rate_hz, self.window_samples = self.parts.sample_rate_hz, self.parts.window_samples
        joined = contents.learned_by(NAME)
        self.components = Whitening(joined["mean"], joined["matrix"])
        # Checkpoints of earlier versions have none.
        self.mean_shift = MeanShift(joined.get("references", torch.zeros(0, DIM)))
        self.to(device)

    @classmethod
    def window_spec(cls, pt_path: str | os.PathLike[str] | None = None, **options: Any) -> WindowSpec:
        return VQVAEEncoder.window_spec(pt_path)

    def forward(self, waveform: Tensor) -> Tensor:
        vectors: Tensor = self.mean_shift(self.embed_clips(waveform, loop_lengths(waveform)))
        return vectors

    def embed_clips(self, waveform: Tensor, lengths: list[int]) -> Tensor:
        """The vectors of windows [N, 1, T] whose `loop_lengths` are known, before the mean shift."""
        vectors: Tensor = self.components(self.parts.embed_clips(waveform, lengths))
        return vectors


def parts_of(network: VQVAE2, names: Iterable[str], learned: Learned) -> PlainParts | GeneralParts:
    """The parts of a network. names, learned: of what was fitted, and a function that gives it by fitter.

    A checkpoint of the general trunk at 16 kHz, of an earlier version, has the plain parts.
    """
    is_general = any(name.startswith(f"{general_descriptors.NAME}.") for name in names)
    return (GeneralParts if is_general else PlainParts)(network, learned).eval().requires_grad_(False)


def fit(windows: Iterable[Tensor], learned: dict[str, Tensor], network: VQVAE2) -> dict[str, Tensor]:
    """Fit the principal components of the joined vectors, and the mean shift; an entry of `boiler.encoder.FITTERS`."""
    network = copy.deepcopy(network).cpu().eval()
    separate_batch_norms(network)
    parts = parts_of(network, learned, partial(fitted_by, learned))
    weights = parts.weights()
    compiled = torch.jit.script(parts)

    def joined(window: Tensor) -> Tensor:
        with torch.no_grad():  # which counts for one thread
            vectors: Tensor = compiled(window[None]) * weights
            return vectors

    each = (window for batch in windows for window in batch.cpu())
    rows = torch.cat(list(map_in_threads(joined, each)))
    # All are whitened already, or need not be: doing it again would amplify noise.
    fitted = whitening.fit([rows], DIM, power=0.0)
    references = Whitening(fitted["mean"], fitted["matrix"])(rows[:MAX_REFERENCES])
    return {
        "mean": fitted["mean"] / weights,
        "matrix": fitted["matrix"] * weights[:, None],
        "references": references,
    }
