"""The training loss: reconstruction, commitment to the codes, and contrast between sounds.

The reconstruction loss (mean squared error of the scaled log-mel) makes the codes describe the spectrogram; the
contrastive loss (NT-Xent: Chen et al., *SimCLR*, 2020, equation 1) pulls two augmented views of one sound together and
pushes different sounds apart, both in the projected features and in the bag of top codes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from boiler.model.shard import Shard
from boiler.model.vqvae import SOFT_TEMPERATURE, VQVAE2, VQVAEOutputs

RECONSTRUCTION_WEIGHT = 4.0
BAG_WEIGHT = 0.5
CONTRAST_TEMPERATURE = 0.15
"""The lower, the more weight the most similar of the other sounds has."""


class Losses(NamedTuple):
    """Scalars; `total` is the weighted sum of the others."""

    total: Tensor
    reconstruction: Tensor
    commitment_top: Tensor
    commitment_bottom: Tensor
    contrast: Tensor
    contrast_bag: Tensor


def compute_losses(
    network: VQVAE2, outputs: VQVAEOutputs, scaled: Tensor, latent_loss_weight: float, contrast_weight: float
) -> Losses:
    """The losses of one pass over `scaled` `[2 B, 1, M, F]`, in which rows i and B + i are views of one sound.

    In training on several processes `scaled` is the share of this one, and so are the losses; their mean over all
    processes, weighted by the number of rows, is the loss of the whole batch.
    """
    shard = network.shard if network.training else Shard()
    n_decoded, _, _, n_frames = outputs.reconstruction.shape
    reconstruction = functional.mse_loss(outputs.reconstruction.float(), scaled[:n_decoded, :, :, :n_frames])
    contrast = nt_xent(outputs.projection.float(), shard)
    bags = bag_of_codes(network.top.soft_assignment(outputs.top_features, SOFT_TEMPERATURE))
    contrast_bag = nt_xent(bags, shard)
    total = (
        RECONSTRUCTION_WEIGHT * reconstruction
        + latent_loss_weight * (outputs.top.commitment + outputs.bottom.commitment)
        + contrast_weight * (contrast + BAG_WEIGHT * contrast_bag)
    )
    return Losses(total, reconstruction, outputs.top.commitment, outputs.bottom.commitment, contrast, contrast_bag)


def bag_of_codes(assignment: Tensor) -> Tensor:
    """Soft assignments, float `[B, H, W, K]`, to `[B, K]`: the square root of each code's share of all cells.

    Shares sum to 1, so the bag has unit length; the root keeps a few frequent codes from dominating the cosine.
    """
    return assignment.mean(dim=(1, 2)).clamp(min=1e-8).sqrt()


def nt_xent(views: Tensor, shard: Shard | None = None) -> Tensor:
    """NT-Xent over rows of unit length `[2 B, D]`: the cross-entropy of finding, for each row, the other view of its
    sound among all other rows, those of other processes included."""
    shard = shard or Shard()
    everything = shard.gather(views)
    own = shard.take(torch.arange(len(everything), device=views.device))
    partner = (own + len(everything) // 2) % len(everything)
    cosines = views @ everything.T / CONTRAST_TEMPERATURE
    cosines = cosines - 1e9 * functional.one_hot(own, len(everything))
    return functional.cross_entropy(cosines, partner)
