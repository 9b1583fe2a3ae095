"""The patch encoder: a small transformer over patches of the spectrogram, trained like the general encoder.

Good for: a comparison with the general encoder (`boiler.encoder.general`), whose front end, training and level of
invariance it shares; exp/records/general.md has the figures of both. The network is `boiler.model.patch`; the file is
written by `exp.general.train --network patch --export`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import ClassVar

from safetensors import safe_open
from torch import Tensor

from boiler.encoder.general import WINDOW_SAMPLES, SpectrogramEncoder
from boiler.errors import CheckpointError, first_line
from boiler.model.general import GeneralSettings
from boiler.model.patch import PatchNetwork, PatchSettings


class PatchEncoder(SpectrogramEncoder):
    """The patch encoder; see the module. D = 256."""

    needs_checkpoint: ClassVar[bool] = True
    checkpoint_hint: ClassVar[str] = (
        "the weights of a patch encoder (--pt_path FILE.safetensors, written by python -m exp.general.train --network "
        "patch --export)"
    )
    sample_rate_hz = GeneralSettings.sample_rate_hz
    window_samples = WINDOW_SAMPLES

    def __init__(self, pt_path: str | os.PathLike[str] | None, device: str = "cpu") -> None:
        settings, weights = _read(Path(pt_path or ""))
        super().__init__(settings.dim, GeneralSettings(), PatchNetwork(settings))
        try:
            self.network.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(f"{pt_path}: these are not the weights of a patch encoder") from error
        self.eval().to(device)


def _read(path: Path) -> tuple[PatchSettings, dict[str, Tensor]]:
    """The settings, kept as metadata, and the tensors.

    Raises: CheckpointError: there is no such file, or it holds something else.
    """
    try:
        with safe_open(path, "pt") as file:
            settings = PatchSettings(**json.loads((file.metadata() or {})["settings"]))
            return settings, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
    except Exception as error:  # of several kinds, by what is wrong with the file
        raise CheckpointError(
            f"{path}: cannot be read as the weights of a patch encoder ({first_line(error)})"
        ) from error
