"""The general encoder: one small network for sounds of any kind, trained once on much varied sound.

It hears up to 16 kHz, takes clips of any length, and does not mind their level, a DC offset or silence around them. The
network (`boiler.model.general`) is trained by `exp.general.train`, which also writes the file that is read here.

Good for: a first index of a folder of mixed sounds; joined with the folder's descriptors (`JoinedGeneral`) where there
is a minute for it.
"""

from __future__ import annotations

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn.functional import normalize

from boiler.encoder import Encoder
from boiler.encoder.joined_pretrained import JoinedPretrained
from boiler.encoder.loop_length import loop_lengths
from boiler.errors import CheckpointError, first_line
from boiler.model.general import GeneralMel, GeneralNetwork, GeneralSettings

WINDOW_SAMPLES = 2**18
"""8.192 s."""
HINT = "the weights of a general encoder (--pt_path FILE.safetensors, written by python -m exp.general.train --export)"


class GeneralEncoder(Encoder):
    """The general encoder; see the module. D = 256."""

    needs_checkpoint: ClassVar[bool] = True
    checkpoint_hint: ClassVar[str] = HINT
    sample_rate_hz = GeneralSettings.sample_rate_hz
    window_samples = WINDOW_SAMPLES

    def __init__(self, pt_path: str | os.PathLike[str] | None, device: str = "cpu") -> None:
        settings, weights = _read(Path(pt_path or ""))
        super().__init__(settings.dim)
        self.mel = GeneralMel(settings)
        self.network = GeneralNetwork(settings)
        # strict=False: how many batches a normalisation was trained with is not kept.
        missing = self.network.load_state_dict(weights, strict=False)
        if missing.unexpected_keys or [name for name in missing.missing_keys if not name.endswith("batches_tracked")]:
            raise CheckpointError(f"{pt_path}: these are not the weights of a general encoder")
        self.eval().to(device)

    def forward(self, waveform: Tensor) -> Tensor:
        vectors: list[Tensor] = []
        for window, length in zip(waveform, loop_lengths(waveform)):  # noqa: B905  # TorchScript does not know strict
            vectors.append(self.network(self.mel(window[0, :length])[None])[0])
        return normalize(torch.stack(vectors), dim=1)


class JoinedGeneral(JoinedPretrained):
    """`GeneralEncoder` joined with the folder's descriptors. D = 448."""

    needs_checkpoint: ClassVar[bool] = True
    checkpoint_hint: ClassVar[str] = HINT
    sample_rate_hz = GeneralSettings.sample_rate_hz
    window_samples = WINDOW_SAMPLES

    def __init__(self, pt_path: str | os.PathLike[str] | None, device: str = "cpu") -> None:
        super().__init__(GeneralEncoder(pt_path, device), device)


def _read(path: Path) -> tuple[GeneralSettings, dict[str, Tensor]]:
    """The settings, kept as metadata, and the tensors.

    Raises: CheckpointError: there is no such file, or it holds something else.
    """
    try:
        with safe_open(path, "pt") as file:
            found: dict[str, Any] = json.loads((file.metadata() or {})["settings"])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
        names = {field.name for field in fields(GeneralSettings)}
        if found.keys() != names or found["sample_rate_hz"] != GeneralSettings.sample_rate_hz:
            raise ValueError("its settings are of another version")
        return GeneralSettings(**{**found, "channels": tuple(found["channels"])}), weights
    except Exception as error:  # of several kinds, by what is wrong with the file
        raise CheckpointError(
            f"{path}: cannot be read as the weights of a general encoder ({first_line(error)})"
        ) from error
