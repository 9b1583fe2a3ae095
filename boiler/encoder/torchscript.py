"""Any TorchScript model as an encoder: a waveform in, a vector out.

Such a file is code, so it is run only if the user gives its sha256. Sampling rate and window are given as options; a
file that boiler wrote (the `encoder.pt` of a model directory) contains both.

    $ boiler index ~/sounds TorchScriptEncoder --pt_path mine.pt --sha256 $(sha256sum < mine.pt | cut -c-64) \
        --sample_rate_hz 22050 --window_s 2
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from boiler.audio.windows import WindowSpec
from boiler.encoder import Encoder
from boiler.errors import CheckpointError, SettingsError
from boiler.model import checkpoint


class TorchScriptEncoder(Encoder):
    """Any TorchScript model; see the module. It takes [N, 1, T] or [N, T], and returns [N, D], or [N, F, D], which is
    averaged over F."""

    needs_checkpoint: ClassVar[bool] = True
    checkpoint_hint: ClassVar[str] = "a TorchScript model (--pt_path FILE.pt --sha256 ITS_HASH)"

    def __init__(
        self,
        pt_path: str | os.PathLike[str] | None,
        device: str = "cpu",
        *,
        sha256: str = "",
        sample_rate_hz: int | str | None = None,
        window_s: float | str | None = None,
    ) -> None:
        model, header = _load(pt_path, sha256)
        spec = model_window_spec(header, sample_rate_hz, window_s, str(pt_path))
        squeeze, dim = _probe(model, spec.window_samples, str(pt_path))
        super().__init__(dim)
        self.sample_rate_hz, self.window_samples = spec.sample_rate_hz, spec.window_samples
        self.model = model
        self.squeeze = squeeze
        self.to(device)

    @classmethod
    def window_spec(cls, pt_path: str | os.PathLike[str] | None = None, **options: Any) -> WindowSpec:
        _, header = _load(pt_path, options.get("sha256", ""))
        return model_window_spec(header, options.get("sample_rate_hz"), options.get("window_s"), str(pt_path))

    def forward(self, waveform: Tensor) -> Tensor:
        found = self.model(waveform[:, 0] if self.squeeze else waveform)
        if found.dim() == 3:
            found = found.mean(dim=1)
        return normalize(found.float(), dim=1)


def _load(pt_path: str | os.PathLike[str] | None, sha256: str) -> tuple[nn.Module, dict[str, Any]]:
    if not sha256:
        raise SettingsError(
            f"{pt_path}: a TorchScript file is code. If you trust it, give its hash "
            "(--sha256 $(sha256sum < FILE | cut -c-64))"
        )
    return checkpoint.load_foreign_script(pt_path or "", sha256)


def model_window_spec(
    header: dict[str, Any], sample_rate_hz: int | str | None, window_s: float | str | None, name: str
) -> WindowSpec:
    """The windows of a model's input, as given by the user, else by the header of its file. `name`: for errors.

    Raises: SettingsError: given by neither, or invalid.
    """
    try:
        rate_hz = int(sample_rate_hz) if sample_rate_hz is not None else header.get("sample_rate_hz")
        if rate_hz is None:
            raise SettingsError(f"{name}: does not state its sampling rate: give --sample_rate_hz and --window_s")
        rate_hz = int(rate_hz)
        samples = round(float(window_s) * rate_hz) if window_s is not None else header.get("window_samples")
        if samples is None:
            raise SettingsError(f"{name}: does not state the length of its window: give --window_s")
        return WindowSpec(rate_hz, int(samples), int(samples) / rate_hz / 2)
    except (ValueError, ZeroDivisionError) as error:
        raise SettingsError(f"{name}: sample_rate_hz and window_s must be numbers above 0 ({error})") from error


def _probe(model: nn.Module, window_samples: int, name: str) -> tuple[bool, int]:
    """Run the model once: whether it takes [N, T] instead of [N, 1, T], and the dimension D of its vectors."""
    reasons = []
    for squeeze in (False, True):
        window = torch.zeros(2, window_samples) if squeeze else torch.zeros(2, 1, window_samples)
        try:
            with torch.no_grad():
                found = model(window)
        except Exception as error:  # the model is code of unknown origin
            reasons.append((str(error).strip().splitlines() or ["no reason given"])[-1])
            continue
        if isinstance(found, Tensor) and found.dim() in (2, 3) and found.shape[0] == 2 and found.is_floating_point():
            return squeeze, int(found.shape[-1])
        shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        reasons.append(f"for two windows it returns {shape}")
    raise CheckpointError(f"{name}: returns no vectors [N, D] for windows [N, 1, T] or [N, T] ({'; '.join(reasons)})")
