"""Both networks of L3 and what joins them, and the checkpoints of their training (`boiler.train_l3`).

The vectors of a second of sound and of a picture are projected to one space, where their cosine says whether they
belong together. The published OpenL3 classifies the pair with two dense layers instead; with the cosine a picture can
also be searched for by a sound.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import boiler
from boiler import files
from boiler.errors import CheckpointError, first_line
from boiler.model.l3 import AudioNetwork, ImageNetwork

FORMAT = "boiler L3 checkpoint"
FORMAT_VERSION = 1
SMALL_SIZE = 512
"""The length of OpenL3's short vectors, for which the last map is pooled to one cell. With fewer channels they are
shorter in proportion."""
FIRST_SCALE = 10.0
"""Of the cosines, before it is learned."""
FIRST_BIAS = -5.0


@dataclass(frozen=True)
class JointSettings:
    """The shape of both networks. The defaults are small enough for two cores; `channels` (64, 128, 256, 512) without
    shrinking are those of OpenL3."""

    input_repr: str = "mel128"
    channels: tuple[int, ...] = (16, 32, 64, 128)
    audio_shrink: int = 2
    image_shrink: int = 4
    joint_dim: int = 128


class JointNetwork(nn.Module):
    """Seconds of sound and pictures in one space.

    Shape: sounds float [N, 1, 48000] and pictures [N, 224, 224, 3], values from -1 to 1, to two [N, `joint_dim`] of
    unit length.
    """

    def __init__(self, settings: JointSettings) -> None:
        super().__init__()
        self.settings = settings
        self.audio = AudioNetwork(
            settings.input_repr, SMALL_SIZE, channels=settings.channels, shrink=settings.audio_shrink
        )
        self.image = ImageNetwork(SMALL_SIZE, channels=settings.channels, shrink=settings.image_shrink)
        self.project_audio = _projection(self.audio.embedding_size, settings.joint_dim)
        self.project_image = _projection(self.image.embedding_size, settings.joint_dim)
        self.scale = nn.Parameter(torch.tensor(FIRST_SCALE).log())
        self.bias = nn.Parameter(torch.tensor(FIRST_BIAS))

    def of_audio(self, sounds: Tensor) -> Tensor:
        return functional.normalize(self.project_audio(self.audio(sounds)), dim=1)

    def of_image(self, pictures: Tensor) -> Tensor:
        return functional.normalize(self.project_image(self.image(pictures)), dim=1)

    def of_shrunk_image(self, pictures: Tensor) -> Tensor:
        """As `of_image`, for pictures [N, 3, S, S] that are shrunk already."""
        return functional.normalize(self.project_image(self.image.of_shrunk(pictures)), dim=1)

    def forward(self, sounds: Tensor, pictures: Tensor) -> tuple[Tensor, Tensor]:
        return self.of_audio(sounds), self.of_image(pictures)

    def logits(self, audio: Tensor, image: Tensor) -> Tensor:
        """The log odds that each sound and each picture belong together. Shape: [N, d] and [M, d] to [N, M]."""
        return audio @ image.T * self.scale.exp() + self.bias


def _projection(width: int, dim: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm1d(width), nn.Linear(width, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim))


@dataclass(frozen=True)
class L3Checkpoint:
    """The contents of one `l3_NNN.pt`."""

    network: dict[str, Any]
    """The fields of `JointSettings`."""
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    settings: dict[str, Any]
    """The settings of the training, paths as text."""
    step: int
    elapsed_s: float
    metrics: dict[str, float] = field(default_factory=dict)

    def build(self) -> JointNetwork:
        """The network with its weights, in training mode.

        Raises: CheckpointError: this version does not know its settings, or the weights do not fit them.
        """
        try:
            known = {**self.network, "channels": tuple(self.network["channels"])}
            network = JointNetwork(JointSettings(**known))
            network.load_state_dict(self.weights)
        except (KeyError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"this version of boiler cannot build its network ({first_line(error)})") from error
        return network


def checkpoint_of(network: JointNetwork, **others: Any) -> L3Checkpoint:
    """A checkpoint with copies of the weights."""
    weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
    return L3Checkpoint({**asdict(network.settings), "channels": list(network.settings.channels)}, weights, **others)


def save(checkpoint: L3Checkpoint, path: Path) -> None:
    """Write a checkpoint atomically."""
    contents: Mapping[str, Any] = {item.name: getattr(checkpoint, item.name) for item in fields(checkpoint)}
    versions = {"format": FORMAT, "format_version": FORMAT_VERSION, "boiler_version": boiler.__version__}
    with files.replacing(path) as aside:
        torch.save({**contents, **versions}, aside)


def is_checkpoint(path: str | os.PathLike[str]) -> bool:
    """Whether the file is a checkpoint of this kind, of any version."""
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # it may be anything: the reader fails in a dozen ways
        return False
    return isinstance(contents, dict) and contents.get("format") == FORMAT


def load(path: str | os.PathLike[str]) -> L3Checkpoint:
    """Read a checkpoint of `boiler.train_l3` onto the CPU; no code in it is run.

    Raises: CheckpointError: the file is missing, damaged or something else.
    """
    where = Path(path)
    if not where.is_file():
        raise CheckpointError(
            f"{where}: no such file. python -m boiler.train_l3 writes l3_NNN.pt under its --save_path"
        )
    try:
        contents = torch.load(where, map_location="cpu", weights_only=True)
        if contents["format"] != FORMAT or contents["format_version"] != FORMAT_VERSION:
            raise ValueError("another format")
        return L3Checkpoint(**{item.name: contents[item.name] for item in fields(L3Checkpoint)})
    except Exception as error:  # of a dozen kinds, by what is wrong with the file
        raise CheckpointError(
            f"{where}: not a checkpoint of python -m boiler.train_l3, or damaged. Give a l3_NNN.pt"
        ) from error
