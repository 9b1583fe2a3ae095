"""What changes in the course of a run, and the checkpoint that a run starts from."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from boiler.errors import CheckpointError, SettingsError
from boiler.model import checkpoint
from boiler.model.checkpoint import Checkpoint
from boiler.model.vqvae import VQVAE2
from boiler.training.settings import TrainSettings


@dataclass
class TrainState:
    """All that changes in the course of a run. With the settings, it is all that a run resumes from."""

    network: VQVAE2
    optimizer: torch.optim.Optimizer
    step: int = 0
    """Optimizer steps done."""
    folder_fit: dict[str, Tensor] = field(default_factory=dict)
    """What was fitted to the folder alone, without the network."""


def load_start(settings: TrainSettings) -> Checkpoint | None:
    """The checkpoint that the run starts from, None for a new network.

    Raises: `CheckpointError`: it cannot be read, or `save_path` holds another run already. `SettingsError`: it was
    trained with another `n_mel_channels`.
    """
    if settings.load_path is None:
        existing = sorted(settings.save_path.glob("vqvae_*.pt"))
        if existing:
            raise CheckpointError(
                f"{settings.save_path} holds a run already: resume it with --load_path {existing[-1]}, or give another "
                "--save_path"
            )
        return None
    start = checkpoint.load(settings.load_path)
    if start.mel["n_mels"] != settings.n_mel_channels:
        raise SettingsError(
            f"--n_mel_channels is {settings.n_mel_channels}, but {settings.load_path} was trained with "
            f"{start.mel['n_mels']}: leave the flag out, or start without --load_path"
        )
    return start
