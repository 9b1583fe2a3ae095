"""The settings of a training run."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from boiler.errors import SettingsError
from boiler.model.device import resolve_device
from boiler.model.mel import MelSettings
from boiler.model.vqvae import FINE_STRIDE, GENERAL_MEL, TOP_ROWS, NetworkSettings, general_settings

PRECISIONS = ("auto", "float32", "bfloat16")
DEFAULT_MELS = 80
MIN_MELS = 2 * FINE_STRIDE * TOP_ROWS


@dataclass(frozen=True)
class TrainSettings:
    """All settings of a run, saved in its checkpoints. The fields are the flags of `boiler train`.

    Raises: `SettingsError` when a value is out of range.
    """

    wav_dir: Path
    save_path: Path
    load_path: Path | None = None
    from_scratch: bool = False
    epoch: int = 20
    steps_per_epoch: int | None = None
    max_minutes: float | None = None
    batch_size: int = 128
    lr: float = 2e-3
    latent_loss_weight: float = 0.25
    contrast_weight: float = 1.0
    n_mel_channels: int = DEFAULT_MELS
    held_share: float = 0.05
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    cache_dir: Path | None = None
    workers: int = 2
    network: NetworkSettings | None = None
    """The shape of a new network; None: that of `from_scratch`. In a run it is never None."""

    def __post_init__(self) -> None:
        for name in ("epoch", "steps_per_epoch", "max_minutes", "lr", "n_mel_channels", "workers"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise SettingsError(f"--{name} is {value}: it must be more than 0")
        for name in ("latent_loss_weight", "contrast_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise SettingsError(f"--{name} is {getattr(self, name)}: it must be at least 0")
        if self.precision not in PRECISIONS:
            raise SettingsError(f"--precision is {self.precision}: it must be one of {', '.join(PRECISIONS)}")
        resolve_device(self.device)
        if self.batch_size < 2:
            raise SettingsError(f"--batch_size is {self.batch_size}: the contrastive loss needs at least 2 sounds")
        if not 0 <= self.held_share < 1:
            raise SettingsError(f"--held_share is {self.held_share}: it must be from 0 to less than 1, such as 0.05")
        if self.n_mel_channels % (FINE_STRIDE * TOP_ROWS) or self.n_mel_channels < MIN_MELS:
            raise SettingsError(
                f"--n_mel_channels is {self.n_mel_channels}: it must be a multiple of {FINE_STRIDE * TOP_ROWS}, at "
                f"least {MIN_MELS}, such as 80"
            )
        if self.n_mel_channels != DEFAULT_MELS and self.load_path is None and self.new_network().trunk == "general":
            raise SettingsError(
                f"--n_mel_channels is {self.n_mel_channels}, but it can be chosen with --from_scratch only: leave it"
                " out, or add --from_scratch"
            )

    def new_network(self) -> NetworkSettings:
        """The shape of the network of a run that starts from no checkpoint."""
        return self.network or (NetworkSettings() if self.from_scratch else general_settings())

    def new_mel(self) -> MelSettings:
        """The spectrogram of `new_network`."""
        return GENERAL_MEL if self.new_network().trunk == "general" else MelSettings(n_mels=self.n_mel_channels)

    @property
    def resumes(self) -> bool:
        """Whether `load_path` is a checkpoint of the same run, rather than the start of a new one."""
        return self.load_path is not None and self.load_path.resolve().parent == self.save_path.resolve()

    def to_plain(self) -> dict[str, Any]:
        """The fields as a checkpoint stores them: paths as text."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> TrainSettings:
        """The inverse of `to_plain`."""
        paths = ("wav_dir", "save_path", "load_path", "cache_dir")
        converted: dict[str, Any] = {name: Path(plain[name]) for name in paths if plain[name] is not None}
        network = None if plain["network"] is None else NetworkSettings(**plain["network"])
        return cls(**plain | converted | {"network": network})
