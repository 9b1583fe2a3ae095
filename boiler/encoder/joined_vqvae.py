"""The most accurate encoder: `PooledVQVAE` and `JoinedDescriptors` joined.

The two make different errors: the first is better on long sounds, where texture matters, the second on short ones,
where the contour over time does. Their vectors are joined and projected onto their principal components, without
whitening, and moved towards those of the training sounds (`boiler.encoder.mean_shift`). Everything is fitted to the
training sounds and stored in the checkpoint.

Measured with the plain trunk and without the mean shift, after 20 minutes of training on one core, three seeds,
P@1 / P@10 / mAP (exp/records/training.md): ESC-10
.916 / .859 / .770, spoken digits of other speakers .880 / .857 / .622. On clips and voices held out of training:
.887 / .728 / .730 and .738 / .731 / .591, where MFCC statistics have .713 / .541 / .542 and .554 / .498 / .360.
On one core it takes 10 ms per window.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
from torch import Tensor

from boiler.encoder import joined_descriptors, pooled, whitening
from boiler.encoder.loop_length import loop_lengths
from boiler.encoder.mean_shift import MeanShift
from boiler.encoder.pooled import pooled_features
from boiler.encoder.vqvae_base import TrimmedVQVAEEncoder, encode_trimmed, load_network
from boiler.encoder.whitening import Whitening
from boiler.model.vqvae import VQVAE2

DIM = 256
NAME = "joined"
DESCRIPTOR_WEIGHT = 0.7
"""Weight of the descriptors relative to the network: 1 is better for digits, 0.5 for sounds with silence around
them."""
MAX_REFERENCES = 1000
"""Training windows whose vectors the mean shift moves towards."""


class JoinedVQVAE(TrimmedVQVAEEncoder):
    """`PooledVQVAE` and `JoinedDescriptors` joined, D = 256."""

    def __init__(self, pt_path: str | os.PathLike[str] | None, device: str = "cpu") -> None:
        network, contents = load_network(pt_path)
        super().__init__(network, DIM)
        fitted, joined = contents.learned_by(pooled.NAME), contents.learned_by(NAME)
        self.pool = pooled_features(network)
        self.whitening = Whitening(fitted["mean"], fitted["matrix"])
        self.descriptors = joined_descriptors.load(contents.learned_by(joined_descriptors.NAME))
        self.components = Whitening(joined["mean"], joined["matrix"])
        # Checkpoints of earlier versions have none.
        self.mean_shift = MeanShift(joined.get("references", torch.zeros(0, DIM)))
        self.to(device)

    def forward(self, waveform: Tensor) -> Tensor:
        vectors: Tensor = self.mean_shift(self.embed_clips(waveform, loop_lengths(waveform)))
        return vectors

    def embed_clips(self, waveform: Tensor, lengths: list[int]) -> Tensor:
        """The vectors of windows [N, 1, T] whose `loop_lengths` are known, before the mean shift."""
        features = self.whitening(torch.cat(self.pool(self.encode_trimmed(waveform, lengths)), dim=1))
        joined = torch.cat([features, self.descriptors.embed_clips(waveform, lengths)], dim=1)
        vectors: Tensor = self.components(joined)
        return vectors


def fit(windows: Iterable[Tensor], learned: dict[str, Tensor], network: VQVAE2) -> dict[str, Tensor]:
    """Fit the principal components of the joined vectors, and the mean shift; an entry of `boiler.encoder.FITTERS`."""
    pool = pooled_features(network)
    whiten = Whitening(learned[f"{pooled.NAME}.mean"], learned[f"{pooled.NAME}.matrix"])
    prefix = f"{joined_descriptors.NAME}."
    descriptors = joined_descriptors.load(
        {key.removeprefix(prefix): learned[key] for key in learned if key.startswith(prefix)}
    )
    weights = torch.cat([torch.ones(pooled.DIM), torch.full((descriptors.dim,), DESCRIPTOR_WEIGHT)])

    def joined(batch: Tensor) -> Tensor:
        features = whiten(torch.cat([feature.cpu() for feature in pool(encode_trimmed(network, batch))], dim=1))
        return torch.cat([features, descriptors(batch.cpu())], dim=1) * weights

    rows = [joined(batch) for batch in windows]
    # Both are whitened already: doing it again would amplify noise.
    fitted = whitening.fit(rows, DIM, power=0.0)
    references = Whitening(fitted["mean"], fitted["matrix"])(torch.cat(rows)[:MAX_REFERENCES])
    return {
        "mean": fitted["mean"] / weights,
        "matrix": fitted["matrix"] * weights[:, None],
        "references": references,
    }
