"""Any TorchScript model as an encoder: a waveform in, a vector out.

Such a file is code, so it is run only when the user gives its sha256. Options say which rate and how many seconds it
takes; a file that boiler wrote (the `encoder.pt` of a model directory) says both itself.

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
    """A TorchScript model of anybody's; see the module. It takes [N, 1, T] or [N, T], and gives [N, D], or [N, F, D],
    whose mean over F is taken."""

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
        spec = spec_of(header, sample_rate_hz, window_s, str(pt_path))
        squeeze, dim = _probe(model, spec.window_samples, str(pt_path))
        super().__init__(dim)
        self.sample_rate_hz, self.window_samples = spec.sample_rate_hz, spec.window_samples
        self.model = model
        self.squeeze = squeeze
        self.to(device)

    @classmethod
    def window_spec(cls, pt_path: str | os.PathLike[str] | None = None, **options: Any) -> WindowSpec:
        _, header = _load(pt_path, options.get("sha256", ""))
        return spec_of(header, options.get("sample_rate_hz"), options.get("window_s"), str(pt_path))

    def forward(self, waveform: Tensor) -> Tensor:
        found = self.model(waveform[:, 0] if self.squeeze else waveform)
        if found.dim() == 3:
            found = found.mean(dim=1)
        return normalize(found.float(), dim=1)


def _load(pt_path: str | os.PathLike[str] | None, sha256: str) -> tuple[nn.Module, dict[str, Any]]:
    if not sha256:
        raise SettingsError(
            f"{pt_path}: a TorchScript file is code: say that you trust it by its hash "
            "(--sha256 $(sha256sum < FILE | cut -c-64))"
        )
    return checkpoint.load_foreign_script(pt_path or "", sha256)


def spec_of(
    said: dict[str, Any], sample_rate_hz: int | str | None, window_s: float | str | None, name: str
) -> WindowSpec:
    """How sounds are cut for a model: by what the user says, else by what its file says.

    Raises: SettingsError: neither does, or a value that cannot be.
    """
    try:
        rate_hz = int(sample_rate_hz) if sample_rate_hz is not None else said.get("sample_rate_hz")
        if rate_hz is None:
            raise SettingsError(f"{name}: does not say which rate it takes: give --sample_rate_hz and --window_s")
        rate_hz = int(rate_hz)
        samples = round(float(window_s) * rate_hz) if window_s is not None else said.get("window_samples")
        if samples is None:
            raise SettingsError(f"{name}: does not say how long its window is: give --window_s")
        return WindowSpec(rate_hz, int(samples), int(samples) / rate_hz / 2)
    except (ValueError, ZeroDivisionError) as error:
        raise SettingsError(f"{name}: sample_rate_hz and window_s must be numbers above 0 ({error})") from error


def _probe(model: nn.Module, window_samples: int, name: str) -> tuple[bool, int]:
    """Whether it takes [N, T] rather than [N, 1, T], and D."""
    reasons = []
    for squeeze in (False, True):
        window = torch.zeros(2, window_samples) if squeeze else torch.zeros(2, 1, window_samples)
        try:
            with torch.no_grad():
                found = model(window)
        except Exception as error:  # it is anybody's code
            reasons.append((str(error).strip().splitlines() or ["no reason given"])[-1])
            continue
        if isinstance(found, Tensor) and found.dim() in (2, 3) and found.shape[0] == 2 and found.is_floating_point():
            return squeeze, int(found.shape[-1])
        shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        reasons.append(f"of two windows it makes {shape}")
    raise CheckpointError(f"{name}: makes no vectors [N, D] of windows [N, 1, T] or [N, T] ({'; '.join(reasons)})")
