"""What training makes small: the drawing, the distance to the words, and the confusion of sounds with one another.

The drawing (mean squared error) gives the words something to describe; the contrast (NT-Xent, Chen 2020) makes two
altered parts of one sound more alike than parts of different ones, in the pooled features and in the bag of top words.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from boiler.model.vqvae import SOFT_TEMPERATURE, VQVAE2, VQVAEOutputs

DRAWING_WEIGHT = 4.0
BAG_WEIGHT = 0.5
TEMPERATURE = 0.15
"""Of the contrast: the smaller, the more the nearest wrong sound counts."""


class Losses(NamedTuple):
    """Each a scalar; `total` is their weighted sum."""

    total: Tensor
    drawing: Tensor
    commitment_top: Tensor
    commitment_bottom: Tensor
    contrast: Tensor
    contrast_bag: Tensor


def losses(
    network: VQVAE2, outputs: VQVAEOutputs, scaled: Tensor, latent_loss_weight: float, contrast_weight: float
) -> Losses:
    """Of one pass over `scaled` `[2 B, 1, M, F]`, in which rows i and B + i are of one sound."""
    n_drawn = len(outputs.reconstruction)
    drawing = functional.mse_loss(outputs.reconstruction.float(), scaled[:n_drawn])
    contrast = confusion(outputs.projection.float())
    contrast_bag = confusion(bag(network.top.soft_assignment(outputs.top_features, SOFT_TEMPERATURE)))
    total = (
        DRAWING_WEIGHT * drawing
        + latent_loss_weight * (outputs.top.commitment + outputs.bottom.commitment)
        + contrast_weight * (contrast + BAG_WEIGHT * contrast_bag)
    )
    return Losses(total, drawing, outputs.top.commitment, outputs.bottom.commitment, contrast, contrast_bag)


def bag(shares: Tensor) -> Tensor:
    """Float `[B, H, W, K]`, each cell shared out among the words, to `[B, K]`: the square root of each word's share of
    all cells, which is of unit length. (The root keeps a few frequent words from outshouting the rest.)"""
    return shares.mean(dim=(1, 2)).clamp(min=1e-8).sqrt()


def confusion(views: Tensor) -> Tensor:
    """NT-Xent over `[2 B, D]` unit rows: how hard it is to tell the other view of each row's sound from all others."""
    cosines = views @ views.T / TEMPERATURE
    cosines = cosines - 1e9 * torch.eye(len(views), device=views.device)
    n = len(views) // 2
    partner = torch.arange(len(views), device=views.device).roll(n)
    return functional.cross_entropy(cosines, partner)
