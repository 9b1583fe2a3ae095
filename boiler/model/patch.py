"""A small transformer over patches of a log-mel spectrogram, for sounds of any kind and length.

The front end is that of the general network (`boiler.model.general`). The spectrogram is cut into patches of 16 bands
and 16 frames, each projected to a token; positions are learned, a row for each band of patches and a column for each
step of time, which are interpolated for sounds longer than those of the training. The vector is made from the class
token and the mean of the others. Patches in which nothing sounds are not attended to.

Source: Gong, Chung and Glass, "AST: Audio Spectrogram Transformer", 2021. Trained by `exp.general.train --network
patch`; used by `boiler.encoder.patch`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

PATCH = 16
"""Bands and frames of a patch: at 80 frames a second a fifth of a second."""
AUDIBLE = 0.3
"""A patch sounds when one of its values exceeds this, of 2."""


@dataclass(frozen=True)
class PatchSettings:
    """The shape of the network; saved beside the weights."""

    n_mels: int = 64
    width: int = 192
    depth: int = 4
    heads: int = 3
    mlp: int = 2
    """The width inside a block, in units of `width`."""
    columns: int = 12
    """Steps of time that have a learned position: 2.4 s."""
    dim: int = 256


class PatchBlock(nn.Module):
    """Self-attention and two dense layers, normalised first. Shape: [B, P, width] and bool [B, P] to [B, P, width]."""

    def __init__(self, width: int, heads: int, mlp: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dense = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, mlp * width), nn.GELU(), nn.Linear(mlp * width, width)
        )

    def forward(self, tokens: Tensor, audible: Tensor) -> Tensor:
        b, n, width = tokens.shape
        qkv = self.qkv(self.norm(tokens)).reshape(b, n, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2], attn_mask=audible[:, None, None])
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(b, n, width))
        done: Tensor = tokens + self.dense(tokens)
        return done


class PatchNetwork(nn.Module):
    """Scaled log-mel (`boiler.model.general.scaled`) to one vector, not of unit length.

    Shape: float [B, M, F] to [B, dim]. A last patch that is not full is followed by silence.
    """

    def __init__(self, settings: PatchSettings) -> None:
        super().__init__()
        self.rows = settings.n_mels // PATCH
        self.patch, self.audible, self.columns = PATCH, AUDIBLE, settings.columns
        self.project = nn.Linear(PATCH * PATCH, settings.width)
        self.class_token = nn.Parameter(torch.randn(settings.width) * 0.02)
        self.row_position = nn.Parameter(torch.randn(self.rows, settings.width) * 0.02)
        self.column_position = nn.Parameter(torch.randn(settings.columns, settings.width) * 0.02)
        self.blocks = nn.ModuleList(
            PatchBlock(settings.width, settings.heads, settings.mlp) for _ in range(settings.depth)
        )
        self.norm = nn.LayerNorm(settings.width)
        self.out = nn.Linear(2 * settings.width, settings.dim)

    def forward(self, mel: Tensor) -> Tensor:
        frames = torch.full((mel.shape[0],), mel.shape[2], dtype=torch.int64, device=mel.device)
        return self.of_clips(mel, frames)

    def of_clips(self, mel: Tensor, frames: Tensor) -> Tensor:
        """As `forward`, of sounds with so many frames each, zeros behind them. Shape: int64 [B]."""
        mel = functional.pad(mel, (0, (self.patch - mel.shape[2] % self.patch) % self.patch))
        n_columns = mel.shape[2] // self.patch
        # [B, rows * columns, 256], row by row.
        patches = functional.unfold(mel[:, None], self.patch, stride=self.patch).transpose(1, 2)
        positions = self.positions(torch.div(frames + self.patch - 1, self.patch, rounding_mode="floor"), n_columns)
        tokens = self.project(patches) + positions
        audible = patches.amax(dim=2) > self.audible
        # All silent: every patch of the sound counts.
        column = torch.arange(n_columns, device=mel.device).repeat(self.rows)
        inside = column[None] * self.patch < frames[:, None]
        audible = audible | (inside & ~audible.any(dim=1, keepdim=True))
        token = self.class_token.expand(mel.shape[0], 1, -1)
        tokens = torch.cat([token, tokens], dim=1)
        attended = torch.cat([torch.ones_like(audible[:, :1]), audible], dim=1)
        for block in self.blocks:
            tokens = block(tokens, attended)
        tokens = self.norm(tokens)
        weight = audible.to(tokens.dtype)[:, :, None]
        mean = (tokens[:, 1:] * weight).sum(dim=1) / weight.sum(dim=1)
        vectors: Tensor = self.out(torch.cat([tokens[:, 0], mean], dim=1))
        return vectors

    def positions(self, counts: Tensor, n_columns: int) -> Tensor:
        """Of the patches of sounds with so many columns. Shape: int64 [B] to [B, rows * n_columns, width]."""
        places = torch.arange(n_columns, device=counts.device)[None].float()
        stretch = (self.columns - 1) / (counts[:, None].float() - 1).clamp(min=self.columns - 1)
        source = (places * stretch).clamp(max=self.columns - 1)
        low = source.floor().long()
        high = (low + 1).clamp(max=self.columns - 1)
        share = (source - low)[:, :, None]
        of_columns = self.column_position[low] * (1 - share) + self.column_position[high] * share
        both = self.row_position[None, :, None] + of_columns[:, None]
        return both.flatten(1, 2)
