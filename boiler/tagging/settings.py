"""The settings of the training of a tag model."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from boiler.errors import SettingsError
from boiler.tagging.losses import TAG_LOSSES
from boiler.tagging.model import NETWORKS

THRESHOLDS = ("best_f1", "even_odds")


@dataclass(frozen=True)
class TagSettings:
    """The fields are the flags of `python -m boiler.train_tags`; they are saved in checkpoints and in the model.

    Raises: `SettingsError` when a value is out of range.
    """

    network: str = "linear"
    loss: str = "cross_entropy"
    class_weight_power: float = 0.0
    classes_per_step: int | None = None
    l2: float = 1e-8
    lr: float | None = None
    batch_size: int = 1_024
    epoch: int = 100
    patience: int = 4
    held_share: float = 0.2
    thresholds: str = "best_f1"
    seed: int = 0
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, known in (("network", NETWORKS), ("loss", tuple(TAG_LOSSES)), ("thresholds", THRESHOLDS)):
            if getattr(self, name) not in known:
                raise SettingsError(f"--{name} is {getattr(self, name)}: it must be one of {', '.join(known)}")
        for name in ("lr", "batch_size", "epoch", "patience", "classes_per_step", "threads"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise SettingsError(f"--{name} is {value}: it must be more than 0")
        for name in ("l2", "class_weight_power"):
            if not 0 <= getattr(self, name) < math.inf:
                raise SettingsError(f"--{name} is {getattr(self, name)}: it must be at least 0")
        if not 0 <= self.held_share < 1:
            raise SettingsError(f"--held_share is {self.held_share}: it must be from 0 to less than 1, such as 0.2")
        if self.classes_per_step is not None and (self.network, self.loss) != ("linear", "cross_entropy"):
            raise SettingsError("--classes_per_step works with --network linear and --loss cross_entropy only")

    def to_plain(self) -> dict[str, Any]:
        """The fields as a checkpoint stores them."""
        return asdict(self)
