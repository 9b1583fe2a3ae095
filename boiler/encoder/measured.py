"""What was measured of the encoders, as `boiler encoders` shows it; exp/records has the commands and the conditions.

Precision at 1, precision at 10 and mean average precision, every sound a query. ESC-10: other takes of a recording do
not count. Digits: FSDD, only other speakers count. Drums: the types of Hydrogen's drum kits, only other kits count
(`boiler evaluate --dataset hydrogen`). None of the labels was used.
"""

from __future__ import annotations

from typing import NamedTuple

Precision = tuple[float, float, float]
"""P@1, P@10, mAP."""


class Measured(NamedTuple):
    """`dim`: the length D of a vector. `ms`: time for a sound of 5 s on one core. `conditions`: of these figures.
    `weights_mb`: the file of published weights."""

    dim: int
    esc10: Precision | None = None
    digits: Precision | None = None
    drums: Precision | None = None
    ms: float | None = None
    conditions: str = ""
    weights_mb: float | None = None

    def __str__(self) -> str:
        sets = {"ESC-10": self.esc10, "digits": self.digits, "drums": self.drums}
        said = [
            f"{name} {' / '.join(f'{value:.3f}'.removeprefix('0') for value in found)}"
            for name, found in sets.items()
            if found is not None
        ]
        time = [] if self.ms is None else [f"{self.ms:g} ms for 5 s"]
        size = [] if self.weights_mb is None else [f"weights of {self.weights_mb:g} MB"]
        return ", ".join([*said, *time, *size]) + (f" ({self.conditions})" if self.conditions else "")


MEASURED = {
    "BagTopVQVAE": Measured(64, (0.892, 0.831, 0.733), (0.697, 0.670, 0.447), conditions="20 minutes of training"),
    "BagBottomVQVAE": Measured(512, (0.760, 0.648, 0.508), (0.278, 0.243, 0.146), conditions="20 minutes of training"),
    "MeanFreqTopVQVAE": Measured(
        256, (0.890, 0.850, 0.750), (0.725, 0.701, 0.493), conditions="20 minutes of training"
    ),
    "PooledVQVAE": Measured(256, (0.912, 0.852, 0.750), (0.823, 0.773, 0.497), conditions="20 minutes of training"),
    "JoinedVQVAE": Measured(
        256, (0.922, 0.860, 0.782), (0.897, 0.903, 0.740), conditions="3 minutes of training, three seeds"
    ),
    "MFCCStats": Measured(80, (0.760, 0.627, 0.472), (0.586, 0.569, 0.358), (0.614, 0.514, 0.417), 4.6),
    "JoinedDescriptors": Measured(192, (0.858, 0.794, 0.680), (0.865, 0.861, 0.669), (0.656, 0.609, 0.503), 9.5),
    "GeneralEncoder": Measured(
        256, (0.890, 0.773, 0.640), (0.778, 0.728, 0.409), (0.670, 0.590, 0.498), weights_mb=3.8
    ),
    "JoinedGeneral": Measured(
        576,
        (0.914, 0.849, 0.760),
        (0.893, 0.889, 0.727),
        (0.749, 0.642, 0.576),
        weights_mb=3.8,
        conditions="three seeds",
    ),
    "AISFXEncoder": Measured(512, (0.892, 0.759, 0.610), (0.400, 0.343, 0.191), (0.585, 0.499, 0.399), weights_mb=18.7),
    "JoinedAISFX": Measured(
        448,
        (0.918, 0.831, 0.692),
        (0.851, 0.835, 0.615),
        (0.649, 0.570, 0.474),
        ms=166,
        weights_mb=18.7,
        conditions="no mean shift",
    ),
}
"""By the name of the encoder; those that are not here were not measured."""
