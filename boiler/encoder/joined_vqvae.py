"""The best there is: what the network sees, joined with the six parts that need no network.

`PooledVQVAE` and `JoinedParts` make different mistakes: the one is better at long sounds whose texture counts, the
other at short ones whose course in time does. Their vectors, side by side, are turned to their principal components,
nothing scaled; all of it is learned from the folder while training and kept in the checkpoint.

Measured after 20 minutes of training on one core, three seeds, P@1 / P@10 / mAP (exp/records/training.md): ESC-10
.916 / .859 / .770, spoken digits of other speakers .880 / .857 / .622. On clips and voices that it has not learned
from: .887 / .728 / .730 and .738 / .731 / .591, where MFCC statistics have .713 / .541 / .542 and .554 / .498 / .360.
10 ms of one core a window.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
from torch import Tensor

from boiler.encoder import joined_descriptors, pooled, whitening
from boiler.encoder.loop_length import periods
from boiler.encoder.pooled import Parts
from boiler.encoder.vqvae_base import SeeingSounding, opened, see_sounding
from boiler.encoder.whitening import Whitening
from boiler.model.vqvae import VQVAE2

DIM = 256
NAME = "joined"
WEIGHT = 0.7
"""Of the vector of the parts, beside that of the network: 1 is better for digits, .5 for sounds behind silence."""


class JoinedVQVAE(SeeingSounding):
    """`PooledVQVAE` and `JoinedParts` in one, D = 256."""

    def __init__(self, pt_path: str | os.PathLike[str] | None, device: str = "cpu") -> None:
        network, contents = opened(pt_path)
        super().__init__(network, DIM)
        by_network, last = contents.learned_by(pooled.NAME), contents.learned_by(NAME)
        self.pool = Parts(network)
        self.whitening = Whitening(by_network["mean"], by_network["matrix"])
        self.parts = joined_descriptors.rebuilt(contents.learned_by(joined_descriptors.NAME))
        self.turn = Whitening(last["mean"], last["matrix"])
        self.to(device)

    def forward(self, waveform: Tensor) -> Tensor:
        lengths = periods(waveform)  # for both: it takes a tenth of the time
        seen = self.whitening(torch.cat(self.pool(self.see_clips(waveform, lengths)), dim=1))
        vectors: Tensor = self.turn(torch.cat([seen, self.parts.of_clips(waveform, lengths)], dim=1))
        return vectors


def fit(windows: Iterable[Tensor], learned: dict[str, Tensor], network: VQVAE2) -> dict[str, Tensor]:
    """The principal components of both vectors side by side, for the table of fitters."""
    pool = Parts(network)
    whiten = Whitening(learned[f"{pooled.NAME}.mean"], learned[f"{pooled.NAME}.matrix"])
    prefix = f"{joined_descriptors.NAME}."
    parts = joined_descriptors.rebuilt(
        {key.removeprefix(prefix): learned[key] for key in learned if key.startswith(prefix)}
    )
    weights = torch.cat([torch.ones(pooled.DIM), torch.full((parts.dim,), WEIGHT)])

    def both(batch: Tensor) -> Tensor:
        seen = whiten(torch.cat([part.cpu() for part in pool(see_sounding(network, batch))], dim=1))
        return torch.cat([seen, parts(batch.cpu())], dim=1) * weights

    # Both are whitened already: doing so again would blow up what they agree is noise.
    found = whitening.fit((both(batch) for batch in windows), DIM, power=0.0)
    return {"mean": found["mean"] / weights, "matrix": found["matrix"] * weights[:, None]}
