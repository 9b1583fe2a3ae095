"""The state of a run, which changes with every step, and the checkpoint that a run starts from."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from boiler.encoder import general
from boiler.errors import CheckpointError, SettingsError
from boiler.model import checkpoint
from boiler.model.checkpoint import Checkpoint
from boiler.model.vqvae import VQVAE2, GeneralTrunk
from boiler.training.settings import TrainSettings


@dataclass
class TrainState:
    """Everything that changes during a run. With the settings, this is all that is needed to resume it."""

    network: VQVAE2
    optimizer: torch.optim.Optimizer
    step: int = 0
    """Number of optimizer steps done."""
    folder_fit: dict[str, Tensor] = field(default_factory=dict)
    """What was fitted to the folder alone, without the network."""


def new_network(settings: TrainSettings) -> VQVAE2:
    """The network of a run that starts from no checkpoint; its random weights from torch's generator."""
    network = VQVAE2(settings.new_network(), settings.new_mel())
    if isinstance(network.trunk, GeneralTrunk):
        network.trunk = GeneralTrunk(general.load_network())
    return network


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
    if start.trunk == "plain" and start.mel["n_mels"] != settings.n_mel_channels:
        raise SettingsError(
            f"--n_mel_channels is {settings.n_mel_channels}, but {settings.load_path} was trained with "
            f"{start.mel['n_mels']}: leave the flag out, or start without --load_path"
        )
    return start
